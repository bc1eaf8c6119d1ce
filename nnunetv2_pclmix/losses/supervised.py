"""nnU-Net's loss for scribbles, without waiting for the device."""

from __future__ import annotations

import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from torch import Tensor, nn

from nnunetv2_pclmix.losses.partial import PartialCrossEntropyLoss


class PartialDiceCELoss(nn.Module):
    """``DC_and_CE_loss`` with an ignore label: soft Dice plus cross-entropy over labelled voxels.

    The same value and gradient, but it never asks whether any voxel is labelled, for which a GPU has to be waited for,
    once per scale.

    Args:
        stock: nnU-Net's loss of one scale.

    Raises:
        ValueError: if the stock loss has no ignore label or weights other than 1.
    """

    def __init__(self, stock: DC_and_CE_loss) -> None:
        super().__init__()
        if stock.ignore_label is None or (stock.weight_ce, stock.weight_dice) != (1, 1):
            raise ValueError("expected nnU-Net's loss with an ignore label and weights of 1")
        self.dice = stock.dc
        self.cross_entropy = PartialCrossEntropyLoss(stock.ignore_label)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar loss of (N, C, *grid) logits against a (N, 1, *grid) target."""
        known = target != self.cross_entropy.ignore_label
        dice = self.dice(logits, torch.where(known, target, 0), loss_mask=known)
        return dice + self.cross_entropy(logits, target)
