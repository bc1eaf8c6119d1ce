"""Pseudo-labels that no stroke vouches for.

Who scribbles an image draws a stroke in every structure in it. So a region that the network calls a structure, but
that is connected to no stroke, is not that structure: the false islands far from the organ, which a partial loss never
sees, are caught by this. Not in the paper.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

COARSE_STRIDE = 4  # connectivity is followed on a coarser grid, which also forgives gaps of a few voxels
FINE_AXIS = 32  # axes shorter than this, such as the slices of a thick volume, are not coarsened


def _dilate(mask: Tensor) -> Tensor:
    """Binary dilation of (N, C, *grid) bool by one voxel, diagonals included."""
    for axis in range(2, mask.ndim):
        last = mask.shape[axis] - 1
        grown = mask.clone()
        grown.narrow(axis, 1, last).logical_or_(mask.narrow(axis, 0, last))
        grown.narrow(axis, 0, last).logical_or_(mask.narrow(axis, 1, last))
        mask = grown
    return mask


def grow_from_seeds(seeds: Tensor, mask: Tensor, steps: int) -> Tensor:
    """Voxels of a mask that are connected to a seed within ``steps`` steps (geodesic dilation).

    Args:
        seeds: (N, C, *grid) bool; those outside the mask do not count.
        mask: (N, C, *grid) bool.
        steps: at most so many dilations by one voxel, diagonals included.

    Returns:
        (N, C, *grid) bool.
    """
    grown = seeds & mask
    for _ in range(steps):
        grown = _dilate(grown) & mask
    return grown


def _one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """(N, *grid) -> (N, num_classes - 1, *grid) float, without background; other values belong to no class."""
    classes = torch.arange(1, num_classes, device=labels.device).view(1, -1, *[1] * (labels.ndim - 1))
    return (labels[:, None] == classes).float()


def vouch(labels: Tensor, scribbles: Tensor, num_classes: int, ignore_label: int) -> tuple[Tensor, Tensor]:
    """Sort out pseudo-labels by whether strokes vouch for them.

    Foreground connected to no foreground stroke at all becomes background. Foreground connected to strokes, but not
    to one of its own class, is in doubt. An image without any stroke, background strokes included, was not annotated
    and stays as it is.

    Args:
        labels: (N, *grid) class of each voxel as predicted.
        scribbles: (N, *grid) classes of the strokes, ``ignore_label`` elsewhere.
        num_classes: classes C, background 0 included.
        ignore_label: value of unlabelled voxels.

    Returns:
        (N, *grid) labels, and (N, *grid) float, 0 for voxels in doubt and 1 elsewhere.
    """
    grid = labels.shape[1:]
    stride = [COARSE_STRIDE if size >= FINE_AXIS else 1 for size in grid]
    pool = F.max_pool2d if len(grid) == 2 else F.max_pool3d

    def coarse(values: Tensor) -> Tensor:
        return pool(values, stride, stride, ceil_mode=True)

    mask, strokes = _one_hot(labels, num_classes), _one_hot(scribbles, num_classes)
    # a first channel for any foreground, then one for each class
    mask = torch.cat([mask.amax(1, keepdim=True), mask], 1)
    strokes = torch.cat([strokes.amax(1, keepdim=True), strokes], 1)
    # a stroke that the prediction misses by a voxel still vouches for the region it touches
    coarse_mask, coarse_strokes = coarse(mask) > 0, coarse(strokes) > 0
    vouched = grow_from_seeds(coarse_strokes, coarse_mask, 2 * max(coarse_mask.shape[2:]))
    for axis, (factor, size) in enumerate(zip(stride, grid, strict=True), start=2):
        vouched = vouched.repeat_interleave(factor, axis).narrow(axis, 0, size)
    foreground = labels > 0
    annotated = (scribbles != ignore_label).flatten(1).any(1).view(-1, *[1] * len(grid))
    island = foreground & ~vouched[:, 0] & annotated
    own = vouched[:, 1:].gather(1, (labels.clamp(min=1) - 1)[:, None])[:, 0]
    doubtful = foreground & vouched[:, 0] & ~own & annotated
    return torch.where(island, 0, labels), (~doubtful).float()
