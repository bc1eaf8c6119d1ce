"""A picture of the scribbles over some slices, to see what was made."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from scribble_conversion.checking.dataset import names_of
from scribble_conversion.console import UserError
from scribble_conversion.conversion import Conversion
from scribble_conversion.formats.registry import format_of
from scribble_conversion.planes import as_volume, axis_across, grey_values
from scribble_conversion.source import Case, integers_of

CASES = 4
SLICES = 5
PANEL_INCHES = 3.0
DOTS_PER_INCH = 110
OUTLINE = "white"
BACKGROUND = (1.0, 0.85, 0.1, 1.0)


@dataclass(frozen=True)
class Panel:
    """One slice.

    Attributes:
        title: case and slice.
        grey: (rows, columns) intensities.
        scribbles: (rows, columns) labels.
        dense: likewise, None where there are no dense labels.
    """

    title: str
    grey: npt.NDArray[np.float32]
    scribbles: npt.NDArray[np.uint8]
    dense: npt.NDArray[np.uint8] | None


def check_picture(path: Path | None, overwrite: bool) -> None:
    """Refuse a place where no picture can be written, before the long work begins.

    Args:
        path: the picture, if there is to be one.
        overwrite: whether a file that is there may be replaced.

    Raises:
        UserError: if there is no such folder, the ending is not ``.png``, or the file is there and has to stay.
    """
    if path is not None and (path.suffix.lower() != ".png" or path.is_dir() or not path.absolute().parent.is_dir()):
        raise UserError(f"{path} cannot become a picture; give a .png file in an existing folder with --picture")
    if path is not None and path.exists() and not overwrite:
        raise UserError(f"{path} exists already; replace it with --overwrite, or give another file with --picture")


def draw_picture(conversion: Conversion, path: Path, axis: int | None) -> None:
    """Draw some slices of some training cases with their scribbles; the dense labels as thin outlines.

    Args:
        conversion: what was written.
        path: the ``.png`` file.
        axis: the array axis across the slices as the user chose it, or None.

    Raises:
        UserError: if the picture cannot be written.
    """
    with mpl.rc_context({"text.parse_math": False}):  # names may hold dollars
        _draw_picture(conversion, path, axis)


def _draw_picture(conversion: Conversion, path: Path, axis: int | None) -> None:
    labelled = [case for case in conversion.training if case.supervision != "none"]
    shown = [case for case in labelled if case.supervision == "scribble"] or labelled
    rows = [_panels(conversion, shown[index], axis) for index in _spread(len(shown), CASES)]
    columns = max(1, *map(len, rows))
    colours = _colours(conversion.source.ignore_value)
    figure = Figure(figsize=(PANEL_INCHES * columns, PANEL_INCHES * len(rows) + 0.4), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for row, places in zip(rows, grid, strict=True):
        for panel, axes in zip(row, places, strict=False):  # a case may have fewer slices than others
            _show(panel, axes, colours)
    names = names_of({name: integers_of(value) for name, value in conversion.source.labels.items()})
    patches = [Patch(facecolor=colours[value], edgecolor="grey", label=name) for value, name in names.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=8, fontsize=8)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # drawn as boxes
            figure.savefig(path, dpi=DOTS_PER_INCH)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{path} cannot be written ({reason}); the dataset is complete without it") from error


def _panels(conversion: Conversion, case: Case, axis: int | None) -> list[Panel]:
    """Some of the slices of a case that have scribbles."""
    folder, ending, unlabelled = conversion.target.raw, conversion.source.file_ending, conversion.source.ignore_value
    image_file = folder / "imagesTr" / f"{case.identifier}_0000{ending}"
    image = format_of(image_file).read_image(image_file)
    across = axis_across(image, axis)
    grey = np.moveaxis(grey_values(image), across, 0)
    scribbles, dense = (
        np.moveaxis(_labels(file), across, 0) if file.exists() else None
        for file in (folder / name / f"{case.identifier}{ending}" for name in ("labelsTr", "labelsTr_dense"))
    )
    assert scribbles is not None, "the conversion has just written it"
    drawn = np.flatnonzero((scribbles != unlabelled).any(axis=(1, 2)))
    window = np.percentile(grey, [1, 99])
    return [
        Panel(
            title=f"{case.identifier}, slice {index + 1}" if len(grey) > 1 else case.identifier,
            grey=np.clip(grey[index], *window),
            scribbles=np.where(scribbles[index] == unlabelled, 255, scribbles[index]),
            dense=None if dense is None else dense[index],
        )
        for index in (int(drawn[place]) for place in _spread(len(drawn), SLICES))
    ]


def _show(panel: Panel, axes: Axes, colours: npt.NDArray[np.float64]) -> None:
    axes.imshow(panel.grey, cmap="gray", interpolation="nearest")
    drawn = panel.scribbles < len(colours)
    overlay = np.zeros((*drawn.shape, 4))
    overlay[drawn] = colours[panel.scribbles[drawn]]
    axes.imshow(overlay, interpolation="nearest")
    for value in [] if panel.dense is None else np.unique(panel.dense[panel.dense > 0]):
        inside = panel.dense == value
        if inside.any() and not inside.all() and min(inside.shape) > 1:
            axes.contour(inside, levels=[0.5], colors=OUTLINE, linewidths=0.4)
    axes.set_title(panel.title, fontsize=7)


def _labels(file: Path) -> npt.NDArray[np.uint8]:
    return as_volume(sitk.GetArrayFromImage(format_of(file).read_label(file)))


def _colours(number: int) -> npt.NDArray[np.float64]:
    """Yellow for the background, colours as different as possible for the classes, (number, 4)."""
    # hues from red over blue to violet: none near the background's
    hues = np.concatenate([[0.0], np.linspace(0.33, 0.9, max(number - 2, 0))])[: number - 1]
    classes = hsv_to_rgb(np.column_stack([hues, np.ones((len(hues), 2))])).reshape(-1, 3)
    return np.concatenate([[BACKGROUND], np.column_stack([classes, np.ones(len(hues))])])


def _spread(number: int, most: int) -> list[int]:
    """At most ``most`` of the indices 0 to ``number`` - 1, far apart."""
    return sorted({round(place) for place in np.linspace(0, number - 1, min(number, most))})
