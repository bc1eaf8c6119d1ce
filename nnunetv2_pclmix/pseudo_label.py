"""Ensemble prediction, its uncertainty and the labels that follow from it: pure functions.

PCLMix, section "Uncertainty-guided Pixel Contrastive Learning".
"""

from __future__ import annotations

import torch
from torch import Tensor


def classes_of(logits: Tensor) -> Tensor:
    """(N, C, *grid) logits or probabilities -> (N, *grid) most probable class.

    What ``argmax(1)`` gives, which on the CPU takes eight times as long across a dimension that is not the last.
    """
    return logits.max(1).indices


def entropy(probabilities: Tensor) -> Tensor:
    """Entropy of class probabilities in nats.

    Args:
        probabilities: (N, C, *grid), summing to 1 over C.

    Returns:
        (N, *grid); 0 for a certain voxel, ln C for an undecided one.
    """
    return -torch.xlogy(probabilities, probabilities).sum(1)


def mean_probabilities(main_logits: Tensor, auxiliary_logits: Tensor) -> Tensor:
    """Mean of both decoders' softmax.

    Args:
        main_logits: (N, C, *grid).
        auxiliary_logits: (N, C, *grid).

    Returns:
        (N, C, *grid) probabilities, float32 whatever the autocast.
    """
    return 0.5 * (main_logits.float().softmax(1) + auxiliary_logits.float().softmax(1))


def contrast_labels(probabilities: Tensor, scribbles: Tensor, ignore_label: int, threshold: float) -> Tensor:
    """Class of each voxel for the contrast: its scribble, else the certain prediction, else none.

    Args:
        probabilities: (N, C, *grid) ensemble prediction.
        scribbles: (N, *grid) integer labels, ``ignore_label`` where there is no scribble.
        ignore_label: value of unlabelled voxels, also of those that get no class here.
        threshold: entropy in nats above which a voxel is uncertain.

    Returns:
        (N, *grid) integer labels.
    """
    certain = entropy(probabilities) <= threshold
    predicted = torch.where(certain, classes_of(probabilities), ignore_label)
    return torch.where(scribbles != ignore_label, scribbles.long(), predicted)
