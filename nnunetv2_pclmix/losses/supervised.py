"""nnU-Net's loss for scribbles, without waiting for the device."""

from __future__ import annotations

import copy

import torch
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from torch import Tensor, nn

from nnunetv2_pclmix.losses.partial import PartialCrossEntropyLoss
from nnunetv2_pclmix.precision import at_least_float32


class PartialDiceCELoss(nn.Module):
    """``DC_and_CE_loss`` with an ignore label: soft Dice plus cross-entropy over labelled voxels.

    The same value and gradient, but it never asks whether any voxel is labelled, for which a GPU has to be waited for,
    once per scale, and both begin with one log-softmax.

    Args:
        stock: nnU-Net's loss of one scale.
        of_logits: False where the input is logarithms of probabilities already, which saves computing them again.

    Raises:
        ValueError: if the stock loss has no ignore label or weights other than 1.
    """

    def __init__(self, stock: DC_and_CE_loss, *, of_logits: bool = True) -> None:
        super().__init__()
        if stock.ignore_label is None or (stock.weight_ce, stock.weight_dice) != (1, 1):
            raise ValueError("expected nnU-Net's loss with an ignore label and weights of 1")
        as_written = getattr(stock.dc, "_orig_mod", stock.dc)  # nnU-Net compiles it on CUDA
        dice = copy.copy(as_written)
        dice.apply_nonlin = torch.exp
        self.dice = dice if as_written is stock.dc else torch.compile(dice)
        self.cross_entropy = PartialCrossEntropyLoss(stock.ignore_label, of_logits=False)
        self.of_logits = of_logits

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Scalar loss of (N, C, *grid) logits against a (N, 1, *grid) target."""
        logits = at_least_float32(logits)
        log_probabilities = logits.log_softmax(1) if self.of_logits else logits
        known = target != self.cross_entropy.ignore_label
        dice = self.dice(log_probabilities, torch.where(known, target, 0), loss_mask=known)
        return dice + self.cross_entropy(log_probabilities, target)
