"""Voxels picked out of images, where picking them is quicker than to compute all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import NamedTuple

import torch
from torch import Tensor

from nnunetv2_pclmix.at_hand import is_at_hand

MOST_BY_NUMBER = 0.25  # of all voxels; picking more of them takes longer than computing all


def look_up(tables: Tensor, rows: Tensor) -> Tensor:
    """What the tables of the images hold for each voxel, summed over the channels.

    Args:
        tables: (N, channels, C, R).
        rows: (N, channels, *grid) integer, below R.

    Returns:
        (N, C, *grid).
    """
    channels = zip(tables.unbind(1), rows.flatten(2).long().unbind(1), strict=True)
    found = reduce(add, (table.gather(2, row[:, None].expand(-1, table.shape[1], -1)) for table, row in channels))
    return found.view(*found.shape[:2], *rows.shape[2:])


def _in_a_row(image: Tensor, place: Tensor, voxels: int) -> Tensor:
    """(M,) number of each among the voxels of all images, so many in each: by one number they are picked faster."""
    return torch.add(place, image, alpha=voxels)


class Voxels(NamedTuple):
    """Voxels that something is computed for: some, each like an image of its own without axes, or all as they are.

    Attributes:
        image: (M,) which image each is in; None: all voxels of all images.
        place: (M,) which of its image's voxels it is.
    """

    image: Tensor | None
    place: Tensor | None

    @classmethod
    def where(cls, mask: Tensor) -> Voxels:
        """Those of a (N, *grid) mask where that is quicker, which has to be looked at; else all."""
        if not is_at_hand(mask) or mask.sum() > MOST_BY_NUMBER * mask.numel():
            return cls(None, None)
        image, place = mask.flatten(1).nonzero().unbind(1)
        return cls(image, place)

    def of(self, planes: Tensor, numbers: Tensor | None = None) -> Tensor:
        """(N, C, *grid) -> (M, C); or as it is.

        Args:
            planes: what each image has; or of others, of which ``numbers`` tells each image's.
            numbers: (N,).
        """
        if self.image is None or self.place is None:
            return planes if numbers is None else planes[numbers]
        planes, image = planes.flatten(2), self.image if numbers is None else self.of_images(numbers)
        if planes.shape[1] == 1:
            return planes.flatten().index_select(0, _in_a_row(image, self.place, planes.shape[2]))[:, None]
        return planes[image, :, self.place]

    def of_images(self, values: Tensor) -> Tensor:
        """(N, ...) what each image has -> (M, ...); or as it is."""
        return values if self.image is None else values.index_select(0, self.image)

    def rows_of(self, tables: Tensor, rows: Tensor) -> Tensor:
        """What the tables of the images hold for each voxel.

        Args:
            tables: (N, R, C).
            rows: (N, *grid) integer, the row of each voxel.

        Returns:
            (M, C); or (N, C, *grid).
        """
        if self.image is None or self.place is None:
            return look_up(tables.mT[:, None], rows[:, None])
        rows = rows.flatten(1)
        row = rows.flatten().index_select(0, _in_a_row(self.image, self.place, rows.shape[1]))
        return tables.flatten(0, 1).index_select(0, self.image * tables.shape[1] + row)

    def cropped(self, grid: Sequence[int], margin: Sequence[int]) -> tuple[tuple[slice, ...], Voxels]:
        """The smallest box of the grid that holds them and so many voxels around, and the voxels numbered in it."""
        if self.image is None or self.place is None:
            return tuple(slice(0, size) for size in grid), self
        held = torch.zeros(tuple(grid), dtype=torch.bool, device=self.place.device)
        held.view(-1)[self.place] = True
        box = []
        for axis, (size, more) in enumerate(zip(grid, margin, strict=True)):
            at = held.movedim(axis, 0).flatten(1).any(1).nonzero()
            box.append(slice(max(0, int(at[0]) - more), min(size, int(at[-1]) + more + 1)) if len(at) else slice(0, 0))
        number = torch.empty_like(held, dtype=self.place.dtype)
        inside = number[tuple(box)]
        inside.copy_(torch.arange(inside.numel(), device=number.device).view_as(inside))
        return tuple(box), Voxels(self.image, number.view(-1).index_select(0, self.place))

    def put(self, values: Tensor, into: Tensor) -> Tensor:
        """(M,) values in their places of (N, *grid) others; or all values."""
        if self.image is None:
            return values
        changed = into.flatten(1).clone()
        changed[self.image, self.place] = values
        return changed.view_as(into)
