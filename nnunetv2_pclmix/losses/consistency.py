"""Consistency terms: between the prediction of a mix and the mix of predictions, and between the decoders."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nnunetv2_pclmix.losses.shapes import check_labels, check_same


def pseudo_label_cross_entropy(logits: Tensor, pseudo_labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Cross-entropy against hard pseudo-labels, averaged over voxels (PCLMix, mix consistency).

    As published with ``weights=None``. Weights let uncertain pseudo-labels count less.

    Args:
        logits: (N, C, *grid).
        pseudo_labels: (N, *grid) class indices; detached by the caller.
        weights: (N, *grid) in [0, 1], or None for one everywhere.

    Returns:
        A scalar; zero where all weights are zero.

    Raises:
        ValueError: if the shapes do not fit.
    """
    check_labels(logits, pseudo_labels)
    if weights is None:
        return F.cross_entropy(logits, pseudo_labels)
    check_labels(logits, weights)
    losses = F.cross_entropy(logits, pseudo_labels, reduction="none")
    return (losses * weights).sum() / weights.numel()


def pseudo_label_dice(logits: Tensor, pseudo_labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Soft Dice loss against hard pseudo-labels over the whole batch, averaged over the classes that occur.

    Each class counts the same however few voxels it has, so a rare class is not outvoted as it is in a mean over
    voxels. Not in the paper.

    Args:
        logits: (N, C, *grid).
        pseudo_labels: (N, *grid) class indices.
        weights: (N, *grid) in [0, 1], or None for one everywhere.

    Returns:
        A scalar in [0, 1]; zero where all weights are zero.

    Raises:
        ValueError: if the shapes do not fit.
    """
    check_labels(logits, pseudo_labels)
    probabilities = logits.softmax(1)
    one_hot = torch.zeros_like(probabilities).scatter_(1, pseudo_labels[:, None], 1.0)
    if weights is not None:
        check_labels(logits, weights)
        probabilities = probabilities * weights[:, None]
        one_hot = one_hot * weights[:, None]
    axes = (0, *range(2, logits.ndim))
    size = one_hot.sum(axes)
    dice = 2 * (probabilities * one_hot).sum(axes) / (probabilities.sum(axes) + size).clamp(min=1e-5)
    present = size > 0
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1)


def mean_squared_difference(first: Tensor, second: Tensor, on_logits: bool) -> Tensor:
    """Mean squared difference between both decoders' outputs (PCLMix, cross-decoder consistency).

    As published on logits. On probabilities it is bounded, so that confident decoders do not drown the other terms.

    Args:
        first: (N, C, *grid) logits.
        second: (N, C, *grid) logits.
        on_logits: compare logits; else their softmax.

    Returns:
        A scalar.

    Raises:
        ValueError: if the shapes differ.
    """
    check_same(first, second)
    if on_logits:
        return F.mse_loss(first, second)
    return F.mse_loss(first.softmax(1), second.softmax(1))
