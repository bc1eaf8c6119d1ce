"""Reading label files and comparing where they lie in space."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scribble_conversion.console import UserError

SPACING_TOLERANCE = 1e-3
"""Relative difference of two spacings that is still rounding."""

ORIGIN_TOLERANCE = 0.1
"""Difference of two origins that is still rounding, in voxels."""

DIRECTION_TOLERANCE = 1e-3
"""Difference of two direction cosines that is still rounding."""

TIFF = (".tif", ".tiff")
PALETTES = (".png", ".bmp")
"""Endings of files in which SimpleITK gives the colours of a palette for its indices, which are the labels."""


@dataclass(frozen=True)
class LabelVolume:
    """A label file's content.

    Attributes:
        path: where it was read from.
        labels: integer array with axes (z, y, x), or (y, x).
        spacing: millimetres per voxel along the array's axes.
        origin: of the first voxel, in the file's order (x, y, z).
        direction: cosines, flat, in the file's order.
    """

    path: Path
    labels: npt.NDArray[np.integer[Any]]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]


def read_labels(path: Path) -> LabelVolume:
    """Read a label file.

    Args:
        path: an image file of one channel. The spacing of a 3D TIFF is that of nnU-Net's JSON file beside it, if there
            is one; without, and of a 2D one, it is 1, as nnU-Net has it.

    Returns:
        Its labels, rounded to integers, and its geometry.

    Raises:
        UserError: the file cannot be read, is damaged, or holds something else than whole numbers.
    """
    import SimpleITK as sitk

    from scribble_conversion.formats import natural
    from scribble_conversion.formats.registry import check_file
    from scribble_conversion.formats.volume import quiet_sitk, require_utf8

    if path.suffix.lower() in PALETTES:
        image = natural.read_label(path)
    else:
        require_utf8(path)
        check_file(path)  # SimpleITK fills up with background what a truncated file lacks
        try:
            with quiet_sitk():  # several lines per file of ACDC, on how its header is rounded
                image = sitk.ReadImage(str(path))
        except RuntimeError as error:
            raise UserError(f"{path} cannot be read as an image") from error
    array = sitk.GetArrayFromImage(image)
    if array.ndim != image.GetDimension():
        raise UserError(f"{path} has {image.GetNumberOfComponentsPerPixel()} channels; a label file has one")
    if not np.issubdtype(array.dtype, np.integer):
        rounded = np.rint(array)
        if not np.array_equal(rounded, array):
            raise UserError(f"{path} holds values that are no whole numbers, so it is no label file")
        array = rounded.astype(np.int64)
    spacing = _spacing_of_tiff(path, array.ndim) if path.suffix.lower() in TIFF else image.GetSpacing()[::-1]
    return LabelVolume(path, array, tuple(spacing), tuple(image.GetOrigin()), image.GetDirection())


def _spacing_of_tiff(path: Path, axes: int) -> Sequence[float]:
    """What ``Tiff3DIO`` writes beside a file; what a TIFF itself says is of printing."""
    beside = path.with_suffix(".json")
    if axes != 3 or not beside.is_file():
        return (1.0,) * axes
    try:
        spacing = [float(s) for s in json.loads(beside.read_text(encoding="utf-8"))["spacing"]]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f'{beside} does not hold the spacing of {path.name} ({{"spacing": [...]}})') from error
    if len(spacing) != axes or min(spacing) <= 0:
        raise UserError(f"{beside}: expected {axes} positive values as spacing, got {spacing}")
    return spacing


def check_same_geometry(prediction: LabelVolume, reference: LabelVolume) -> None:
    """Make sure two label files lie on one grid.

    Raises:
        UserError: shape, spacing, origin or direction differ by more than rounding.
    """
    if prediction.labels.shape != reference.labels.shape:
        _raise_mismatch("shape", prediction, reference, prediction.labels.shape, reference.labels.shape)
    step = np.asarray(reference.spacing)
    if not np.allclose(prediction.spacing, step, rtol=SPACING_TOLERANCE, atol=0.0):
        _raise_mismatch("spacing", prediction, reference, prediction.spacing, reference.spacing)
    offset = np.abs(np.subtract(prediction.origin, reference.origin))
    if np.any(offset > ORIGIN_TOLERANCE * step.min()):
        _raise_mismatch("origin", prediction, reference, prediction.origin, reference.origin)
    if not np.allclose(prediction.direction, reference.direction, rtol=0.0, atol=DIRECTION_TOLERANCE):
        _raise_mismatch("direction", prediction, reference, prediction.direction, reference.direction)


def _raise_mismatch(
    what: str, prediction: LabelVolume, reference: LabelVolume, got: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    is_tiff = what == "spacing" and {prediction.path.suffix.lower(), reference.path.suffix.lower()} & set(TIFF)
    hint = "; a TIFF's is in a .json file of its name beside it, as nnU-Net has it" if is_tiff else ""
    raise UserError(
        f"{prediction.path} and its reference {reference.path} differ in {what}: "
        f"expected {tuple(round(value, 4) for value in expected)}, got {tuple(round(value, 4) for value in got)}{hint}"
    )
