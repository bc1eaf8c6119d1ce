"""Scribbles made shorter."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scribble_conversion.drawing.curves import Mask
from scribble_conversion.drawing.skeleton import NEIGHBOURS, skeleton_of, steps_from


def shorten_volume(
    scribbles: npt.NDArray[np.uint8], unlabelled: int, fraction: float, axis: int, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Keep of every stroke of a volume, slice by slice, one contiguous piece at full width.

    A stroke is a connected component of a class in a slice. With the same ``rng``, what is kept with a smaller
    ``fraction`` is part of what is kept with a larger one.

    Args:
        scribbles: (z, y, x) classes, ``unlabelled`` where there is no stroke.
        unlabelled: that value.
        fraction: how much of each stroke is kept, above 0 to 1; at least one pixel is.
        axis: the array axis across the slices.
        rng: source of the randomness.

    Returns:
        Same shape.
    """
    planes = np.moveaxis(scribbles, axis, 0)
    kept = np.full(planes.shape, unlabelled, dtype=np.uint8)
    for plane, target in zip(planes, kept, strict=True):
        for value in np.unique(plane[plane != unlabelled]):
            strokes, _ = ndimage.label(plane == value, NEIGHBOURS)
            for number, window in enumerate(ndimage.find_objects(strokes), start=1):
                target[window][shorten_stroke(strokes[window] == number, fraction, rng)] = value
    return np.moveaxis(kept, 0, axis)


def shorten_stroke(stroke: Mask, fraction: float, rng: np.random.Generator) -> Mask:
    """Keep one contiguous piece of a stroke, measured along its skeleton, at full width.

    Args:
        stroke: one connected component.
        fraction: how many of its pixels are kept, above 0 to 1; at least one is.
        rng: source of the randomness.

    Returns:
        Same shape, connected, part of the stroke.
    """
    skeleton = skeleton_of(stroke)
    start = tuple(rng.choice(np.argwhere(skeleton)))
    along, _ = steps_from(skeleton, start)
    away, nearest = ndimage.distance_transform_edt(~skeleton, return_indices=True)
    pixels = np.argwhere(stroke)
    here = tuple(pixels.T)
    order = np.lexsort((away[here], along[nearest[0][here], nearest[1][here]]))
    number = max(1, round(fraction * len(pixels)))
    kept = np.zeros_like(stroke)
    kept[tuple(pixels[order[:number]].T)] = True
    pieces, _ = ndimage.label(kept, NEIGHBOURS)
    return np.asarray(pieces == pieces[tuple(pixels[order[0]])])
