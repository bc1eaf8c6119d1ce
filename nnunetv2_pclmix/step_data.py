"""What a training step is computed from, what its parts hand on to each other, and what comes out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from nnunetv2_pclmix.closed_world import Strokes


class Drawn(NamedTuple):
    """What a step needs besides its batch: the schedule's numbers and what was decided by chance.

    All of it tensors, so that a step is a function of tensors alone and can be captured as a CUDA graph. Pseudo-labels
    are numbered from 0 to 2 B - 1, the main decoder's of the B patches first, then the auxiliary one's.

    Attributes:
        patch_weights: (len(OF_PATCHES),) weight of each term of the patches.
        twin_weights: (len(OF_TWINS),) likewise of the twins.
        threshold: () entropy in nats up to which a pseudo-label is certain.
        inside: (K,) pseudo-label that each twin shows inside its box.
        outside: (K,) likewise outside.
        boxes: (K, dim, 2) see ``Mix``.
        own: (B,) pseudo-label from which each patch learns itself; (0,) while patches learn from none.
        asked: (n,) those of all pseudo-labels that something learns from, each once; B + K of them where patches learn
            from pseudo-labels at all, already before they do.
    """

    patch_weights: Tensor
    twin_weights: Tensor
    threshold: Tensor
    inside: Tensor
    outside: Tensor
    boxes: Tensor
    own: Tensor
    asked: Tensor

    def to(self, device: torch.device) -> Drawn:
        """The same on a device, without waiting for it."""
        return Drawn(*(each.to(device, non_blocking=True) for each in self))


class StepInput(NamedTuple):
    """What a step is computed from, on one device.

    Attributes:
        images: (B + K, channels, *grid) patches and their twins.
        targets: (B + K, 1, *grid) scribbles per deep-supervision scale, full resolution first.
        drawn: what was drawn for the step.
        strokes: what is known of the images that the patches are from.
    """

    images: Tensor
    targets: list[Tensor]
    drawn: Drawn
    strokes: Strokes


class StepResult(NamedTuple):
    """One step's objective.

    Attributes:
        loss: scalar to differentiate, the weighted sum of the terms.
        terms: (len(TERMS),) unweighted values, detached.
        queue_vectors: (B, C, D) class means for the queue.
        queue_valid: (B, C) bool, which of them exist.
        pseudo_counts: (C,) voxels of each class among the pseudo-labels of the K twins.
        scribble_counts: (C,) voxels of each class among the strokes in the B patches, but for densely labelled ones.
    """

    loss: Tensor
    terms: Tensor
    queue_vectors: Tensor
    queue_valid: Tensor
    pseudo_counts: Tensor
    scribble_counts: Tensor


class PseudoLabels(NamedTuple):
    """What both decoders say of the patches, the main one first, sorted out by the strokes.

    Attributes:
        labels: (2, B, *grid).
        weights: (2, B, *grid) how much they count; None for one everywhere.
        islands: (2, B, *grid) bool, voxels taken for a structure where no stroke is; None without closed world.
    """

    labels: Tensor
    weights: Tensor | None
    islands: Tensor | None

    def numbered(self, numbers: Tensor) -> tuple[Tensor, Tensor | None]:
        """(n,) numbers as of ``Drawn`` -> (n, *grid) labels and their weights."""
        weights = None if self.weights is None else self.weights.flatten(0, 1).index_select(0, numbers)
        return self.labels.flatten(0, 1).index_select(0, numbers), weights


class PatchResult(NamedTuple):
    """What the patches of a step contribute.

    Attributes:
        loss: scalar to differentiate.
        values: the terms that speak of patches, detached.
        share: of the patches among all images of the step.
        pseudo_labels: (K, *grid) of the twins.
        pseudo_weights: (K, *grid), or None for one everywhere.
        queue_vectors: see ``StepResult``.
        queue_valid: see ``StepResult``.
        scribble_counts: see ``StepResult``.
    """

    loss: Tensor
    values: dict[str, Tensor]
    share: float
    pseudo_labels: Tensor
    pseudo_weights: Tensor | None
    queue_vectors: Tensor
    queue_valid: Tensor
    scribble_counts: Tensor


class TwinResult(NamedTuple):
    """What the mixed twins of a step contribute: a scalar to differentiate, and their terms, detached."""

    loss: Tensor
    values: dict[str, Tensor]
