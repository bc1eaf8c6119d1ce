"""Where the voxels of a volume lie, and whether two volumes lie on each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

SPACING_TOLERANCE = 1e-3
"""Relative difference of spacings that is header rounding."""
CHANNEL_SPACING_TOLERANCE = 1e-5
"""Relative difference of the spacings of two channels beyond which nnU-Net refuses the case."""
ORIGIN_TOLERANCE = 1e-2
"""Difference of origins, in voxels (of the largest spacing), that is header rounding."""
DIRECTION_TOLERANCE = 1e-3
"""Difference of direction cosines that is header rounding."""


@dataclass(frozen=True)
class Geometry:
    """The voxel grid of a volume; axes x, y, z as in SimpleITK.

    Attributes:
        size: voxels per axis.
        spacing: mm per axis.
        origin: position of the first voxel, mm; empty where the format knows none.
        direction: direction cosines, row by row; empty where the format knows none.
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...] = ()
    direction: tuple[float, ...] = ()

    @classmethod
    def of(cls, image: sitk.Image) -> Geometry:
        """The geometry of an image."""
        return cls(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())


def difference(given: Geometry, wanted: Geometry, spacing_tolerance: float = SPACING_TOLERANCE) -> str | None:
    """Compare two geometries, header rounding forgiven.

    Args:
        given: the geometry of a label, or of another channel.
        wanted: that of the image, or of its first channel.
        spacing_tolerance: relative difference of spacings that is forgiven.

    Returns:
        None where they agree, else the first difference in words.
    """
    if given.size != wanted.size:
        return f"size, {given.size} instead of {wanted.size}"
    spacing = np.asarray(wanted.spacing)
    if not np.allclose(given.spacing, spacing, rtol=spacing_tolerance, atol=0):
        return f"spacing, {_rounded(given.spacing)} instead of {_rounded(spacing)} mm"
    if not _close(given.origin, wanted.origin, ORIGIN_TOLERANCE * float(spacing.max())):
        return f"origin, {_rounded(given.origin)} instead of {_rounded(wanted.origin)} mm"
    if not _close(given.direction, wanted.direction, DIRECTION_TOLERANCE):
        return f"direction, {_rounded(given.direction)} instead of {_rounded(wanted.direction)}"
    return None


def _close(one: tuple[float, ...], other: tuple[float, ...], tolerance: float) -> bool:
    return len(one) == len(other) and bool(np.allclose(one, other, rtol=0, atol=tolerance))


def _rounded(values: npt.ArrayLike) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in np.asarray(values))
