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

from nnunetv2_pclmix.neighbourhood import any_around, bits_of, packed, unpacked

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
        lost: (B, C - 1) bool; for each foreground label whether it had strokes in the patch which augmentation took
            away, by zooming past them or by drawing thin ones on a coarser grid. None: nothing is lost.
    """

    annotated: Tensor
    present: Tensor
    outside: Tensor | None = None
    lost: Tensor | None = None

    def to(self, device: torch.device) -> Strokes:
        """The same on a device, without waiting for it."""

        def moved(known: Tensor | None) -> Tensor | None:
            return None if known is None else known.to(device, non_blocking=True)

        annotated, present = (known.to(device, non_blocking=True) for known in (self.annotated, self.present))
        return Strokes(annotated, present, moved(self.outside), moved(self.lost))


def grow_from_seeds(seeds: Tensor, mask: Tensor, steps: int) -> Tensor:
    """Voxels of masks that are connected to a seed within ``steps`` steps (geodesic dilation).

    Args:
        seeds: (N, groups, *grid) uint8, each bit a mask of its own; those outside their mask do not count.
        mask: the same.
        steps: at most so many dilations by one voxel, diagonals included.

    Returns:
        (N, groups, *grid) uint8.
    """
    unwatched = _is_never_looked_at(mask.device)
    if unwatched and not torch.compiler.is_compiling():
        planes = 8 * mask.shape[1]
        return packed(_grow_by_pooling(unpacked(seeds, planes), unpacked(mask, planes), steps))
    return _grow_stepwise(seeds, mask, steps, not unwatched)


def _is_never_looked_at(device: torch.device) -> bool:
    """Whether nothing asks for a value there: on a GPU, which would be waited for; but Apple's lack some poolings."""
    return device.type not in ("cpu", "mps")


def _grow_once(grown: Tensor, mask: Tensor) -> Tensor:
    return any_around(grown, [1] * (mask.ndim - 2)) & mask


@torch.compiler.disable(recursive=False)  # a step is compiled, to one kernel; a hundred unrolled ones take a minute
def _grow_stepwise(seeds: Tensor, mask: Tensor, steps: int, watched: bool) -> Tensor:
    """Watched: only until nothing changes any more."""
    grown = seeds & mask
    for step in range(1, steps + 1):
        before, grown = grown, _grow_once(grown, mask)
        if watched and step % CHECK_EVERY == 0 and torch.equal(before, grown):
            break
    return grown


def _grow_by_pooling(seeds: Tensor, mask: Tensor, steps: int) -> Tensor:
    """The same of planes, (N, C, *grid) bool, for a GPU where nothing is compiled: two kernels a step."""
    pool = F.avg_pool2d if mask.ndim == 4 else F.avg_pool3d  # of sums; the maximum would also make indices
    # a kernel of 3 fits no axis of 1 or 2 voxels
    room = [n for size in reversed(mask.shape[2:]) for n in (0, max(0, 3 - size))]
    within = F.pad(mask.float(), room)
    grown = torch.minimum(F.pad(seeds.float(), room), within)
    for _ in range(steps):
        grown = torch.minimum(pool(grown, 3, 1, 1, divisor_override=1), within)
    return grown[tuple(map(slice, mask.shape))] > 0


def _any_in_cells(bits: Tensor, stride: Sequence[int]) -> Tensor:
    """(N, groups, *grid) -> (N, groups, *coarse grid) uint8: the bits that are set in the cell of ``stride`` voxels."""
    for axis, factor in enumerate(stride, start=2):
        missing = -bits.shape[axis] % factor
        if missing:
            bits = F.pad(bits, [0, 0] * (bits.ndim - axis - 1) + [0, missing])
        # not pooling, for which a CPU needs floats, and ten times as long
        bits = reduce(or_, bits.unflatten(axis, (-1, factor)).unbind(axis + 1))
    return bits


def _foreground_first(bits: Tensor) -> Tensor:
    """Bits of labels with the first one, of background, for any foreground instead."""
    first, *others = bits.split(1, 1)
    first = first & 0xFE
    return torch.cat([first | reduce(or_, others, first).ne(0), *others], 1)


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


def is_mostly(counted: Tensor, labels: Tensor) -> Tensor:
    """(N,) bool; whether the voxels counted, (N,), are most of each image's of (N, *grid)."""
    return 2 * counted > labels[0].numel()


def vouch(
    labels: Tensor,
    scribbles: Tensor,
    num_classes: int,
    ignore_label: int,
    annotated: Tensor | None = None,
    outside: Tensor | None = None,
    lost: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Sort out pseudo-labels by whether strokes vouch for them.

    Foreground connected to no foreground stroke at all becomes background. Foreground connected to strokes, but not
    to one of its own class, is in doubt. So is foreground that reaches the border of a patch, where its class has
    strokes outside, and foreground anywhere in it where augmentation took the strokes of its class away. An image
    without any stroke, background strokes included, was not annotated and stays as it is, and so does a patch that is
    labelled for the most part.

    Args:
        labels: (K N, *grid) class of each voxel as predicted; K predictions for the same images, one after the other.
        scribbles: (N, *grid) classes of the strokes, ``ignore_label`` elsewhere.
        num_classes: classes C, background 0 included.
        ignore_label: value of unlabelled voxels.
        annotated: (N,) bool; whether somebody scribbled the image that each patch is from. None: whether the patch
            holds strokes.
        outside: (N, C - 1) bool; which foreground classes have strokes in the image outside of the patch. None: none.
        lost: (N, C - 1) bool; which had strokes in the patch that are not in ``scribbles`` any more. None: none.

    Returns:
        (K N, *grid) labels, and (K N, *grid) bool, false for voxels in doubt.
    """
    grid = labels.shape[1:]
    stride = [COARSE_STRIDE if size >= FINE_AXIS else 1 for size in grid]
    own = bits_of(labels, num_classes)
    # a first bit for any foreground, then one for each class; a stroke that the prediction misses by a voxel still
    # vouches for the region it touches
    mask, seeds = (_foreground_first(_any_in_cells(bits, stride)) for bits in (own, bits_of(scribbles, num_classes)))
    labelled = (scribbles != ignore_label).flatten(1).sum(1)
    in_structures = (seeds[:, 0] & 1).bool().flatten(1).any(1)  # strokes that say so, too; background may be padding
    annotated = labelled > 0 if annotated is None else annotated | in_structures
    annotated = annotated & ~is_mostly(labelled, scribbles)  # what lies between dense labels is left out, not scribbled
    predictions = len(labels) // len(scribbles)
    seeds = seeds.repeat(predictions, *[1] * labels.ndim)
    unknown = (~annotated).repeat(predictions).view(-1, 1, *[1] * len(grid))

    def of_classes(classes: Tensor) -> Tensor:
        """(N, C - 1) -> (K N, *coarse grid) bool, where one of these classes is predicted."""
        bits = packed(F.pad(classes, [1, 0])).repeat(predictions, 1)
        return (mask & bits.view(*bits.shape, *[1] * len(grid))).ne(0).any(1)

    if outside is not None:
        seeds[:, 0] |= of_classes(outside) & _border(mask.shape[2:], labels.device)
    if lost is not None:
        seeds[:, 0] |= of_classes(lost)
    grown = grow_from_seeds(seeds, mask, 2 * max(mask.shape[2:]))
    vouched = _of_cells(torch.where(unknown, 0xFF, grown), stride, grid)  # nothing is concluded of those
    in_question = ~(own[:, 0] & 1).bool()
    of_any, of_own = (vouched[:, 0] & 1).bool(), reduce(or_, (vouched & own).unbind(1)).bool()
    return labels * ~(in_question & ~of_any), ~(in_question & of_any & ~of_own)
