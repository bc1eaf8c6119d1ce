"""What the strokes of an image say of the grey values of its structures.

A partial loss leaves borders where its features turn from one stroke to the next, about half-way, and self-training
keeps them there. Yet the strokes show how bright each structure is in this very image, which places most borders
better: near a border of the prediction, a voxel is given to the structure whose strokes look like it. Not in the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 128
RANGE = 4.0  # of the histograms, to both sides, in standard deviations of the strokes' grey values
BANDWIDTH = 0.1  # of the density estimate, in the same unit
PRIOR_VOXELS = 1.0  # of all strokes together, added to each class, so that a class with few strokes claims little


def stroke_log_density(images: Tensor, scribbles: Tensor, num_labels: int, ignore_label: int) -> Tensor:
    """How usual the grey value of each voxel is among the strokes of each class of the same image.

    A kernel density estimate over a histogram; several channels count as independent.

    Args:
        images: (N, channels, *grid).
        scribbles: (N, *grid) classes of the strokes, ``ignore_label`` (or any other value) elsewhere.
        num_labels: classes C, background 0 included.
        ignore_label: value of unlabelled voxels.

    Returns:
        (N, C, *grid) logarithm of the density; equal for all classes where an image has no strokes.
    """
    with torch.autocast(images.device.type, enabled=False):  # half precision does not count to 100,000
        return _log_density(images, scribbles, num_labels, ignore_label)


def _log_density(images: Tensor, scribbles: Tensor, num_labels: int, ignore_label: int) -> Tensor:
    size, channels, *grid = images.shape
    values = (images if images.dtype == torch.float64 else images.float()).flatten(2)
    labels = scribbles.flatten(1).long()
    known = (labels >= 0) & (labels < num_labels) & (labels != ignore_label)
    weight = known[:, None].to(values.dtype)
    count = weight.sum(2, keepdim=True).clamp(min=1)
    mean = (values * weight).sum(2, keepdim=True) / count
    deviation = (((values - mean).square() * weight).sum(2, keepdim=True) / count).sqrt().clamp(min=1e-6)
    bins = (values - mean) * ((BINS - 1) / (2 * RANGE)) / deviation + (BINS - 1) / 2
    bins = bins.nan_to_num().round().clamp(0, BINS - 1).long()

    image_and_channel = torch.arange(size * channels, device=images.device).view(size, channels, 1)
    slot = (image_and_channel * (num_labels + 1) + torch.where(known, labels, num_labels)[:, None]) * BINS + bins
    counts = values.new_zeros(size * channels * (num_labels + 1) * BINS)
    counts.scatter_add_(0, slot.flatten(), torch.ones_like(counts[:1]).expand(slot.numel()))
    counts = counts.view(size * channels, num_labels + 1, BINS)[:, :num_labels]

    centre = torch.linspace(-RANGE, RANGE, BINS, dtype=values.dtype, device=values.device)
    kernel = torch.exp(-0.5 * ((centre[:, None] - centre) / BANDWIDTH).square())
    smooth = counts @ (kernel / kernel.sum(0, keepdim=True))
    pool = smooth.sum(1, keepdim=True)
    prior = PRIOR_VOXELS * pool / pool.sum(2, keepdim=True).clamp(min=1)
    density = (smooth + prior) / (counts.sum(2, keepdim=True) + PRIOR_VOXELS)
    log_density = density.clamp(min=1e-12).log().view(size, channels, num_labels, BINS)

    of_voxels = values.new_zeros(size, num_labels, labels.shape[1])
    for channel in range(channels):
        index = bins[:, channel, None].expand(-1, num_labels, -1)
        of_voxels += log_density[:, channel].gather(2, index)
    return of_voxels.view(size, num_labels, *grid)
