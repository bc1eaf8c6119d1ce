"""What lies in a box around each voxel, on grids of any dimension, without waiting for the device."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_

import torch
from torch import Tensor


def mean_around(values: Tensor, radius: Sequence[int]) -> Tensor:
    """(N, C, *grid) mean over the box of ``2 radius + 1`` voxels around each, as far as it lies in the grid."""
    for axis, r in enumerate(radius, start=2):
        total, size = values.clone(), values.shape[axis]
        count = torch.ones(size, device=values.device)
        for step in range(1, min(r, size - 1) + 1):
            for target, source in ((step, 0), (0, step)):
                total.narrow(axis, target, size - step).add_(values.narrow(axis, source, size - step))
                count.narrow(0, target, size - step).add_(1)
        values = total.div_(count.view([-1 if a == axis else 1 for a in range(values.ndim)]))
    return values


def any_around(mask: Tensor, radius: Sequence[int]) -> Tensor:
    """(N, C, *grid) bool; whether the box of ``2 radius + 1`` voxels around each holds a true one.

    Of integers: the bits that are set somewhere in the box.
    """
    for axis, r in enumerate(radius, start=2):
        size, reach = mask.shape[axis], 0
        r = min(r, size - 1)
        while reach < r:
            step = min(reach + 1, r - reach)  # as far as leaves no gap, beside the faces of the grid either
            grown = mask.clone()
            grown.narrow(axis, step, size - step).bitwise_or_(mask.narrow(axis, 0, size - step))
            grown.narrow(axis, 0, size - step).bitwise_or_(mask.narrow(axis, step, size - step))
            mask, reach = grown, reach + step
    return mask


def packed(planes: Tensor) -> Tensor:
    """(N, C, *grid) bool -> (N, ceil(C / 8), *grid) uint8, a bit for each plane: one pass over memory, not several."""
    groups = planes.split(8, 1)
    return torch.cat([reduce(or_, (p.to(torch.uint8) << n for n, p in enumerate(g.split(1, 1)))) for g in groups], 1)


def unpacked(bits: Tensor, planes: int) -> Tensor:
    """The reverse: (N, ceil(planes / 8), *grid) uint8 -> (N, planes, *grid) bool."""
    return torch.cat([(bits[:, n // 8, None] & (1 << n % 8)).bool() for n in range(planes)], 1)


def bits_around(labels: Tensor, num_labels: int, radius: Sequence[int]) -> Tensor:
    """(N, *grid) labels from 0 to C - 1 -> (N, ceil(C / 8), *grid) uint8; a bit for each that the box around holds."""
    return any_around(bits_of(labels, num_labels), radius)


def bits_of(labels: Tensor, num_labels: int) -> Tensor:
    """(N, *grid) labels from 0 to C - 1 -> (N, ceil(C / 8), *grid) uint8; a bit for the label of each voxel.

    Other values have no bit. By shifts alone: a CPU compares ten times as slowly.
    """
    labels, one = labels.short(), torch.ones((), dtype=torch.int16, device=labels.device)
    own = []
    for first in range(0, num_labels, 8):
        width = min(8, num_labels - first)
        bit = torch.bitwise_left_shift(one, (labels - first).clamp(-1, width).add_(1))
        own.append((bit >> 1).bitwise_and_(2**width - 1).to(torch.uint8))
    return torch.stack(own, 1)


class LabelsAround:
    """Which labels lie in boxes around each voxel, of several sizes, each made from the next smaller one.

    Args:
        labels: (N, *grid) from 0 to C - 1.
        num_labels: labels C.
    """

    def __init__(self, labels: Tensor, num_labels: int) -> None:
        self.labels, self.num_labels = labels, num_labels
        self._bits = {(0,) * (labels.ndim - 1): bits_of(labels, num_labels)}

    def within(self, radius: Sequence[int]) -> Tensor:
        """What ``bits_around`` gives."""
        wanted = tuple(radius)
        if wanted not in self._bits:
            smaller = [made for made in self._bits if all(r <= w for r, w in zip(made, wanted, strict=True))]
            made = max(smaller, key=sum)
            self._bits[wanted] = any_around(self._bits[made], [w - r for r, w in zip(made, wanted, strict=True)])
        return self._bits[wanted]


def has_several(bits: Tensor) -> Tensor:
    """(N, groups, *grid) uint8 -> (N, *grid) bool; whether more than one bit is set."""
    several = (bits & (bits - 1)).bool()
    return several[:, 0] if bits.shape[1] == 1 else several.any(1) | (bits.ne(0).sum(1) > 1)
