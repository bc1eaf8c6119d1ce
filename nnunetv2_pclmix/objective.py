"""The training objective of PCLMix: all terms of one step, by name, and what the queue and the log need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nnunetv2_pclmix.closed_world import vouch
from nnunetv2_pclmix.config import PCLMixConfig
from nnunetv2_pclmix.dataloading.mix import Mix, apply_mix, sample_nearest
from nnunetv2_pclmix.label_space import LabelSpace
from nnunetv2_pclmix.losses.consistency import class_dice, mean_squared_difference
from nnunetv2_pclmix.losses.contrast import choose_anchors, class_means, info_nce
from nnunetv2_pclmix.memory_queue import MemoryQueue
from nnunetv2_pclmix.network.dual_decoder import DualOutput
from nnunetv2_pclmix.pseudo_label import contrast_labels
from nnunetv2_pclmix.schedule import entropy_threshold, gaussian_ramp, power_ramp

TERMS = (
    "supervised_main",
    "supervised_main_mixed",
    "supervised_auxiliary",
    "supervised_auxiliary_mixed",
    "mix_consistency_main",
    "mix_consistency_auxiliary",
    "decoder_consistency",
    "contrast",
)


class StepResult(NamedTuple):
    """One step's objective.

    Attributes:
        loss: scalar to differentiate, the weighted sum of the terms.
        terms: (len(TERMS),) unweighted values, detached.
        queue_vectors: (B, C, D) class means for the queue.
        queue_valid: (B, C) bool, which of them exist.
        pseudo_counts: (C,) voxels of each class among the pseudo-labels.
        scribble_counts: (C,) voxels of each class among the scribbles.
    """

    loss: Tensor
    terms: Tensor
    queue_vectors: Tensor
    queue_valid: Tensor
    pseudo_counts: Tensor
    scribble_counts: Tensor


def term_weights(config: PCLMixConfig, progress: float) -> dict[str, float]:
    """Weight of each term at a given progress of the training.

    Args:
        config: hyper-parameters.
        progress: fraction of the training done, t / T in [0, 1].

    Returns:
        A weight for each name in ``TERMS``.
    """
    mix = config.mix_consistency_weight * gaussian_ramp(
        progress, config.mix_consistency_start, config.mix_consistency_ramp
    )
    return {
        "supervised_main": config.original_weight,
        "supervised_main_mixed": config.mixed_weight,
        "supervised_auxiliary": config.auxiliary_weight * config.original_weight,
        "supervised_auxiliary_mixed": config.auxiliary_weight * config.mixed_weight,
        "mix_consistency_main": mix,
        "mix_consistency_auxiliary": config.auxiliary_weight * mix,
        "decoder_consistency": config.decoder_consistency_weight
        * gaussian_ramp(progress, config.decoder_consistency_start, config.decoder_consistency_ramp),
        "contrast": config.contrast_weight * power_ramp(progress, config.contrast_start, config.contrast_exponent),
    }


def _count(labels: Tensor, num_classes: int) -> Tensor:
    """(C,) voxels per class; other values are not counted. Never waits for the device."""
    return torch.histc(labels.float(), num_classes, min=-0.5, max=num_classes - 0.5)


class PCLMixObjective:
    """Computes the terms of one step.

    Args:
        config: hyper-parameters.
        space: what the network's channels stand for.
        supervised_loss: the main decoder's (deep-supervision) loss, from lists of logits and targets to a scalar.
        auxiliary_loss: the auxiliary decoder's, for one scale.
        queue: class queue of the contrast; read here, filled by the trainer afterwards.
    """

    def __init__(
        self,
        config: PCLMixConfig,
        space: LabelSpace,
        supervised_loss: Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor],
        auxiliary_loss: Callable[[Tensor, Tensor], Tensor],
        queue: MemoryQueue,
    ) -> None:
        self.config = config
        self.space = space
        self.supervised_loss = supervised_loss
        self.auxiliary_loss = auxiliary_loss
        self.queue = queue

    def __call__(
        self,
        output: DualOutput,
        targets: Sequence[Tensor],
        mix: Mix,
        progress: float,
        rng: np.random.Generator,
        annotated: Tensor | None = None,
    ) -> StepResult:
        """All terms for a batch of B patches followed by their B mixed twins.

        Args:
            output: the network's output on the 2B images.
            targets: (2B, 1, *grid) scribbles per deep-supervision scale, full resolution first.
            mix: how the twins were put together.
            progress: fraction of the training done.
            rng: source of the coin flips.
            annotated: (B,) bool, whether each patch is from an image with strokes; None: those that hold strokes are.

        Returns:
            The loss and what goes with it.
        """
        # chunks, not slices: the gradient of two chunks is one concatenation, that of two slices two padded sums
        main, main_mixed = zip(*(m.chunk(2) for m in output.main), strict=True)
        auxiliary, auxiliary_mixed = output.auxiliary.chunk(2)
        scribbles = targets[0][: len(auxiliary), 0]
        target, target_mixed = zip(*(self.space.supervised_target(t).chunk(2) for t in targets), strict=True)
        probabilities = [self.space.probabilities(logits) for logits in (output.main[0], output.auxiliary)]
        compared = probabilities
        if self.config.decoder_consistency_on_logits:
            compared = [output.main[0].float(), output.auxiliary.float()]
        pseudo_labels, weights = self._mixed_pseudo_labels(main[0], auxiliary, scribbles, mix, progress, rng, annotated)
        against = self._mix_consistency(
            (main_mixed[0], auxiliary_mixed), [p.chunk(2)[1] for p in probabilities], pseudo_labels, weights
        )
        contrast, vectors, valid = self._contrast(main[0], auxiliary, output.embedding, scribbles, progress)
        values = {
            "supervised_main": self.supervised_loss(main, target),
            "supervised_main_mixed": self.supervised_loss(main_mixed, target_mixed),
            "supervised_auxiliary": self.auxiliary_loss(auxiliary, target[0]),
            "supervised_auxiliary_mixed": self.auxiliary_loss(auxiliary_mixed, target_mixed[0]),
            "mix_consistency_main": against[0],
            "mix_consistency_auxiliary": against[1],
            "decoder_consistency": mean_squared_difference(compared[0], compared[1]),
            "contrast": contrast,
        }
        weight = term_weights(self.config, progress)
        loss = torch.stack([weight[name] * values[name] for name in TERMS]).sum()
        return StepResult(
            loss,
            torch.stack([values[name].detach() for name in TERMS]),
            vectors,
            valid,
            _count(pseudo_labels, self.space.num_labels),
            _count(scribbles, self.space.num_labels),
        )

    @torch.no_grad()
    def _mixed_pseudo_labels(
        self,
        main: Tensor,
        auxiliary: Tensor,
        scribbles: Tensor,
        mix: Mix,
        progress: float,
        rng: np.random.Generator,
        annotated: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Pseudo-labels (B, *grid) of the twins, and weights of those that count less.

        One decoder speaks inside the boxes and the other outside, by a coin flip per batch. Because a mask is 0 or 1,
        the argmax of the mixed predictions is the mix of the argmaxes, which is what is computed.
        """
        first, second = (main, auxiliary) if rng.random() < 0.5 else (auxiliary, main)
        labels = [self.space.labels_of_logits(first), self.space.labels_of_logits(second)]
        weights = [torch.ones_like(scribbles, dtype=torch.float32)] * 2
        if self.config.mix_consistency_certain_only:
            certain = self.space.uncertainty(self._mean_probabilities(main, auxiliary)) <= self._threshold(progress)
            weights = [certain.float()] * 2
        if self.config.closed_world:
            vouched = [
                vouch(each, scribbles, self.space.num_labels, self.space.ignore_label, annotated) for each in labels
            ]
            labels = [each for each, _ in vouched]
            weights = [weight * sure for weight, (_, sure) in zip(weights, vouched, strict=True)]
        mixed_labels, mixed_weights = (
            apply_mix(inside[:, None], mix, outside[:, None])[:, 0] for inside, outside in (labels, weights)
        )
        plain = not (self.config.closed_world or self.config.mix_consistency_certain_only)
        return mixed_labels, None if plain else mixed_weights

    def _threshold(self, progress: float) -> float:
        return entropy_threshold(progress, self.config.uncertainty_start)

    def _mean_probabilities(self, main: Tensor, auxiliary: Tensor) -> Tensor:
        """Ensemble prediction, the mean of both decoders' probabilities."""
        return 0.5 * (self.space.probabilities(main) + self.space.probabilities(auxiliary))

    def _mix_consistency(
        self,
        logits: Sequence[Tensor],
        probabilities: Sequence[Tensor],
        pseudo_labels: Tensor,
        weights: Tensor | None,
    ) -> list[Tensor]:
        """Loss of each decoder's prediction for the twins against the pseudo-labels."""
        losses = [self.space.cross_entropy(each, pseudo_labels, weights) for each in logits]
        if self.config.mix_consistency_dice:
            members = self.space.members(pseudo_labels)
            losses = [
                loss + self.config.mix_consistency_dice * class_dice(each, members, weights)
                for loss, each in zip(losses, probabilities, strict=True)
            ]
        return losses

    def _contrast(
        self, main: Tensor, auxiliary: Tensor, embedding: Tensor, scribbles: Tensor, progress: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The contrastive term on the patches, and the class means for the queue.

        Everything but the embeddings is pointwise, so it is computed on the embedding's grid only: taking every
        eighth voxel first gives the same as taking it last.
        """
        embedding = F.normalize(embedding[: len(main)].float(), dim=1)
        grid = embedding.shape[2:]

        with torch.no_grad():
            main, auxiliary = (sample_nearest(logits.detach(), grid) for logits in (main, auxiliary))
            coarse = sample_nearest(scribbles[:, None], grid)[:, 0]
            probabilities = self._mean_probabilities(main, auxiliary)
            labels = contrast_labels(
                self.space.labels_of_probabilities(probabilities),
                self.space.uncertainty(probabilities) <= self._threshold(progress),
                coarse,
                self.space.ignore_label,
            ).flatten(1)
            hard = self.space.labels_of_logits(main).flatten(1) != labels
            anchors = choose_anchors(
                labels,
                hard,
                self.space.num_labels,
                max_views=self.config.contrast_views,
                max_anchors=self.config.contrast_anchors,
            )
            vectors, valid = class_means(embedding.detach().flatten(2), labels, self.space.num_labels)
        chosen = embedding.flatten(2).transpose(1, 2).reshape(-1, embedding.shape[1])[anchors.voxels]
        loss = info_nce(
            chosen,
            anchors.labels,
            anchors.valid,
            self.queue.features,
            self.queue.filled(),
            self.config.contrast_temperature,
        )
        return loss, vectors, valid
