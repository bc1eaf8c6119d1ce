"""Partial cross-entropy: cross-entropy over labelled voxels only (PCLMix, eq. for the supervised loss)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from nnunetv2_pclmix.losses.shapes import check_labels
from nnunetv2_pclmix.precision import at_least_float32


def partial_cross_entropy(log_probabilities: Tensor, labels: Tensor, ignore_label: int) -> Tensor:
    """Mean cross-entropy over the labelled voxels; zero, with a gradient of zero, where none is labelled.

    Differs from the authors' code, which divides by the number of labelled voxels and so is NaN on a batch without.

    Args:
        log_probabilities: (N, C, *grid), ``logits.log_softmax(1)``.
        labels: (N, *grid) integers, ``ignore_label`` where unlabelled.
        ignore_label: value of unlabelled voxels.

    Returns:
        A scalar.

    Raises:
        ValueError: if the shapes do not fit.
    """
    check_labels(log_probabilities, labels)
    total = F.nll_loss(log_probabilities, labels.long(), ignore_index=ignore_label, reduction="sum")
    return total / (labels != ignore_label).sum().clamp(min=1)


class PartialCrossEntropyLoss(nn.Module):
    """``partial_cross_entropy`` for targets as nnU-Net's loader makes them, (N, 1, *grid).

    Args:
        ignore_label: value of unlabelled voxels.
        of_logits: False where the input is logarithms of probabilities already, which saves computing them again.
    """

    def __init__(self, ignore_label: int, *, of_logits: bool = True) -> None:
        super().__init__()
        self.ignore_label, self.of_logits = ignore_label, of_logits

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar loss of (N, C, *grid) logits against a (N, 1, *grid) target."""
        logits = at_least_float32(logits)
        log_probabilities = logits.log_softmax(1) if self.of_logits else logits
        return partial_cross_entropy(log_probabilities, target[:, 0], self.ignore_label)


class PartialRegionCrossEntropyLoss(nn.Module):
    """Binary cross-entropy of overlapping regions over labelled voxels only; zero where none is labelled.

    The counterpart of ``partial_cross_entropy`` for nnU-Net's region-based labels, summed over the regions as in
    nnU-Net's own loss; not in the paper.
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar loss of (N, R, *grid) logits; target (N, R + 1, *grid) bool, its last channel: unlabelled."""
        logits, labelled = at_least_float32(logits), ~target[:, -1:].bool()
        losses = F.binary_cross_entropy_with_logits(logits, target[:, :-1].to(logits.dtype), reduction="none")
        return (losses * labelled).sum() / labelled.sum().clamp(min=1)
