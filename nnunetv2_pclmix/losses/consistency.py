"""Consistency terms: between the prediction of a mix and the mix of predictions, and between the decoders."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from nnunetv2_pclmix.losses.shapes import check_labels, check_same


def pseudo_label_cross_entropy(log_probabilities: Tensor, counted: Tensor) -> Tensor:
    """Cross-entropy against hard pseudo-labels, averaged over voxels (PCLMix, mix consistency).

    As published where every voxel counts for 1. Weights let uncertain pseudo-labels count less. A sum of products,
    because picking single channels, and its gradient, take a CPU twice as long.

    Args:
        log_probabilities: (N, C, *grid), ``logits.log_softmax(1)``.
        counted: (N, C, *grid) weight in [0, 1] of each voxel in the channel of its pseudo-label, else 0.

    Returns:
        A scalar; zero where all weights are zero.

    Raises:
        ValueError: if the shapes differ.
    """
    check_same(log_probabilities, counted)
    return -(log_probabilities * counted).sum() / counted[:, 0].numel()


def pseudo_region_cross_entropy(logits: Tensor, regions: Tensor, weights: Tensor | None = None) -> Tensor:
    """Binary cross-entropy against hard pseudo-labels of overlapping regions, their sum averaged over voxels.

    Not in the paper, which has no regions. A sum, as in nnU-Net's loss, and as a cross-entropy of classes is one.

    Args:
        logits: (N, R, *grid).
        regions: (N, R, *grid) bool; whether the voxel belongs to the region.
        weights: (N, *grid) in [0, 1], or None for one everywhere.

    Returns:
        A scalar; zero where all weights are zero.

    Raises:
        ValueError: if the shapes do not fit.
    """
    check_same(logits, regions)
    if weights is not None:
        check_labels(logits, weights)
        weights = weights[:, None].to(logits.dtype).expand_as(logits)
    mean = F.binary_cross_entropy_with_logits(logits, regions.to(logits.dtype), weight=weights)
    return mean * logits.shape[1]


def class_dice(probabilities: Tensor, counted: Tensor, weights: Tensor | None = None) -> Tensor:
    """Soft Dice loss against hard pseudo-labels over the whole batch, averaged over the channels that occur.

    Each class counts the same however few voxels it has, so a rare class is not outvoted as it is in a mean over
    voxels. Not in the paper.

    Args:
        probabilities: (N, C, *grid).
        counted: (N, C, *grid) weight of the voxel where it belongs to the channel's class or region, else 0.
        weights: (N, *grid) in [0, 1], those of ``counted``, or None for one everywhere.

    Returns:
        A scalar in [0, 1]; zero where all weights are zero.

    Raises:
        ValueError: if the shapes do not fit.
    """
    check_same(probabilities, counted)
    if weights is not None:
        check_labels(probabilities, weights)
    axes = (0, *range(2, probabilities.ndim))
    size = counted.sum(axes)
    overlap = (probabilities * counted).sum(axes)
    predicted = (probabilities if weights is None else probabilities * weights[:, None]).sum(axes)
    dice = 2 * overlap / (predicted + size).clamp(min=1e-5)
    present = size > 0
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1)


def mean_squared_difference(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared difference between both decoders' outputs (PCLMix, cross-decoder consistency).

    As published on logits. On probabilities it is bounded, so that confident decoders do not drown the other terms.

    Args:
        first: (N, C, *grid) logits or probabilities.
        second: (N, C, *grid) of the same kind.

    Returns:
        A scalar.

    Raises:
        ValueError: if the shapes differ.
    """
    check_same(first, second)
    return F.mse_loss(first, second)
