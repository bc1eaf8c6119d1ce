"""What strokes say of voxels without a stroke.

Who scribbles an image draws a stroke in every structure in it. So a structure without a stroke is not in the image, and
a region that the network calls a structure, but that is connected to no stroke, is not that structure: the false
islands far from the organ, which a partial loss never sees, are caught by this. Not in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nnunetv2_pclmix.neighbourhood import any_around, packed, unpacked

COARSE_STRIDE = 4  # connectivity is followed on a coarser grid, which also forgives gaps of a few voxels
CHECK_EVERY = 8
FINE_AXIS = 32  # axes shorter than this, such as the slices of a thick volume, are not coarsened


class Strokes(NamedTuple):
    """What the loader knows of the images that a batch of B patches is from.

    Attributes:
        annotated: (B,) bool; whether somebody scribbled the image.
        present: (B, structures) bool; which structures (foreground classes, or regions) have a stroke in it, not too
            far from the patch. All of them where nobody scribbled the image, because then nothing is known.
        outside: (B, C - 1) bool; for each foreground label whether it has strokes in the image outside of the patch.
            None: the patches hold their images whole.
    """

    annotated: Tensor
    present: Tensor
    outside: Tensor | None = None

    def to(self, device: torch.device) -> Strokes:
        """The same on a device, without waiting for it."""
        annotated, present = (known.to(device, non_blocking=True) for known in (self.annotated, self.present))
        return Strokes(annotated, present, None if self.outside is None else self.outside.to(device, non_blocking=True))


def grow_from_seeds(seeds: Tensor, mask: Tensor, steps: int) -> Tensor:
    """Voxels of a mask that are connected to a seed within ``steps`` steps (geodesic dilation).

    Args:
        seeds: (N, C, *grid) bool; those outside the mask do not count.
        mask: (N, C, *grid) bool.
        steps: at most so many dilations by one voxel, diagonals included.

    Returns:
        (N, C, *grid) bool.
    """
    unwatched = _is_never_looked_at(mask.device)
    if unwatched and not torch.compiler.is_compiling():
        return _grow_by_pooling(seeds, mask, steps)
    parts = zip(seeds.split(8, 1), mask.split(8, 1), strict=True)
    grown = [unpacked(_grow_stepwise(packed(s), packed(m), steps, not unwatched), m.shape[1]) for s, m in parts]
    return torch.cat(grown, 1)


def _is_never_looked_at(device: torch.device) -> bool:
    """Whether nothing asks for a value there: on a GPU, which would be waited for; but Apple's lack some poolings."""
    return device.type not in ("cpu", "mps")


def _grow_once(grown: Tensor, mask: Tensor) -> Tensor:
    return any_around(grown, [1] * (mask.ndim - 2)) & mask


@torch.compiler.disable(recursive=False)  # a step is compiled, to one kernel; a hundred unrolled ones take a minute
def _grow_stepwise(seeds: Tensor, mask: Tensor, steps: int, watched: bool) -> Tensor:
    """Of bits; watched: only until nothing changes any more."""
    grown = seeds & mask
    for step in range(1, steps + 1):
        before, grown = grown, _grow_once(grown, mask)
        if watched and step % CHECK_EVERY == 0 and torch.equal(before, grown):
            break
    return grown


def _grow_by_pooling(seeds: Tensor, mask: Tensor, steps: int) -> Tensor:
    """The same for a GPU where nothing is compiled: two kernels a step."""
    pool = F.avg_pool2d if mask.ndim == 4 else F.avg_pool3d  # of sums; the maximum would also make indices
    within = mask.float()
    grown = torch.minimum(seeds.float(), within)
    for _ in range(steps):
        grown = torch.minimum(pool(grown, 3, 1, 1, divisor_override=1), within)
    return grown > 0


def _planes(labels: Tensor, num_classes: int) -> Tensor:
    """(N, *grid) -> (N, num_classes - 1, *grid) bool, without background; other values belong to no class."""
    classes = torch.arange(1, num_classes, device=labels.device).view(1, -1, *[1] * (labels.ndim - 1))
    return labels[:, None] == classes


def _any_in_cells(planes: Tensor, stride: Sequence[int]) -> Tensor:
    """(N, C, *grid) bool -> (N, C, *coarse grid) bool: whether the cell of ``stride`` voxels holds a true one."""
    for axis, factor in enumerate(stride, start=2):
        missing = -planes.shape[axis] % factor
        if missing:
            planes = F.pad(planes, [0, 0] * (planes.ndim - axis - 1) + [0, missing])
        # not pooling, for which a CPU needs floats, and ten times as long
        planes = reduce(or_, planes.unflatten(axis, (-1, factor)).unbind(axis + 1))
    return planes


def _of_cells(coarse: Tensor, stride: Sequence[int], grid: Sequence[int]) -> Tensor:
    """(N, C, *coarse grid) -> (N, C, *grid): for each voxel the value of the cell in which it lies."""
    for axis in range(coarse.ndim - 1, 1, -1):  # the last axis first, when there is least to copy by single voxels
        shape = [-1] * (axis + 1) + [stride[axis - 2]] + [-1] * (coarse.ndim - axis - 1)
        coarse = coarse.unsqueeze(axis + 1).expand(shape).flatten(axis, axis + 1).narrow(axis, 0, grid[axis - 2])
    return coarse


def _border(grid: Sequence[int], device: torch.device) -> Tensor:
    """(*grid) bool, true on the faces of the grid along axes of more than two voxels."""
    border = torch.zeros(tuple(grid), dtype=torch.bool, device=device)
    for axis, size in enumerate(grid):
        if size > 2:
            border.select(axis, 0).fill_(True)
            border.select(axis, size - 1).fill_(True)
    return border


def vouch(
    labels: Tensor,
    scribbles: Tensor,
    num_classes: int,
    ignore_label: int,
    annotated: Tensor | None = None,
    outside: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Sort out pseudo-labels by whether strokes vouch for them.

    Foreground connected to no foreground stroke at all becomes background. Foreground connected to strokes, but not
    to one of its own class, is in doubt. So is foreground that reaches the border of a patch, where its class has
    strokes outside. An image without any stroke, background strokes included, was not annotated and stays as it is.

    Args:
        labels: (K N, *grid) class of each voxel as predicted; K predictions for the same images, one after the other.
        scribbles: (N, *grid) classes of the strokes, ``ignore_label`` elsewhere.
        num_classes: classes C, background 0 included.
        ignore_label: value of unlabelled voxels.
        annotated: (N,) bool; whether somebody scribbled the image that each patch is from. None: whether the patch
            holds strokes.
        outside: (N, C - 1) bool; which foreground classes have strokes in the image outside of the patch. None: none.

    Returns:
        (K N, *grid) labels, and (K N, *grid) float, 0 for voxels in doubt and 1 elsewhere.
    """
    grid = labels.shape[1:]
    stride = [COARSE_STRIDE if size >= FINE_AXIS else 1 for size in grid]
    of_labels = _planes(labels, num_classes)
    cells = (_any_in_cells(planes, stride) for planes in (of_labels, _planes(scribbles, num_classes)))
    # a first channel for any foreground, then one for each class; a stroke that the prediction misses by a voxel
    # still vouches for the region it touches
    coarse_mask, coarse_strokes = (torch.cat([each.any(1, keepdim=True), each], 1) for each in cells)
    has_stroke = (scribbles != ignore_label).flatten(1).any(1)
    annotated = has_stroke if annotated is None else annotated | has_stroke
    predictions = len(labels) // len(scribbles)
    coarse_strokes = coarse_strokes.repeat(predictions, *[1] * (labels.ndim))
    annotated = annotated.repeat(predictions)
    if outside is not None:
        cut = coarse_mask[:, 1:] & outside.repeat(predictions, 1).view(*coarse_mask[:, 1:].shape[:2], *[1] * len(grid))
        coarse_strokes[:, 0] |= cut.any(1) & _border(coarse_mask.shape[2:], labels.device)
    vouched = grow_from_seeds(coarse_strokes, coarse_mask, 2 * max(coarse_mask.shape[2:]))
    any_class, of_classes = _of_cells(vouched, stride, grid).tensor_split([1], 1)
    any_class, own = any_class[:, 0], reduce(or_, (of_classes & of_labels).unbind(1))
    foreground = labels > 0
    annotated = annotated.view(-1, *[1] * len(grid))
    island = foreground & ~any_class & annotated
    doubtful = foreground & any_class & ~own & annotated
    return torch.where(island, 0, labels), (~doubtful).float()
