"""What the strokes of an image say of a patch that holds a part of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Whereabouts(NamedTuple):
    """Where the strokes of a structure are, seen from a patch: some near enough, some outside of it, some within."""

    near: bool
    outside: bool
    within: bool


def whereabouts(voxels: npt.NDArray[np.integer], begin: npt.ArrayLike, size: npt.ArrayLike) -> Whereabouts:
    """Whether a structure may be in a patch at all, and whether it has strokes outside of it and within.

    A structure is taken to reach no further beyond its strokes than half a patch, or than their bounding box is wide.
    Not in the paper, whose patches are whole slices.

    Args:
        voxels: (n, dim) of the structure's strokes in the image.
        begin: first voxel of the patch.
        size: voxels of the patch along each axis.

    Returns:
        Whether one of the voxels is that near, one lies outside of the patch and one within; nothing without voxels.
    """
    if not len(voxels):
        return Whereabouts(False, False, False)
    first, extent = np.asarray(begin), np.asarray(size)
    if (voxels.min(0) >= first).all() and (voxels.max(0) < first + extent).all():
        # the usual case of a patch that holds the organ, told in half of the time
        return Whereabouts(True, False, True)
    gap = np.maximum(np.maximum(first - voxels, voxels - (first + extent - 1)), 0)
    reach = np.maximum(extent // 2, np.ptp(voxels, 0))
    beside = (gap > 0).any(1)
    return Whereabouts(bool((gap <= reach).all(1).any()), bool(beside.any()), not beside.all())
