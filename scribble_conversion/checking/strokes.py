"""How long and how wide the scribbles are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.morphology import skeletonize

_TOUCHING = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class Stroke:
    """Connected voxels of one integer in one slice.

    Attributes:
        value: the integer.
        index: the slice.
        voxels: how many.
        length: mm along the skeleton, end to end.
        width: mm, the area divided by the length.
        pixels_wide: the same in pixels.
    """

    value: int
    index: int
    voxels: int
    length: float
    width: float
    pixels_wide: float


def measure_strokes(
    label: npt.NDArray[np.integer], values: Sequence[int], axis: int, spacing: tuple[float, ...]
) -> list[Stroke]:
    """Measure all strokes of a volume.

    Args:
        label: integers, axes z, y, x.
        values: the integers to look at.
        axis: the axis along which the slices lie.
        spacing: mm along z, y, x.

    Returns:
        The strokes, slice by slice; strokes of one integer that touch, be it at a corner, are one.
    """
    in_plane = tuple(value for index, value in enumerate(spacing) if index != axis)
    strokes = []
    for index, plane in enumerate(np.moveaxis(label, axis, 0)):
        for value in values:
            mask = plane == value
            if not mask.any():
                continue
            components, _ = ndimage.label(mask, _TOUCHING)
            for number, box in enumerate(ndimage.find_objects(components), start=1):
                strokes.append(_measure(components[box] == number, value, index, in_plane))
    return strokes


def _measure(mask: npt.NDArray[np.bool_], value: int, index: int, spacing: tuple[float, ...]) -> Stroke:
    """Measure one stroke, cut out."""
    skeleton = skeletonize(np.pad(mask, 1))
    voxels = int(np.count_nonzero(mask))
    pixel = float(np.sqrt(spacing[0] * spacing[1]))
    steps, length = _skeleton_length(skeleton, spacing)
    # A skeleton ends half a pixel before the stroke does, at least, on either side.
    length, steps = length + pixel, steps + 1
    return Stroke(value, index, voxels, length, voxels * spacing[0] * spacing[1] / length, voxels / steps)


def _skeleton_length(skeleton: npt.NDArray[np.bool_], spacing: tuple[float, ...]) -> tuple[float, float]:
    """Length of the graph of neighbouring skeleton pixels, in pixels and in mm.

    A diagonal step counts only where no two straight ones lead the same way.
    """
    upper, lower = skeleton[:-1], skeleton[1:]
    vertical = np.count_nonzero(upper & lower)
    horizontal = np.count_nonzero(skeleton[:, :-1] & skeleton[:, 1:])
    falling = upper[:, :-1] & lower[:, 1:] & ~(upper[:, 1:] | lower[:, :-1])
    rising = upper[:, 1:] & lower[:, :-1] & ~(upper[:, :-1] | lower[:, 1:])
    diagonal = np.count_nonzero(falling) + np.count_nonzero(rising)
    in_pixels = vertical + horizontal + np.sqrt(2) * diagonal
    in_mm = vertical * spacing[0] + horizontal * spacing[1] + np.hypot(spacing[0], spacing[1]) * diagonal
    return float(in_pixels), float(in_mm)
