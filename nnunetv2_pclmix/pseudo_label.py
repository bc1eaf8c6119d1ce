"""Ensemble prediction, its uncertainty and the labels that follow from it: pure functions.

PCLMix, section "Uncertainty-guided Pixel Contrastive Learning".
"""

from __future__ import annotations

import torch
from torch import Tensor

from nnunetv2_pclmix.at_hand import is_at_hand
from nnunetv2_pclmix.closed_world import is_mostly


def classes_of(logits: Tensor, possible: Tensor | None = None) -> Tensor:
    """Most probable class of each voxel, the first of equals.

    What ``argmax(1)`` gives, which on the CPU takes eight times as long across a dimension that is not the last, and
    ``max(1)`` twice. Labels are int16 as in nnU-Net's targets, a quarter of the memory to pass over.

    Args:
        logits: (N, C, *grid), or probabilities.
        possible: (N, C) bool; the classes of each image that are in the running, the first among them. None: all.

    Returns:
        (N, *grid) int16.
    """
    if possible is not None:
        possible = possible.view(*possible.shape, *[1] * (logits.ndim - 2))
    if logits.device.type != "cpu" or logits.shape[1] > torch.iinfo(torch.uint8).max:
        logits = logits if possible is None else logits.masked_fill(~possible, float("-inf"))
        return logits.max(1).indices.short()
    best, *others = logits.unbind(1)
    if possible is not None:  # by planes, most of which need nothing
        of_others = zip(others, possible[:, 1:].unbind(1), strict=True)
        others = [
            plane if is_at_hand(may) and bool(may.all()) else plane.masked_fill(~may, float("-inf"))
            for plane, may in of_others
        ]
    classes = torch.zeros_like(best, dtype=torch.uint8)
    for number, other in enumerate(others, 1):
        classes = torch.maximum(classes, (other > best).view(torch.uint8).mul_(number))
        if number < len(others):
            best = torch.maximum(best, other)
    return classes.short()


def voxels_per_class(labels: Tensor, num_classes: int) -> Tensor:
    """(C,) voxels per class; other values are not counted. Never waits for the device."""
    if is_at_hand(labels):  # ten times as fast there
        slot = labels.clamp(-1, num_classes) + 1  # others to both sides
        return torch.bincount(slot.flatten(), minlength=num_classes + 2)[1:-1].float()
    return torch.histc(labels.float(), num_classes, min=-0.5, max=num_classes - 0.5)


def stroke_voxels_per_class(scribbles: Tensor, num_classes: int, ignore_label: int) -> Tensor:
    """(C,) voxels per class in strokes: as ``voxels_per_class``, but of images that are not labelled for the most part.

    Args:
        scribbles: (N, *grid) integer labels, ``ignore_label`` where there is no scribble.
        num_classes: classes C.
        ignore_label: value of unlabelled voxels.
    """
    dense = is_mostly((scribbles != ignore_label).flatten(1).sum(1), scribbles)
    strokes = scribbles.masked_fill(dense.view(-1, *[1] * (scribbles.ndim - 1)), ignore_label)
    return voxels_per_class(strokes, num_classes)


def entropy(probabilities: Tensor) -> Tensor:
    """Entropy of class probabilities in nats.

    Args:
        probabilities: (N, C, *grid), summing to 1 over C.

    Returns:
        (N, *grid); 0 for a certain voxel, ln C for an undecided one.
    """
    return -torch.xlogy(probabilities, probabilities).sum(1)


def largest_binary_entropy(probabilities: Tensor) -> Tensor:
    """Entropy in nats of the least certain of several yes-or-no decisions: the uncertainty of overlapping regions.

    Args:
        probabilities: (N, R, *grid), each in [0, 1].

    Returns:
        (N, *grid); 0 for a certain voxel, ln 2 where some region is undecided.
    """
    rest = 1 - probabilities
    return -(torch.xlogy(probabilities, probabilities) + torch.xlogy(rest, rest)).amin(1)


def contrast_labels(predicted: Tensor, certain: Tensor, scribbles: Tensor, ignore_label: int) -> Tensor:
    """Class of each voxel for the contrast: its scribble, else the certain prediction, else none.

    Args:
        predicted: (N, *grid) label of the ensemble prediction.
        certain: (N, *grid) bool; whether its uncertainty is below the threshold.
        scribbles: (N, *grid) integer labels, ``ignore_label`` where there is no scribble.
        ignore_label: value of unlabelled voxels, also of those that get no class here.

    Returns:
        (N, *grid) integer labels.
    """
    return torch.where(
        scribbles != ignore_label, scribbles.to(predicted.dtype), torch.where(certain, predicted, ignore_label)
    )
