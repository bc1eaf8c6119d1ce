"""The training objective of PCLMix: all terms of one step, and what the queue and the log need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nnunetv2_pclmix.appearance import stroke_appearance
from nnunetv2_pclmix.at_hand import either
from nnunetv2_pclmix.borders import Weights, moved_borders
from nnunetv2_pclmix.closed_world import Strokes, vouch
from nnunetv2_pclmix.config import PCLMixConfig
from nnunetv2_pclmix.dataloading.mix import Mix, inside_boxes, sample_nearest
from nnunetv2_pclmix.label_space import LabelSpace
from nnunetv2_pclmix.losses.consistency import class_dice, mean_squared_difference
from nnunetv2_pclmix.losses.contrast import choose_anchors, class_means, info_nce
from nnunetv2_pclmix.memory_queue import MemoryQueue
from nnunetv2_pclmix.network.dual_decoder import DualOutput
from nnunetv2_pclmix.precision import at_least_float32
from nnunetv2_pclmix.pseudo_label import contrast_labels, stroke_voxels_per_class, voxels_per_class
from nnunetv2_pclmix.schedule import entropy_threshold
from nnunetv2_pclmix.step_data import Drawn, PatchResult, PseudoLabels, StepResult, TwinResult
from nnunetv2_pclmix.terms import OF_PATCHES, OF_TWINS, TERMS, term_weights
from nnunetv2_pclmix.thin_structures import EDGE, RIM, Reach
from nnunetv2_pclmix.voxels import Voxels


def _weighted(values: Mapping[str, Tensor], names: Sequence[str], weights: Tensor) -> Tensor:
    """Weighted sum of the terms of those names."""
    return (weights * torch.stack([values[name] for name in names])).sum()


def _of_decoders(both: Tensor) -> Tensor:
    """(2 B, ...) -> (2, B, ...), the main decoder's first."""
    return both.unflatten(0, (2, -1))


class PCLMixObjective:
    """Computes the terms of one step.

    Args:
        config: hyper-parameters.
        space: what the network's channels stand for.
        supervised_loss: the main decoder's (deep-supervision) loss, from lists of the label space's scores and of
            targets to a scalar.
        auxiliary_loss: the auxiliary decoder's, for one scale.
        queue: class queue of the contrast; read here, filled by the trainer afterwards.
        spacing: of the grid's voxels, in any unit; None: the same along all axes.
    """

    def __init__(
        self,
        config: PCLMixConfig,
        space: LabelSpace,
        supervised_loss: Callable[[Sequence[Tensor], Sequence[Tensor]], Tensor],
        auxiliary_loss: Callable[[Tensor, Tensor], Tensor],
        queue: MemoryQueue,
        spacing: Sequence[float] | None = None,
    ) -> None:
        self.config = config
        self.space = space
        self.supervised_loss = supervised_loss
        self.auxiliary_loss = auxiliary_loss
        self.queue = queue
        self.spacing = spacing

    def __call__(
        self,
        output: DualOutput,
        targets: Sequence[Tensor],
        mix: Mix,
        progress: float,
        rng: np.random.Generator,
        strokes: Strokes | None = None,
        images: Tensor | None = None,
        taught: tuple[Tensor, Tensor] | None = None,
    ) -> StepResult:
        """All terms for a batch of B patches followed by K mixed twins.

        Args:
            output: the network's output on the B + K images.
            targets: (B + K, 1, *grid) scribbles per deep-supervision scale, full resolution first.
            mix: how the twins were put together.
            progress: fraction of the training done.
            rng: source of the coin flips.
            strokes: what is known of the images that the patches are from; None: no more than the patches show.
            images: (B + K, channels, *grid) what the network saw, whose grey values the pseudo-labels then follow.
            taught: (B, channels, *grid) a teacher's logits of the patches, main and auxiliary decoder, which become the
                pseudo-labels; None: the network's own do.

        Returns:
            The loss and what goes with it.
        """
        patches = len(output.auxiliary) - len(mix.boxes)
        drawn = self.draw(mix, patches, progress, rng, at_least_float32(output.auxiliary[:0]).dtype)
        return self.of_drawn(output, targets, drawn.to(output.auxiliary.device), strokes, images, taught)

    def draw(
        self, mix: Mix, patches: int, progress: float, rng: np.random.Generator, dtype: torch.dtype = torch.float32
    ) -> Drawn:
        """What a step needs besides its batch, on the CPU.

        One decoder speaks inside the boxes of the twins and the other outside, by a coin flip per batch; and one, by
        another, for the patches themselves.

        Args:
            mix: how the K twins were put together.
            patches: number of patches B.
            progress: fraction of the training done.
            rng: source of the coin flips.
            dtype: of the weights.
        """
        weight = term_weights(self.config, progress)
        share = patches / (patches + len(mix.boxes))

        def weights(names: Sequence[str], share: float) -> Tensor:  # a mean over all images counts the share of each
            values = [weight[name] * (share if name == "decoder_consistency" else 1) for name in names]
            return torch.tensor(values, dtype=dtype)

        main_inside = rng.random() < 0.5
        own = torch.arange(patches if weight["pseudo_labels_main"] else 0)
        if len(own) and rng.random() >= 0.5:
            own += patches
        inside, outside = mix.partners.unbind(1)
        inside, outside = (inside, outside + patches) if main_inside else (inside + patches, outside)
        # as many before patches learn from any, so that nothing is compiled for another size then
        asked = own if len(own) or not self.config.pseudo_label_weight else torch.arange(patches)
        of_twins = torch.cat([inside, outside])
        return Drawn(
            weights(OF_PATCHES, share),
            weights(OF_TWINS, 1 - share),
            torch.tensor(entropy_threshold(progress, self.config.uncertainty_start), dtype=dtype),
            inside,
            outside,
            mix.boxes,
            own,
            torch.cat([asked, of_twins[~torch.isin(of_twins, asked)]]),
        )

    def of_drawn(
        self,
        output: DualOutput,
        targets: Sequence[Tensor],
        drawn: Drawn,
        strokes: Strokes | None = None,
        images: Tensor | None = None,
        taught: tuple[Tensor, Tensor] | None = None,
    ) -> StepResult:
        """As ``__call__``, with what was drawn; a function of tensors on one device."""
        sizes = [len(output.auxiliary) - len(drawn.boxes), len(drawn.boxes)]
        # split, not sliced: the gradient of a split is one concatenation, that of two slices two padded sums
        main = zip(*(m.split(sizes) for m in output.main), strict=True)
        parts = zip(main, output.auxiliary.split(sizes), output.embedding.split(sizes), strict=True)
        patches, twins = (DualOutput(list(m), g, e) for m, g, e in parts)
        target, target_mixed = zip(*(t.split(sizes) for t in targets), strict=True)
        images = None if images is None else images[: sizes[0]]
        first = self.on_patches(patches, target, drawn, strokes, images, taught)
        second = self.on_twins(twins, target_mixed, first, drawn)
        return self.whole(first, second)

    def on_patches(
        self,
        output: DualOutput,
        targets: Sequence[Tensor],
        drawn: Drawn,
        strokes: Strokes | None = None,
        images: Tensor | None = None,
        taught: tuple[Tensor, Tensor] | None = None,
    ) -> PatchResult:
        """The share of the B patches in the loss, and the pseudo-labels of their twins.

        Arguments as of ``of_drawn``, but of the patches alone.
        """
        main, auxiliary = output.main[0], output.auxiliary
        scribbles = targets[0][:, 0]
        certain = drawn.threshold if self.config.mix_consistency_certain_only else None
        known = scribbles, certain, strokes, images, drawn.asked
        pseudo = self.pseudo_labels(main.detach(), auxiliary.detach(), *known)
        if taught is not None:  # what the network itself takes for a structure is still held against it
            pseudo = self.pseudo_labels(taught[0], taught[1], *known)._replace(islands=pseudo.islands)
        pseudo_labels, weights = self.mixed(pseudo, drawn)
        own = pseudo.numbered(drawn.own) if len(drawn.own) else None
        present = None if strokes is None else strokes.present
        terms = self.terms_of_patches(output.main, auxiliary, targets, pseudo.islands, present, own)
        if self.config.contrast_weight:
            contrast, vectors, valid = self.contrast(main, auxiliary, output.embedding, scribbles, drawn.threshold)
        else:
            contrast, vectors, valid = self._no_contrast(output.embedding)
        values = {**terms, "contrast": contrast}
        return PatchResult(
            _weighted(values, OF_PATCHES, drawn.patch_weights),
            {name: value.detach() for name, value in values.items()},
            len(auxiliary) / (len(auxiliary) + len(drawn.boxes)),
            pseudo_labels,
            weights,
            vectors,
            valid,
            stroke_voxels_per_class(scribbles, self.space.num_labels, self.space.ignore_label),
        )

    def on_twins(self, output: DualOutput, targets: Sequence[Tensor], patches: PatchResult, drawn: Drawn) -> TwinResult:
        """The share of the K twins in the loss.

        Args:
            output: the network's output on the twins.
            targets: (K, 1, *grid) their mixed scribbles per deep-supervision scale.
            patches: what ``on_patches`` returned for the patches they are made of.
            drawn: as of ``of_drawn``.

        Returns:
            Loss and terms.
        """
        values = self.terms_of_twins(
            output.main, output.auxiliary, targets, patches.pseudo_labels, patches.pseudo_weights
        )
        # the twins' embeddings are of no use, but distributed training wants every parameter in every backward pass
        loss = _weighted(values, OF_TWINS, drawn.twin_weights) + output.embedding.flatten()[:0].sum()
        return TwinResult(loss, {name: value.detach() for name, value in values.items()})

    def whole(self, patches: PatchResult, twins: TwinResult) -> StepResult:
        """Put the two parts of a step together."""
        both, mean = {**patches.values, **twins.values}, "decoder_consistency"
        both[mean] = patches.share * patches.values[mean] + (1 - patches.share) * twins.values[mean]
        return StepResult(
            patches.loss + twins.loss,
            torch.stack([both[name] for name in TERMS]),
            patches.queue_vectors,
            patches.queue_valid,
            voxels_per_class(patches.pseudo_labels, self.space.num_labels),
            patches.scribble_counts,
        )

    def compile(self, **options: Any) -> None:
        """Let torch.compile fuse what is computed voxel by voxel; what nnU-Net does with the network.

        Args:
            options: of ``torch.compile``.
        """
        if "backend" not in options:
            from torch._inductor import config as inductor  # takes seconds

            if hasattr(inductor.triton, "mix_order_reduction"):
                # this way of joining reductions ends in an assertion where a step has a single twin (torch 2.11)
                options["options"] = {"triton.mix_order_reduction": False}
        for name in ("pseudo_labels", "terms_of_patches", "terms_of_twins"):
            setattr(self, name, torch.compile(getattr(self, name), dynamic=False, **options))

    def terms_of_patches(
        self,
        main: Sequence[Tensor],
        auxiliary: Tensor,
        targets: Sequence[Tensor],
        islands: Tensor | None,
        present: Tensor | None,
        own: tuple[Tensor, Tensor | None] | None,
    ) -> dict[str, Tensor]:
        """The terms of the patches but for the contrast.

        Args:
            main: (B, channels, *grid) logits per scale.
            auxiliary: (B, channels, *grid) logits.
            targets: (B, 1, *grid) scribbles per scale.
            islands: see ``PseudoLabels``.
            present: see ``Strokes``; None: all structures.
            own: pseudo-labels (B, *grid) of the patches and their weights; None: not learned from yet.

        Returns:
            Each term by its name, unweighted.
        """
        target, of_scales, scores, probabilities = self._begin(main, auxiliary, targets)
        closed_world = self._closed_world(scores, probabilities, islands, present)
        against = [each.new_zeros(()) for each in scores]
        if own is not None:
            against = self._against_pseudo_labels(scores, probabilities, *own)
        return {
            "supervised_main": self.supervised_loss(of_scales, target),
            "supervised_auxiliary": self.auxiliary_loss(scores[1], target[0]),
            "decoder_consistency": self._decoder_consistency(main[0], auxiliary, probabilities),
            "closed_world_main": closed_world[0],
            "closed_world_auxiliary": closed_world[1],
            "pseudo_labels_main": against[0],
            "pseudo_labels_auxiliary": against[1],
        }

    def terms_of_twins(
        self,
        main: Sequence[Tensor],
        auxiliary: Tensor,
        targets: Sequence[Tensor],
        pseudo_labels: Tensor,
        weights: Tensor | None,
    ) -> dict[str, Tensor]:
        """The terms of the twins by their names, unweighted; arguments as of ``terms_of_patches``."""
        target, of_scales, scores, probabilities = self._begin(main, auxiliary, targets)
        against = self._against_pseudo_labels(scores, probabilities, pseudo_labels, weights)
        return {
            "supervised_main_mixed": self.supervised_loss(of_scales, target),
            "supervised_auxiliary_mixed": self.auxiliary_loss(scores[1], target[0]),
            "mix_consistency_main": against[0],
            "mix_consistency_auxiliary": against[1],
            "decoder_consistency": self._decoder_consistency(main[0], auxiliary, probabilities),
        }

    def _begin(
        self, main: Sequence[Tensor], auxiliary: Tensor, targets: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
        """What nnU-Net's losses compare with the main decoder's scores per scale; both decoders at full resolution."""
        target = [self.space.supervised_target(t) for t in targets]
        of_scales = [self.space.scores(logits) for logits in main]
        scores = [of_scales[0], self.space.scores(auxiliary)]
        return target, of_scales, scores, [self.space.probabilities_of_scores(each) for each in scores]

    @torch.no_grad()
    def pseudo_labels(
        self,
        main: Tensor,
        auxiliary: Tensor,
        scribbles: Tensor,
        threshold: Tensor | None,
        strokes: Strokes | None,
        images: Tensor | None = None,
        asked: Tensor | None = None,
    ) -> PseudoLabels:
        """What both decoders' predictions become before anything learns from them; no gradients.

        Args:
            main: (B, channels, *grid) logits of the main decoder.
            auxiliary: the same of the auxiliary one.
            scribbles: (B, *grid) classes of the strokes, the ignore label elsewhere.
            threshold: () entropy up to which they count; None where uncertain ones count, too.
            strokes: as of ``__call__``.
            images: (B, channels, *grid) grey values; None: not asked.
            asked: (n,) see ``Drawn``; grey values move the borders of these alone. None: of all.
        """
        decoders = [main, auxiliary]
        present = strokes.present if strokes is not None and self.config.closed_world else None
        labels = torch.cat([self.space.labels_of_logits(logits, present) for logits in decoders])
        if images is not None and self.config.appearance_weight:
            asked = torch.arange(len(labels), device=labels.device) if asked is None else asked
            labels = self._by_appearance(decoders, labels, asked, images, scribbles, present)
        sure: Tensor | None = None
        weights: Tensor | None = None
        islands: Tensor | None = None
        if self.config.closed_world:
            noted = (None,) * 3 if strokes is None else (strokes.annotated, strokes.outside, strokes.lost)
            num_labels, ignore_label = self.space.num_labels, self.space.ignore_label
            vouched, sure = vouch(labels, scribbles, num_labels, ignore_label, *noted)
            islands, labels, sure = (_of_decoders(each) for each in (vouched != labels, vouched, sure))
        else:
            labels = _of_decoders(labels)
        known: Tensor | None = None
        if self.config.closed_world or self.config.pseudo_label_weight:  # else as published
            known = scribbles != self.space.ignore_label
            labels = either(known, scribbles.to(labels.dtype), labels)
            weights = None if sure is None else (sure | known).to(torch.uint8).float()  # a third of the time of bool
        if threshold is not None:
            certain = self.space.uncertainty(self._mean_probabilities(main, auxiliary)) <= threshold
            certain = certain if known is None else certain | known
            weights = certain.float().expand(labels.shape) if weights is None else weights * certain
        return PseudoLabels(labels, weights, islands)

    def mixed(self, pseudo: PseudoLabels, drawn: Drawn) -> tuple[Tensor, Tensor | None]:
        """Pseudo-labels (K, *grid) of the twins, and their weights.

        Because a mask is 0 or 1, the argmax of the mixed predictions is the mix of the argmaxes, which is what is
        computed.
        """
        in_box = inside_boxes(drawn.boxes, pseudo.labels.shape[2:])
        (labels, weights), (others, other_weights) = map(pseudo.numbered, (drawn.inside, drawn.outside))
        labels = torch.where(in_box, labels, others)
        if weights is not None and other_weights is not None:
            weights = torch.where(in_box, weights, other_weights)
        return labels, weights

    def _decoder_consistency(self, main: Tensor, auxiliary: Tensor, probabilities: Sequence[Tensor]) -> Tensor:
        if self.config.decoder_consistency_on_logits:
            return mean_squared_difference(at_least_float32(main), at_least_float32(auxiliary))
        return mean_squared_difference(probabilities[0], probabilities[1])

    def _by_appearance(
        self,
        decoders: Sequence[Tensor],
        labels: Tensor,
        asked: Tensor,
        images: Tensor,
        scribbles: Tensor,
        present: Tensor | None,
    ) -> Tensor:
        """Both decoders' labels, those asked with the say of the strokes' grey values near the borders."""
        strokes = stroke_appearance(images, scribbles, self.space.num_labels, self.space.ignore_label)
        spacing = [float(s) for s in self.spacing or [1.0] * (images.ndim - 2)]
        radii = (self.config.appearance_radius, 1, EDGE, RIM)
        reach = Reach(*([round(r * min(spacing) / s) for s in spacing] for r in radii))
        weight = self.config.appearance_weight
        weights = Weights(weight, weight * self.config.appearance_margin, self.config.thin_structure_weight)
        return moved_borders(decoders, labels, asked, self.space, scribbles, strokes, weights, reach, present)

    def _closed_world(
        self,
        scores: Sequence[Tensor],
        probabilities: Sequence[Tensor],
        islands: Tensor | None,
        present: Tensor | None,
    ) -> list[Tensor]:
        """Loss of each decoder for structures where the strokes say that there is none."""
        if islands is None or not self.config.closed_world_weight:
            return [each.new_zeros(()) for each in scores]
        losses = []
        for score, probability, each in zip(scores, probabilities, islands, strict=True):
            known = present
            if known is None:
                known = each.new_ones(len(each), score.shape[1] - self.space.first_structure)
            losses.append(self.space.possible_loss(score, probability, self.space.possible(known, each)))
        return losses

    def _mean_probabilities(self, main: Tensor, auxiliary: Tensor) -> Tensor:
        """Ensemble prediction, the mean of both decoders' probabilities."""
        return 0.5 * (self.space.probabilities(main) + self.space.probabilities(auxiliary))

    def _against_pseudo_labels(
        self,
        scores: Sequence[Tensor],
        probabilities: Sequence[Tensor],
        pseudo_labels: Tensor,
        weights: Tensor | None,
    ) -> list[Tensor]:
        """Loss of each decoder's prediction against pseudo-labels."""
        known = self.space.known(pseudo_labels, weights)
        losses = [self.space.cross_entropy(each, known) for each in scores]
        if self.config.mix_consistency_dice:
            losses = [
                loss + self.config.mix_consistency_dice * class_dice(each, known.counted, weights)
                for loss, each in zip(losses, probabilities, strict=True)
            ]
        return losses

    def contrast(
        self, main: Tensor, auxiliary: Tensor, embedding: Tensor, scribbles: Tensor, threshold: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The contrastive term on the patches, and the class means for the queue.

        Everything but the embeddings is pointwise, so it is computed on the embedding's grid only: taking every
        eighth voxel first gives the same as taking it last.
        """
        grid, embedding = embedding.shape[2:], at_least_float32(embedding).flatten(2)

        with torch.no_grad():
            main, auxiliary = (sample_nearest(logits.detach(), grid) for logits in (main, auxiliary))
            coarse = sample_nearest(scribbles[:, None], grid)[:, 0]
            probabilities = self._mean_probabilities(main, auxiliary)
            labels = contrast_labels(
                self.space.labels_of_probabilities(probabilities),
                self.space.uncertainty(probabilities) <= threshold,
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
            vectors, valid = class_means(embedding.detach(), labels, self.space.num_labels)
        chosen = Voxels(anchors.voxels // labels.shape[1], anchors.voxels % labels.shape[1])
        loss = info_nce(
            F.normalize(chosen.of(embedding), dim=1),
            anchors.labels,
            anchors.valid,
            self.queue.features,
            self.queue.filled(),
            self.config.contrast_temperature,
        )
        return loss, vectors, valid

    def _no_contrast(self, embedding: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What ``contrast`` returns, of zeros; the twins keep the embeddings in the loss."""
        zeros = at_least_float32(embedding[:0]).new_zeros
        shape = len(embedding), self.space.num_labels
        return zeros(()), zeros(*shape, embedding.shape[1]), zeros(shape, dtype=torch.bool)
