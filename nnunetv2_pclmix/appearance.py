"""What the strokes of an image say of the grey values of its structures.

A partial loss leaves borders where its features turn from one stroke to the next, about half-way, and self-training
keeps them there. Yet the strokes show how bright each structure is in this very image, which places most borders
better: near a border of the prediction, a voxel is given to the structure whose strokes look like it. Not in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nnunetv2_pclmix.at_hand import either
from nnunetv2_pclmix.precision import at_least_float32
from nnunetv2_pclmix.voxels import Voxels, look_up

BINS = 128
RANGE = 4.0  # of the histograms, to both sides, in standard deviations of the strokes' grey values
BANDWIDTH = 0.1  # of the density estimate, in the same unit
PRIOR_VOXELS = 1.0  # of all strokes together, added to each class, so that a class with few strokes claims little
OVERLAP_EXPONENT = 4  # of the margin
NEGLIGIBLE = 1e-6  # nats; a CPU adds the subnormal margins of classes without a common grey value ten times as slowly


class StrokeAppearance(NamedTuple):
    """What the strokes of N images look like.

    Attributes:
        log_densities: (N, channels, C, bins) how usual each grey value is among the strokes of each class, as a
            logarithm; equal for all classes where an image has no strokes.
        overlap: (N, C, C) Bhattacharyya coefficients of the densities: 1 for classes that look alike, 0 for classes
            that have no grey value in common.
        bins: (N, channels, *grid) integer, in which bin of the histograms the grey value of each voxel lies.
        counts: (N, channels, C, bins) how many voxels of strokes there are, smoothed.
        voxels: (N, C) how many there are in all.
    """

    log_densities: Tensor
    overlap: Tensor
    bins: Tensor
    counts: Tensor
    voxels: Tensor

    def bins_in(self, box: Sequence[slice]) -> Tensor:
        """``bins`` of the voxels in a box of the grid; without slices of all."""
        in_box: tuple = (..., *box)
        return self.bins[in_box]

    def log_density(self, box: Sequence[slice] = ()) -> Tensor:
        """(N, C, *grid) how usual the grey value of each voxel is, or of those in a box of the grid.

        Several channels count as independent.
        """
        return look_up(self.log_densities, self.bins_in(box))


def stroke_appearance(images: Tensor, scribbles: Tensor, num_labels: int, ignore_label: int) -> StrokeAppearance:
    """What the strokes of each class look like in the same image.

    A kernel density estimate over a histogram.

    Args:
        images: (N, channels, *grid).
        scribbles: (N, *grid) classes of the strokes, ``ignore_label`` (or any other value) elsewhere.
        num_labels: classes C, background 0 included.
        ignore_label: value of unlabelled voxels.

    Returns:
        Densities and their overlap.
    """
    with torch.autocast(images.device.type, enabled=False):  # half precision does not count to 100,000
        return _appearance(images, scribbles, num_labels, ignore_label)


def _appearance(images: Tensor, scribbles: Tensor, num_labels: int, ignore_label: int) -> StrokeAppearance:
    size, channels, *grid = images.shape
    values = at_least_float32(images).flatten(2)
    known = (scribbles >= 0) & (scribbles < num_labels) & (scribbles != ignore_label)
    weight = known.flatten(1)[:, None].to(values.dtype)
    count = weight.sum(2, keepdim=True).clamp(min=1)
    mean = (values * weight).sum(2, keepdim=True) / count
    centred = values - mean
    deviation = ((centred.square() * weight).sum(2, keepdim=True) / count).sqrt().clamp(min=1e-6)
    place = centred.mul_((BINS - 1) / (2 * RANGE)).div_(deviation).add_((BINS - 1) / 2)
    bins = place.nan_to_num_().round_().clamp_(0, BINS - 1).long()

    row_of_others = torch.full_like(scribbles, num_labels)
    rows = either(known, scribbles, row_of_others).flatten(1)[:, None]
    counts = histograms(bins, rows, num_labels + 1, Voxels.where(known))[:, :, :num_labels].to(values.dtype)
    smooth = smoothed(counts)
    pool = smooth.sum(2, keepdim=True)
    prior = PRIOR_VOXELS * pool / pool.sum(3, keepdim=True).clamp(min=1)
    density = ((smooth + prior) / (counts.sum(3, keepdim=True) + PRIOR_VOXELS)).clamp(min=1e-12)
    root = density.sqrt()
    overlap = (root @ root.mT).prod(1)
    bins = bins.view(size, channels, *grid)
    return StrokeAppearance(density.log(), overlap, bins, smooth, counts[:, 0].sum(2))


def histograms(bins: Tensor, rows: Tensor, number: int, voxels: Voxels, image: Tensor | None = None) -> Tensor:
    """How many voxels are how bright.

    Args:
        bins: (N, channels, P) in which bin each of P voxels lies.
        rows: (n, 1, P) integer, in which of several histograms it is counted.
        number: of them.
        voxels: which are counted.
        image: (n,) in which of the N images each of the n looks; None: one in each.

    Returns:
        (n, channels, number, BINS) float32.
    """
    size, channels = len(rows), bins.shape[1]
    row, value = voxels.of(rows), voxels.of(bins, image)
    which = voxels.of_images(torch.arange(size, device=bins.device)).view(-1, *[1] * (row.ndim - 1))
    channel = torch.arange(channels, device=bins.device).view(channels, *[1] * (value.ndim - 2))
    slot = ((which * channels + channel) * number + row) * BINS + value
    counts = torch.zeros(size * channels * number * BINS, device=bins.device)
    counts.scatter_add_(0, slot.flatten(), torch.ones_like(counts[:1]).expand(slot.numel()))
    return counts.view(size, channels, number, BINS)


def smoothed(counts: Tensor) -> Tensor:
    """(..., BINS) histograms, each voxel spread over its neighbourhood by a Gaussian of ``BANDWIDTH``."""
    distance = torch.arange(1 - BINS, BINS, dtype=counts.dtype, device=counts.device) * (2 * RANGE / (BINS - 1))
    weight = torch.exp(-0.5 * (distance / BANDWIDTH).square())
    kernel = weight.unfold(0, BINS, 1)  # of bin i and bin BINS - 1 - j, and the Gaussian is symmetric
    return counts @ (kernel / kernel.sum(1, keepdim=True)).flip(1)  # of each bin all, beside the ends, too


def margins(overlap: Tensor, largest: float) -> Tensor:
    """By how much another class must fit better than the predicted one: the more, the more alike their strokes look.

    Args:
        overlap: (N, C, C), see ``StrokeAppearance``.
        largest: the margin between classes that look exactly alike.

    Returns:
        (N, C, C) margins in the unit of ``largest``, the predicted class first; 0 on the diagonal.
    """
    other = 1 - torch.eye(overlap.shape[-1], device=overlap.device)
    margin = largest * overlap**OVERLAP_EXPONENT * other
    return torch.where(margin > NEGLIGIBLE, margin, 0.0)
