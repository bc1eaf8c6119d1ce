"""What the strokes of an image say of a patch that holds a part of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def near_and_outside(voxels: npt.NDArray[np.integer], begin: npt.ArrayLike, size: npt.ArrayLike) -> tuple[bool, bool]:
    """Whether a structure may be in a patch at all, and whether it has strokes outside of it.

    A structure is taken to reach no further beyond its strokes than half a patch, or than their bounding box is wide.
    Not in the paper, whose patches are whole slices.

    Args:
        voxels: (n, dim) of the structure's strokes in the image.
        begin: first voxel of the patch.
        size: voxels of the patch along each axis.

    Returns:
        Whether one of the voxels is that near, and whether one lies outside of the patch; neither without voxels.
    """
    if not len(voxels):
        return False, False
    first, extent = np.asarray(begin), np.asarray(size)
    if (voxels.min(0) >= first).all() and (voxels.max(0) < first + extent).all():
        return True, False  # the usual case of a patch that holds the organ, told in half of the time
    gap = np.maximum(np.maximum(first - voxels, voxels - (first + extent - 1)), 0)
    reach = np.maximum(extent // 2, np.ptp(voxels, 0))
    return bool((gap <= reach).all(1).any()), bool((gap > 0).any())
