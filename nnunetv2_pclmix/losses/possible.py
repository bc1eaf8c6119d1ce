"""Losses of voxels of which is known what they are not: the probability of all that they may be. Not in the paper."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from nnunetv2_pclmix.losses.shapes import check_same


def possible_classes_loss(logits: Tensor, possible: Tensor) -> Tensor:
    """Mean over voxels of ``-log(sum of p_c over the possible classes c)``.

    Zero where every class is possible; cross-entropy where only one is.

    Args:
        logits: (N, C, *grid).
        possible: (N, C, *grid) bool, at least one class at each voxel.

    Returns:
        A scalar.

    Raises:
        ValueError: if the shapes differ.
    """
    check_same(logits, possible)
    return (logits.logsumexp(1) - logits.masked_fill(~possible, float("-inf")).logsumexp(1)).mean()


def possible_regions_loss(logits: Tensor, possible: Tensor) -> Tensor:
    """Mean over voxels and regions of ``-log(1 - p_r)`` where region r is impossible: the same for overlapping regions.

    Args:
        logits: (N, R, *grid).
        possible: (N, R, *grid) bool.

    Returns:
        A scalar.

    Raises:
        ValueError: if the shapes differ.
    """
    check_same(logits, possible)
    return (F.softplus(logits) * ~possible).mean()
