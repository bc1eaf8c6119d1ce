"""How the trainings of a table went: nnU-Net's Dice on scribbled voxels, and what the pseudo-labels were made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.accuracy.store import RunFolder
from nnunetv2_pclmix.monitoring import label_names

COLUMNS = 2


@dataclass(frozen=True)
class Curve:
    """What a training logged, epoch by epoch.

    Attributes:
        row: its row in the table.
        steps: after which each value was logged.
        dice: nnU-Net's mean Dice on the labelled voxels of the validation cases.
        shares: for each structure its share among the pseudo-labels; empty for trainers that make none.
    """

    row: str
    steps: list[int]
    dice: list[float]
    shares: dict[str, list[float]]


def read_curve(folder: RunFolder, row: str) -> Curve | None:
    """What a finished training logged; None where its last checkpoint is not at hand.

    Args:
        folder: the training's.
        row: its row in the table.
    """
    checkpoint = folder.last_checkpoint
    if checkpoint is None:
        return None
    # nnU-Net's log holds numpy scalars, which torch's restricted loader refuses; mapped, the weights are not read
    log = torch.load(checkpoint, map_location="cpu", weights_only=False, mmap=True)["logging"]
    definition = folder.definition()
    steps = [(epoch + 1) * definition["iterations"] for epoch in range(len(log["mean_fg_dice"]))]
    of_epochs = log.get("pclmix_pseudo_label_shares", [])
    names = label_names(definition["dataset_json"]["labels"], len(of_epochs[0])) if of_epochs else []
    shares = {name: [float(epoch[v]) for epoch in of_epochs] for v, name in enumerate(names) if v > 0}
    return Curve(row, steps, [float(value) for value in log["mean_fg_dice"]], shares)


def plot_curves(curves: Sequence[Curve], file: Path) -> None:
    """Write a PNG: a panel for the Dice, and one for the share of each structure among the pseudo-labels.

    Args:
        curves: at least one; trainings of the same row share a colour.
        file: the PNG.
    """
    structures = list(dict.fromkeys(name for curve in curves for name in curve.shares))
    lines = math.ceil((1 + len(structures)) / COLUMNS)
    figure = Figure(figsize=(11, 0.5 + 2.6 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(lines, COLUMNS, squeeze=False).flatten()
    _draw(panels[0], curves, [curve.dice for curve in curves])
    panels[0].set_title("Dice on the validation's labelled voxels (no measure of dense segmentations)", fontsize=9)
    for axes, name in zip(panels[1:], structures, strict=False):
        percent = [[100 * share for share in curve.shares.get(name, [])] for curve in curves]
        _draw(axes, curves, percent)
        axes.set_title(f"{name} among the pseudo-labels (% of the voxels)", fontsize=9)
        axes.set_ylim(bottom=0)
    for axes in panels[1 + len(structures) :]:
        axes.set_axis_off()
    for axes in panels[: 1 + len(structures)][-COLUMNS:]:
        axes.set_xlabel("steps")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    figure.savefig(file, dpi=110)


def _draw(axes: Axes, curves: Sequence[Curve], values: Sequence[Sequence[float]]) -> None:
    rows = list(dict.fromkeys(curve.row for curve in curves))
    named: set[str] = set()
    for curve, of_curve in zip(curves, values, strict=True):
        label = None if curve.row in named else curve.row
        named.add(curve.row)
        if of_curve:
            axes.plot(curve.steps, of_curve, color=f"C{rows.index(curve.row) % 10}", linewidth=1.1, label=label)
    axes.spines[["top", "right"]].set_visible(False)
