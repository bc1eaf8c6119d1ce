"""Dice and HD95 of every row: bars for the means, dots for the single seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.accuracy.summary import RowSummary

PANELS = (("dice", "mean Dice", "higher is better"), ("hd95_mm", "mean HD95 (mm)", "lower is better"))


def plot_rows(rows: Sequence[RowSummary], baseline: str, file: Path) -> None:
    """Write a PNG with one line per judged row, the first on top.

    Args:
        rows: summaries; those without a complete seed are left out.
        baseline: its mean is drawn through all rows.
        file: the PNG.
    """
    shown = [row for row in rows if row.seeds]
    figure = Figure(figsize=(11, 1.4 + 0.36 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (metric, title, hint) in zip(figure.subplots(1, 2, sharey=True), PANELS, strict=True):
        for height, row in enumerate(shown):
            colour = "0.55" if row.name == baseline else "tab:blue"
            axes.barh(height, row.overall[metric].mean, height=0.62, color=colour, alpha=0.45)
            values = row.by_seed[metric]
            axes.plot(values, [height] * len(values), "o", color="black", markersize=4, alpha=0.8)
            if row.name == baseline:
                axes.axvline(row.overall[metric].mean, color="0.4", linewidth=0.8, linestyle="--")
        axes.set_yticks(range(len(shown)), [row.name for row in shown])
        axes.set_title(f"{title} ({hint}; dots: seeds)", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
    axes.invert_yaxis()  # shared: the first row on top in both
    figure.savefig(file, dpi=130)
