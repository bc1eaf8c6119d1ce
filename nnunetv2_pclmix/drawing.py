"""Pictures of slices with labels laid over them, in colours that colour-blind readers can tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

# Okabe and Ito's palette, the first one for the background
COLOURS = ("#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#F0E442", "#0072B2", "#D55E00")


@dataclass(frozen=True)
class Panel:
    """One picture in a row.

    Attributes:
        title: Text above it; empty for none.
        image: Grey values, shape (H, W).
        label: Integers to lay over it, shape (H, W); None for the bare image.
        sparse: The label is a scribble: its background strokes are drawn too, and all strokes are opaque.
    """

    title: str
    image: NDArray[np.generic]
    label: NDArray[np.integer] | None = None
    sparse: bool = False


def overlay(
    image: NDArray[np.generic],
    label: NDArray[np.integer] | None,
    classes: Sequence[int],
    *,
    alpha: float,
    window: tuple[float, float] | None = None,
) -> NDArray[np.float64]:
    """Lays the colours of a label over an image.

    Args:
        image: Grey values, shape (H, W).
        label: Integers, shape (H, W), or None.
        classes: The values to draw; all others, such as an ignore label, stay transparent.
        alpha: Opacity of the colours, 0 to 1.
        window: Grey values shown as black and white; None takes the 1st and 99.5th percentile.

    Returns:
        Red, green and blue in 0..1, shape (H, W, 3).

    Raises:
        ValueError: If the image is not flat, the label has another shape, or a class has no colour.
    """
    if image.ndim != 2:
        raise ValueError(f"expected an image of two axes, got shape {image.shape}")
    if label is not None and label.shape != image.shape:
        raise ValueError(f"expected a label of the image's shape {image.shape}, got {label.shape}")
    if any(not 0 <= value < len(COLOURS) for value in classes):
        raise ValueError(f"there are colours for classes 0 to {len(COLOURS) - 1}, got {list(classes)}")
    grey = image.astype(np.float64)
    low, high = window or (float(np.percentile(grey, 1)), float(np.percentile(grey, 99.5)))
    grey = np.clip((grey - low) / max(high - low, 1e-9), 0.0, 1.0)
    picture = np.repeat(grey[..., None], 3, axis=2)
    if label is not None:
        for value in classes:
            where = label == value
            picture[where] = (1.0 - alpha) * picture[where] + alpha * np.asarray(to_rgb(COLOURS[value]))
    return picture


def draw_comparison(
    rows: Sequence[Sequence[Panel]],
    path: Path,
    class_names: Mapping[int, str],
    *,
    row_titles: Sequence[str] = (),
    caption: str = "",
    panel_inches: float = 2.1,
    dpi: int = 100,
) -> Path:
    """Draws rows of panels with a legend and writes them as PNG.

    Args:
        rows: Panels, row by row; every row of the same length.
        path: File to write.
        class_names: Name of each class to draw; 0, the background, is drawn on sparse panels only.
        row_titles: Text left of each row; none if empty.
        caption: Text under the panels.
        panel_inches: Width and height of a panel.
        dpi: Pixels per inch.

    Returns:
        The path.

    Raises:
        ValueError: If there is nothing to draw, rows differ in length, or titles do not match the rows.
    """
    if not rows or not rows[0]:
        raise ValueError("expected at least one panel")
    if len({len(row) for row in rows}) != 1:
        raise ValueError(f"expected rows of the same length, got {[len(row) for row in rows]}")
    if row_titles and len(row_titles) != len(rows):
        raise ValueError(f"expected {len(rows)} row titles, got {len(row_titles)}")
    foreground = [value for value in class_names if value != 0]
    footer = 0.35 + 0.2 * (caption.count("\n") + 1 if caption else 0)
    width, height = panel_inches * len(rows[0]) + 0.25, panel_inches * len(rows) + 0.3 + footer
    with mpl.rc_context({"font.size": 9, "font.family": "DejaVu Sans", "text.parse_math": False}):
        figure = Figure(figsize=(width, height), dpi=dpi, facecolor="white")
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(rows), len(rows[0]), squeeze=False)
        figure.subplots_adjust(
            left=0.25 / width, right=0.995, bottom=footer / height, top=1 - 0.28 / height, wspace=0.03, hspace=0.03
        )
        for index, (axes, row) in enumerate(zip(grid, rows, strict=True)):
            for axis, panel in zip(axes, row, strict=True):
                picture = overlay(
                    panel.image,
                    panel.label,
                    list(class_names) if panel.sparse else foreground,
                    alpha=1.0 if panel.sparse else 0.6,
                )
                axis.imshow(picture, interpolation="nearest")
                axis.set_xticks([])
                axis.set_yticks([])
                for spine in axis.spines.values():
                    spine.set_visible(False)
                if index == 0 and panel.title:
                    axis.set_title(panel.title, pad=4)
            if row_titles:
                axes[0].set_ylabel(row_titles[index])
        sparse = any(panel.sparse for row in rows for panel in row)
        figure.legend(
            handles=[Patch(color=COLOURS[v], label=n) for v, n in class_names.items() if v != 0 or sparse],
            loc="lower center",
            bbox_to_anchor=(0.5, (footer - 0.36) / height),
            ncols=len(class_names),
            frameon=False,
        )
        if caption:
            figure.text(0.5, 0.06 / height, caption, ha="center", va="bottom", fontsize=8)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=dpi, metadata={"Software": None})
    return path
