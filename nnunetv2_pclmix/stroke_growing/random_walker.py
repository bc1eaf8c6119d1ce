"""Strokes grown by a random walker.

Grady, "Random walks for image segmentation", IEEE TPAMI 2006: a voxel gets the label of the stroke that a walker, who
avoids edges of the image, reaches first. Can et al., "Learning to Segment Medical Images with Scribble-Supervision
Alone", DLMIA 2018, begin that way on the strokes of ACDC. Not in PCLMix.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from skimage.measure import block_reduce
from skimage.segmentation import random_walker

# Larger images are walked on a coarser grid, because the time of the solver grows faster than they do
MOST_PIXELS, MOST_VOXELS = 2**16, 2**20
DENSE_SHARE = 0.5  # an image of which more is labelled is no scribble


def grow_strokes(
    image: NDArray[np.floating],
    strokes: NDArray[np.integer],
    *,
    ignore_label: int,
    beta: float,
    certainty: float,
    spacing: Sequence[float] | None = None,
) -> NDArray[np.integer]:
    """Label the voxels of which the strokes leave little doubt.

    Rests on the closed world: the strokes name every structure of the image, so that each voxel belongs to one of them.
    An image with strokes of background alone is background. Images without strokes, with strokes of one structure alone
    or with dense labels stay as they are.

    Args:
        image: (channels, *grid) grey values; a grid of two or three axes.
        strokes: (*grid) labels, ``ignore_label`` where there is no stroke, negative outside of the image.
        ignore_label: value of unlabelled voxels.
        beta: how much edges stop the walker; 0 for not at all.
        certainty: least probability of a label that is written.
        spacing: distance of voxels along each axis, in any unit; tells along which axes a large image can be coarsened.
            None for the same along all.

    Returns:
        (*grid) labels like ``strokes``; the strokes themselves are among them unchanged.
    """
    stroke = (strokes >= 0) & (strokes != ignore_label)
    unlabelled = strokes == ignore_label
    labels = np.unique(strokes[stroke])
    if not len(labels) or not unlabelled.any() or stroke.mean() > DENSE_SHARE:
        return strokes.copy()
    if len(labels) == 1:
        return np.where(unlabelled, labels[0], strokes) if labels[0] == 0 else strokes.copy()
    markers = np.where(stroke, np.searchsorted(labels, strokes) + 1, np.where(unlabelled, 0, -1))
    factors = _coarsening(strokes.shape, spacing)
    reached = _walk(
        np.stack([_blocks(channel.astype(np.float64), factors, np.mean) for channel in image], -1),
        _blocks(markers, factors, np.max),  # a stroke in any voxel of a block marks it
        beta,
        certainty,
    )
    for axis, factor in enumerate(factors):
        reached = np.repeat(reached, factor, axis).take(range(strokes.shape[axis]), axis)
    return np.where(unlabelled & (reached > 0), labels[np.maximum(reached, 1) - 1], strokes).astype(strokes.dtype)


def _coarsening(shape: Sequence[int], spacing: Sequence[float] | None) -> tuple[int, ...]:
    """How many voxels along each axis become one; powers of two."""
    width = np.ones(len(shape)) if spacing is None else np.asarray(spacing, float)
    factors = np.ones(len(shape), int)
    most = MOST_PIXELS if sum(size > 1 for size in shape) < 3 else MOST_VOXELS
    while np.prod(np.ceil(shape / factors)) > most:
        factors[np.argmin(np.where(factors < shape, width * factors, np.inf))] *= 2
    return tuple(int(f) for f in factors)


def _blocks(values: NDArray, factors: tuple[int, ...], summary: object) -> NDArray:
    if max(factors) == 1:
        return values
    padding = [(0, -size % factor) for size, factor in zip(values.shape, factors, strict=True)]
    return block_reduce(np.pad(values, padding, mode="edge"), factors, summary)


def _walk(image: NDArray[np.float64], markers: NDArray[np.integer], beta: float, certainty: float) -> NDArray[np.intp]:
    """(*grid) the marker that a walker from each voxel reaches; 0 where that is uncertain, and outside of the image.

    Args:
        image: (*grid, channels).
        markers: (*grid) 1, 2, ... for strokes, 0 for voxels to walk from, negative outside of the image.
        beta: see ``grow_strokes``.
        certainty: likewise.
    """
    if not (markers == 0).any():
        return np.maximum(markers, 0)
    inside = markers >= 0
    grid_axes = tuple(range(markers.ndim))
    image = (image - image.mean(grid_axes, where=inside[..., None])) / (
        image.std(grid_axes, where=inside[..., None]) + 1e-8
    )
    flat = sum(size > 1 for size in markers.shape) < 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # voxels that no stroke can be reached from; without pyamg it is slower in 3D
        # a direct solver is exact, and faster in the plane; in space it needs too much memory
        probability = random_walker(
            image, markers, beta, mode="bf" if flat else "cg_j", return_full_prob=True, channel_axis=-1
        )
    if probability.shape != (markers.max(), *markers.shape):  # scikit-image found nothing to do
        return np.maximum(markers, 0)
    return np.where(inside & (probability.max(0) > certainty), probability.argmax(0) + 1, 0)
