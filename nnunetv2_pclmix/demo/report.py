"""What came out of the demonstration: a table of both trainings, whether the targets were met, a picture."""

from __future__ import annotations

import json
import math
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from nnunetv2_pclmix.demo.commands import ARMS, Settings
from nnunetv2_pclmix.drawing import Panel, draw_comparison
from nnunetv2_pclmix.phantom.anatomy import CLASS_NAMES

TARGET_DICE = 0.80


def read_scores(settings: Settings) -> dict[str, dict[str, Any]]:
    """Reads what ``nnUNetv2_pclmix evaluate`` wrote for each arm."""
    return {
        arm: json.loads((settings.predictions(arm) / "dense_evaluation.json").read_text(encoding="utf-8"))
        for arm in ARMS
    }


def _cell(value: float | None, digits: int) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def table(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """Dice and HD95 of every structure, the arms side by side.

    Args:
        scores: By arm, the content of ``dense_evaluation.json``.
    """
    arms = list(scores)
    rows = [["", *(f"{arm} Dice" for arm in arms), *(f"{arm} HD95 (mm)" for arm in arms)]]
    for structure in scores[arms[0]]["classes"]:
        by_arm = [scores[arm]["classes"][structure] for arm in arms]
        rows.append(
            [
                structure,
                *(_cell(values["dice"]["mean"], 3) for values in by_arm),
                *(_cell(values["hd95_mm"]["mean"], 1) for values in by_arm),
            ]
        )
    means = [scores[arm]["mean"] for arm in arms]
    rows.append(["mean", *(_cell(m["dice"], 3) for m in means), *(_cell(m["hd95_mm"], 1) for m in means)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def verdict(scores: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Says of each target whether it was met."""
    pclmix, stock = (scores[arm]["mean"]["dice"] for arm in ("PCLMix", "stock"))
    pclmix, stock = (math.nan if value is None else value for value in (pclmix, stock))

    def line(met: bool, text: str) -> str:
        return f"{'met' if met else 'MISSED'}: {text}"

    return [
        line(pclmix >= TARGET_DICE, f"mean dense Dice of PCLMix {pclmix:.3f}, target at least {TARGET_DICE:.2f}"),
        line(pclmix > stock, f"mean dense Dice of PCLMix {pclmix:.3f}, target above stock nnU-Net's {stock:.3f}"),
    ]


def _read(path: Path) -> NDArray[Any]:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def _read_scribble(settings: Settings, case: str) -> NDArray[Any]:
    with zipfile.ZipFile(settings.acdc / "acdc_scribbles.zip") as archive, tempfile.TemporaryDirectory() as folder:
        return _read(Path(archive.extract(f"acdc_scribbles/{case}_scribble.nii.gz", folder)))


def picture(settings: Settings, path: Path) -> Path:
    """Draws image, scribble, both predictions and reference of the first and the last held-out case.

    The slice is always the one in the middle: nothing is picked by its look.

    Args:
        settings: What the demonstration was run with.
        path: File to write.
    """
    cases = sorted(file.name.removesuffix(".nii.gz") for file in (settings.raw / "labelsTs").glob("*.nii.gz"))
    rows, titles = [], []
    for case in dict.fromkeys([cases[0], cases[-1]]):
        image = _read(settings.raw / "imagesTs" / f"{case}_0000.nii.gz")
        middle = len(image) // 2

        def panel(title: str, label: NDArray[Any], image: NDArray[Any] = image, middle: int = middle) -> Panel:
            return Panel(title, image[middle], label[middle].astype(np.int64), sparse=title.startswith("scribble"))

        rows.append(
            [
                Panel("held-out image", image[middle]),
                panel("scribble (not used)", _read_scribble(settings, case)),
                *(panel(f"{arm} prediction", _read(settings.predictions(arm) / f"{case}.nii.gz")) for arm in ARMS),
                panel("reference", _read(settings.raw / "labelsTs" / f"{case}.nii.gz")),
            ]
        )
        titles.append(f"{case}, slice {middle + 1}")
    caption = (
        f"Phantoms of seed {settings.seed}; both trained for {settings.steps} steps on scribbles like these, "
        "no dense label seen"
    )
    return draw_comparison(rows, path, dict(enumerate(CLASS_NAMES)), row_titles=titles, caption=caption)
