"""Losses of voxels of which is known what they are not: the probability of all that they may be. Not in the paper."""

from __future__ import annotations

from functools import reduce
from operator import and_

import torch
import torch.nn.functional as F
from torch import Tensor

from nnunetv2_pclmix.losses.shapes import check_same


def possible_classes_loss(probabilities: Tensor, possible: Tensor) -> Tensor:
    """Mean over voxels of ``-log(sum of p_c over the possible classes c)``.

    Zero where every class is possible; cross-entropy where only one is. No more than 87 nats in float32 at a voxel,
    where exponentials end, and without a gradient beyond.

    Args:
        probabilities: (N, C, *grid), ``logits.softmax(1)``.
        possible: (N, C, *grid) bool, at least one class at each voxel.

    Returns:
        A scalar.

    Raises:
        ValueError: if the shapes differ.
    """
    check_same(probabilities, possible)
    # sums of products, because logsumexp and masks along the channels take a CPU three times as long
    counts = possible.to(probabilities.dtype)
    probability = (probabilities * counts).sum(1).clamp(min=torch.finfo(probabilities.dtype).tiny)
    constrained = ~reduce(and_, possible.unbind(1))  # elsewhere the sum is one, but only to within rounding
    return -(probability.log() * constrained.to(probability.dtype)).mean()


def possible_regions_loss(logits: Tensor, possible: Tensor) -> Tensor:
    """Mean over voxels of the sum of ``-log(1 - p_r)`` over the impossible regions r: the same for overlapping ones.

    Args:
        logits: (N, R, *grid).
        possible: (N, R, *grid) bool.

    Returns:
        A scalar.

    Raises:
        ValueError: if the shapes differ.
    """
    check_same(logits, possible)
    return (F.softplus(logits) * ~possible).sum(1).mean()
