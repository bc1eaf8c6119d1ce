"""From a curve to the pixels under the pen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scribble_conversion.drawing.curves import Curve, Mask, values_at

ROOM = 0.7
"""How much of the way to a structure's boundary the pen may cover, so that a thin structure is not filled."""


def depth_of(mask: Mask) -> npt.NDArray[np.float64]:
    """Distance of each pixel to the nearest pixel outside the mask, in pixels; the array's edge does not count.

    A mask that fills the whole array has no outside; there the distance is to the array's edge.
    """
    if mask.all():
        return np.asarray(ndimage.distance_transform_edt(np.pad(mask, 1)))[1:-1, 1:-1]
    return np.asarray(ndimage.distance_transform_edt(mask))


def draw(curve: Curve, width: float, mask: Mask, depth: npt.NDArray[np.float64]) -> Mask:
    """Draw a curve with a round pen.

    Args:
        curve: where the pen goes; resampled, since only its points are drawn.
        width: the pen's diameter in pixels; where the structure is thin it is pressed less, down to one pixel.
        mask: what may be drawn on.
        depth: ``depth_of(mask)``.

    Returns:
        (rows, columns) the pixels drawn, all of them in the mask.
    """
    radii = np.clip(ROOM * values_at(depth, curve), 0, width / 2)
    drawn = np.zeros_like(mask)
    reach = np.arange(-int(np.ceil(width / 2)) - 1, int(np.ceil(width / 2)) + 2)
    offsets = np.stack(np.meshgrid(reach, reach, indexing="ij"), -1).reshape(-1, 2)
    centres = np.floor(curve + 0.5).astype(int)
    pixels = centres[:, None] + offsets
    away = np.hypot(*np.moveaxis(pixels - curve[:, None], -1, 0))
    covered = (away <= radii[:, None]) | (offsets == 0).all(1)  # the pixel under the pen always
    covered &= ((pixels >= 0) & (pixels < mask.shape)).all(-1)
    drawn[tuple(pixels[covered].T)] = True
    return drawn & mask
