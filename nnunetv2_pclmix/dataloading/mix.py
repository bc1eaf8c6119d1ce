"""Dynamic mixing: boxes and partners are drawn by one function and applied by another.

Because drawing and applying are apart, the same mix can be made on images, on labels of every deep-supervision
scale and, in the trainer, on predictions (PCLMix, section "Dynamic Mix Augmentation").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

FEW = 3  # patches, of which none is mixed with itself


class Mix(NamedTuple):
    """How K mixed twins of a batch of B patches are put together.

    Attributes:
        partners: (K, 2) int64; twin k shows patch ``partners[k, 0]`` inside its box and ``partners[k, 1]`` outside.
        boxes: (K, dim, 2) int64; lower (inclusive) and upper (exclusive) corner in voxels of the full patch.
        patch_size: voxels of the full patch per axis, to which the corners refer.
    """

    partners: Tensor
    boxes: Tensor
    patch_size: tuple[int, ...]


def images_of_a_step(planned: int, patch_fraction: float, twin_share: float) -> tuple[int, int]:
    """Number of patches B and of mixed twins K in a step.

    Args:
        planned: batch size of the plans.
        patch_fraction: patches over the planned batch.
        twin_share: twins over all images of a step, in (0, 1).

    Returns:
        (B, K) with two patches at least, or one could only be mixed with itself, and 1 <= K <= B. Where patches and
        twins together are meant to be as many as planned, they are, unless that leaves fewer than two patches.
    """
    images = planned * patch_fraction / (1 - twin_share)
    twins = max(1, round(images * twin_share))
    patches = round(images) - twins
    if twins == patches + 1:  # halves of an odd number
        patches, twins = twins, patches
    patches = max(2, patches)
    return patches, min(max(1, twins), patches)


def draw_mix(
    batch_size: int,
    patch_size: Sequence[int],
    box_fraction: float,
    rng: np.random.Generator,
    num_twins: int | None = None,
) -> Mix:
    """Draw partners (two permutations of the batch) and one box per twin.

    The box covers ``box_fraction`` of the patch up to rounding; how the fraction is shared among the axes is random
    (side k is ``size_k * box_fraction ** u_k`` with u uniform on the simplex, so no side exceeds the patch), which in
    2D is the random aspect ratio of the paper and holds for 3D as well. As published, a patch may be mixed with itself,
    but not in a batch of ``FEW``, where that would be every second or third twin.

    Args:
        batch_size: number of patches B.
        patch_size: voxels per axis.
        box_fraction: share of the patch that the box covers, in [0, 1]; 0.2 as published.
        rng: source of randomness.
        num_twins: number of twins K, those of the first partners in the permutations; None for one per patch, as
            published.

    Returns:
        The drawn mix.

    Raises:
        ValueError: for a fraction outside [0, 1], or more twins than patches.
    """
    num_twins = batch_size if num_twins is None else num_twins
    if not 0 < num_twins <= batch_size:
        raise ValueError(f"expected 1 to {batch_size} twins of {batch_size} patches, got {num_twins}")
    if not 0.0 <= box_fraction <= 1.0:
        raise ValueError(f"expected a box fraction in [0, 1], got {box_fraction}")
    size = np.asarray(patch_size, dtype=np.int64)
    first = rng.permutation(batch_size)
    second = np.roll(first, rng.integers(1, batch_size)) if 1 < batch_size <= FEW else rng.permutation(batch_size)
    partners = np.stack([first, second], axis=1)[:num_twins].copy()
    shares = rng.dirichlet(np.ones(len(size)), size=num_twins)
    sides = np.rint(size * np.power(box_fraction, shares)).astype(np.int64)
    sides = np.clip(sides, 0 if box_fraction == 0 else 1, size)
    lower = rng.integers(0, size - sides, endpoint=True)
    boxes = np.stack([lower, lower + sides], axis=2)
    return Mix(torch.from_numpy(partners), torch.from_numpy(boxes), tuple(int(s) for s in size))


def nearest_source(full: int, scaled: int, device: torch.device | None = None) -> Tensor:
    """(scaled,) int64 index along a full axis that each place of a coarser one reads by ``nearest-exact`` sampling."""
    return ((2 * torch.arange(scaled, device=device) + 1) * full) // (2 * scaled)


def sample_nearest(values: Tensor, grid: Sequence[int]) -> Tensor:
    """Take (N, channels, *grid) values on a coarser grid; what ``F.interpolate(mode="nearest-exact")`` gives.

    Unlike that function it takes any type and, on the CPU, does not copy the full grid first.
    """
    for axis, size in enumerate(grid, start=2):
        if values.shape[axis] != size:
            values = values.index_select(axis, nearest_source(values.shape[axis], size, values.device))
    return values


def inside_boxes(boxes: Tensor, grid: Sequence[int]) -> Tensor:
    """(K, *grid) bool; which voxels lie in each of the boxes (K, dim, 2), see ``Mix``."""
    inside = torch.ones((len(boxes), *[1] * len(grid)), dtype=torch.bool, device=boxes.device)
    for axis, size in enumerate(grid):
        place = torch.arange(size, device=boxes.device)
        within = (place >= boxes[:, axis, :1]) & (place < boxes[:, axis, 1:])
        inside = inside & within.view([len(boxes), *(size if a == axis else 1 for a in range(len(grid)))])
    return inside


def scale_box(box: Sequence[tuple[int, int]], full: Sequence[int], scaled: Sequence[int]) -> list[tuple[int, int]]:
    """The box on a coarser grid whose voxels are taken from the full grid by nearest-neighbour sampling.

    nnU-Net makes the labels of its deep-supervision scales by ``nearest-exact`` interpolation, which reads full voxel
    ``floor((k + 0.5) full / scaled)`` for coarse voxel k. The scaled box holds just those k that read inside the box,
    so that mixing and then downsampling equals downsampling and then mixing.

    Args:
        box: lower and upper corner per axis on the full grid.
        full: voxels per axis of the full grid.
        scaled: voxels per axis of the coarse grid.

    Returns:
        Lower and upper corner per axis on the coarse grid.
    """
    corners = []
    for (lower, upper), n_full, n_scaled in zip(box, full, scaled, strict=True):
        first, last = np.searchsorted(nearest_source(n_full, n_scaled).numpy(), [lower, upper])
        corners.append((int(first), int(last)))
    return corners


def apply_mix(values: Tensor, mix: Mix, background: Tensor | None = None, out: Tensor | None = None) -> Tensor:
    """Put the twins together: ``M values[i] + (1 - M) background[j]`` for partners (i, j) and box M.

    Args:
        values: (B, channels, *grid); images, labels or predictions on the full or a coarser grid.
        mix: partners and boxes of this batch.
        background: values shown outside the box, same shape as ``values``; ``values`` itself by default. Another
            tensor mixes the prediction of one decoder with that of the other.
        out: where to write, (K, channels, *grid); a new tensor by default.

    Returns:
        (K, channels, *grid) mixed values.

    Raises:
        ValueError: where the number of axes differs or a partner is missing.
    """
    background = values if background is None else background
    if background.shape != values.shape:
        raise ValueError(f"expected equal shapes, got {tuple(values.shape)} and {tuple(background.shape)}")
    last = int(mix.partners.max())
    if len(values) <= last or values.ndim - 2 != len(mix.patch_size):
        raise ValueError(
            f"expected {last + 1} values or more with {len(mix.patch_size)} spatial axes, got {tuple(values.shape)}"
        )
    grid = tuple(values.shape[2:])
    mixed = values.new_empty((len(mix.boxes), *values.shape[1:])) if out is None else out
    for b, ((inside, outside), box) in enumerate(zip(mix.partners.tolist(), mix.boxes.tolist(), strict=True)):
        corners = box if grid == mix.patch_size else scale_box(box, mix.patch_size, grid)
        window = (slice(None), *(slice(lower, upper) for lower, upper in corners))
        mixed[b] = background[outside]
        mixed[b][window] = values[inside][window]
    return mixed
