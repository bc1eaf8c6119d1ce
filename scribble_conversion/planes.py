"""Images as stacks of the slices that people scribble."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

AXES = "zyx"
"""Names of the array axes; x is the first axis in the files."""
SAME_SPACING = 1.01
"""Spacings that differ by less than this factor are the same."""


def slice_axis(shape: tuple[int, ...], spacing: tuple[float, ...]) -> int:
    """Find the axis across the slices of a volume: the one of the largest spacing, the first of several.

    Args:
        shape: voxels per axis, array order (z, y, x).
        spacing: mm per axis, same order.

    Returns:
        The array axis; an axis of a single voxel is taken before all others, as a flat image has one.
    """
    if min(shape) == 1:
        return shape.index(1)
    return next(axis for axis, size in enumerate(spacing) if size * SAME_SPACING >= max(spacing))


def noted_axis(drawing: Mapping[str, Any]) -> int | None:
    """The array axis that the user chose, from the note about drawn scribbles; None for each image's own."""
    axis = drawing.get("axis")
    return AXES.index(axis) if isinstance(axis, str) and axis in tuple(AXES) else None


def axis_across(image: sitk.Image, chosen: int | None) -> int:
    """The array axis across the slices of an image, as ``choose_axis`` finds it."""
    return choose_axis(image.GetSize()[::-1], image.GetSpacing()[::-1], chosen, flat=image.GetDimension() == 2)


def choose_axis(shape: tuple[int, ...], spacing: tuple[float, ...], chosen: int | None, *, flat: bool) -> int:
    """Choose the array axis across the slices.

    Args:
        shape: voxels per axis, array order (z, y, x).
        spacing: mm per axis, same order.
        chosen: the axis that the user chose; None for the one that ``slice_axis`` finds.
        flat: whether it is a 2D image, which is one slice whatever the user chose.

    Returns:
        The axis; 0 for 2D images.
    """
    if flat:
        return 0
    return slice_axis(shape, spacing) if chosen is None else chosen


def as_volume(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """An array of three axes: (y, x) becomes a volume of one slice."""
    return array[None] if array.ndim == 2 else array


def grey_values(image: sitk.Image) -> npt.NDArray[np.float32]:
    """Intensities, (z, y, x); colours are averaged, a 2D image is one slice."""
    array = sitk.GetArrayViewFromImage(image).astype(np.float32)
    return as_volume(array.mean(axis=-1) if image.GetNumberOfComponentsPerPixel() > 1 else array)
