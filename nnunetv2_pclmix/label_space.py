"""What the network's output channels stand for: classes that exclude each other, or nnU-Net's regions that overlap.

The rest of the method speaks of label values (0 background, 1, 2, ...) and asks a label space to translate.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nnunetv2_pclmix.losses.consistency import pseudo_label_cross_entropy, pseudo_region_cross_entropy
from nnunetv2_pclmix.losses.possible import possible_classes_loss, possible_regions_loss
from nnunetv2_pclmix.precision import at_least_float32
from nnunetv2_pclmix.pseudo_label import classes_of, entropy, largest_binary_entropy


class Known(NamedTuple):
    """Labels to learn from.

    Attributes:
        labels: (N, *grid).
        weights: (N, *grid) how much each voxel counts; None: 1.
        counted: (N, channels, *grid) the voxel's weight where the channel applies, else 0.
    """

    labels: Tensor
    weights: Tensor | None
    counted: Tensor


class LabelSpace(ABC):
    """Translates between output channels and label values.

    Attributes:
        num_labels: label values C, background included, the ignore label not.
        ignore_label: value of unlabelled voxels.
        first_structure: the first channel that stands for a structure: 1 behind background, else 0.
    """

    num_labels: int
    ignore_label: int
    first_structure: int

    def to(self, device: torch.device) -> LabelSpace:
        """The same, with what it looks up on a device, so that nothing has to be copied there in each step."""
        return self

    def probabilities(self, logits: Tensor) -> Tensor:
        """(N, channels, *grid) logits -> probabilities, float32 at least whatever the autocast."""
        return self.probabilities_of_scores(self.scores(logits))

    @abstractmethod
    def scores(self, logits: Tensor) -> Tensor:
        """(N, channels, *grid) logits -> what all terms of a prediction begin with, so that it is computed once.

        Logarithms of probabilities where classes exclude each other, else the logits; float32 at least.
        """

    @abstractmethod
    def probabilities_of_scores(self, scores: Tensor) -> Tensor:
        """(N, channels, *grid) scores -> probabilities."""

    @abstractmethod
    def labels_of_logits(self, logits: Tensor, present: Tensor | None = None) -> Tensor:
        """Predicted labels, as ``only_present`` would have them.

        Args:
            logits: (N, channels, *grid).
            present: (N, structures) bool; None: all structures.

        Returns:
            (N, *grid) int16.
        """

    @abstractmethod
    def labels_of_probabilities(self, probabilities: Tensor) -> Tensor:
        """(N, channels, *grid) probabilities -> (N, *grid) predicted label."""

    @abstractmethod
    def uncertainty(self, probabilities: Tensor) -> Tensor:
        """(N, channels, *grid) probabilities -> (N, *grid) entropy in nats."""

    @abstractmethod
    def supervised_target(self, labels: Tensor) -> Tensor:
        """(N, 1, *grid) labels, some of them to be ignored -> what nnU-Net's loss for this kind of labels expects."""

    def known(self, labels: Tensor, weights: Tensor | None) -> Known:
        """(N, *grid) labels, all of them known, and how much they count, as the losses need them."""
        return Known(labels, weights, self.members(labels, weights))

    @abstractmethod
    def cross_entropy(self, scores: Tensor, known: Known) -> Tensor:
        """Scalar loss of (N, channels, *grid) scores against labels."""

    @abstractmethod
    def possible_loss(self, scores: Tensor, probabilities: Tensor, possible: Tensor) -> Tensor:
        """Scalar loss of a (N, channels, *grid) prediction of which one knows what it may be, see ``possible``."""

    def only_present(self, logits: Tensor, present: Tensor) -> Tensor:
        """(N, channels, *grid) logits with those of absent structures out of the running.

        Args:
            logits: of any type.
            present: (N, structures) bool, structures in the order of their channels.
        """
        whole = (..., *[None] * (logits.ndim - 2))
        out_of_it = logits.new_zeros(()).masked_fill(~self._present_channels(present), float("-inf"))
        return logits + out_of_it[whole]

    def possible(self, present: Tensor, islands: Tensor) -> Tensor:
        """(N, channels, *grid) bool; what each voxel may be: a present structure, and none on an island.

        Args:
            present: (N, structures) bool.
            islands: (N, *grid) bool; voxels that belong to no structure.
        """
        whole = (..., *[None] * (islands.ndim - 1))
        channels = self._present_channels(present)
        possible = channels[whole].expand(*channels.shape, *islands.shape[1:]).clone()
        possible[:, self.first_structure :] &= ~islands[:, None]
        return possible

    def _present_channels(self, present: Tensor) -> Tensor:
        """(N, structures) -> (N, channels) bool."""
        background = present.new_ones(len(present), self.first_structure)
        return torch.cat([background, present], 1)

    @abstractmethod
    def with_evidence(self, logits: Tensor, evidence: Tensor, near: Tensor) -> Tensor:
        """Logits that take another opinion into account near the borders of the prediction.

        Args:
            logits: (N, channels, *grid).
            evidence: (N, C, *grid) logarithm of how well each label fits a voxel, up to a constant.
            near: (N, C, *grid) bool; the labels that a voxel may become, as predicted, for it or around it.

        Returns:
            (N, channels, *grid) float logits.
        """

    @abstractmethod
    def members(self, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """Which channels apply to each voxel.

        Args:
            labels: (N, *grid), all of them known.
            weights: (N, *grid) how much each voxel counts; None: 1.

        Returns:
            (N, channels, *grid) float, the voxel's weight where the channel applies, else 0.
        """


class ClassSpace(LabelSpace):
    """One channel per class, softmax; the paper's setting.

    Args:
        num_labels: classes C, background included.
        ignore_label: value of unlabelled voxels.
    """

    first_structure = 1

    def __init__(self, num_labels: int, ignore_label: int) -> None:
        self.num_labels, self.ignore_label = num_labels, ignore_label

    def scores(self, logits: Tensor) -> Tensor:
        return at_least_float32(logits).log_softmax(1)

    def probabilities_of_scores(self, scores: Tensor) -> Tensor:
        return scores.exp()

    def labels_of_logits(self, logits: Tensor, present: Tensor | None = None) -> Tensor:
        return classes_of(logits, None if present is None else self._present_channels(present))

    def labels_of_probabilities(self, probabilities: Tensor) -> Tensor:
        return classes_of(probabilities)

    def uncertainty(self, probabilities: Tensor) -> Tensor:
        return entropy(probabilities)

    def supervised_target(self, labels: Tensor) -> Tensor:
        return labels

    def cross_entropy(self, scores: Tensor, known: Known) -> Tensor:
        return pseudo_label_cross_entropy(scores, known.counted)

    def possible_loss(self, scores: Tensor, probabilities: Tensor, possible: Tensor) -> Tensor:
        return possible_classes_loss(probabilities, possible)

    def with_evidence(self, logits: Tensor, evidence: Tensor, near: Tensor) -> Tensor:
        return (evidence + logits).masked_fill_(~near, float("-inf"))

    def members(self, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        shape = (len(labels), self.num_labels, *labels.shape[1:])
        none = torch.zeros(shape, device=labels.device)
        return none.scatter_(1, labels[:, None].long(), 1.0 if weights is None else weights[:, None].to(none.dtype))


class RegionSpace(LabelSpace):
    """One channel per region, sigmoid, as nnU-Net trains overlapping regions. Not in the paper.

    A voxel's label follows from its regions as in nnU-Net: later regions of the class order overwrite earlier ones.
    Pseudo-labels are made as labels and then turned into regions, so they are always consistent with one another.

    Args:
        regions: label values of each region, in the order of the channels.
        class_order: label value that each region writes, nnU-Net's ``regions_class_order``.
        num_labels: label values C, background included.
        ignore_label: value of unlabelled voxels, C or above.
    """

    first_structure = 0

    def __init__(
        self, regions: Sequence[int | Sequence[int]], class_order: Sequence[int], num_labels: int, ignore_label: int
    ) -> None:
        self.num_labels, self.ignore_label = num_labels, ignore_label
        self.class_order = [int(value) for value in class_order]
        members = [[region] if isinstance(region, int) else list(region) for region in regions]
        # row: label value; column: region, and last of all whether the voxel is unlabelled
        table = torch.zeros(ignore_label + 1, len(members) + 1, dtype=torch.bool)
        for column, values in enumerate(members):
            table[[int(value) for value in values], column] = True
        table[ignore_label, -1] = True
        self._table = table

    def _maps(self, labels: Tensor) -> Tensor:
        """(N, *grid) labels -> (N, regions + 1, *grid) bool."""
        return self._table.to(labels.device)[labels.long()].movedim(-1, 1)

    def to(self, device: torch.device) -> RegionSpace:
        self._table = self._table.to(device)
        return self

    def scores(self, logits: Tensor) -> Tensor:
        return at_least_float32(logits)

    def probabilities_of_scores(self, scores: Tensor) -> Tensor:
        return scores.sigmoid()

    def _labels(self, values: Tensor, threshold: float, present: Tensor | None = None) -> Tensor:
        labels = torch.zeros(values.shape[:1] + values.shape[2:], dtype=torch.int16, device=values.device)
        for channel, value in enumerate(self.class_order):
            inside = values[:, channel] > threshold
            if present is not None:
                inside &= present[:, channel].view(-1, *[1] * (labels.ndim - 1))
            labels.masked_fill_(inside, value)
        return labels

    def labels_of_logits(self, logits: Tensor, present: Tensor | None = None) -> Tensor:
        return self._labels(logits, 0.0, present)

    def labels_of_probabilities(self, probabilities: Tensor) -> Tensor:
        return self._labels(probabilities, 0.5)

    def uncertainty(self, probabilities: Tensor) -> Tensor:
        return largest_binary_entropy(probabilities)

    def supervised_target(self, labels: Tensor) -> Tensor:
        return self._maps(labels[:, 0])

    def cross_entropy(self, scores: Tensor, known: Known) -> Tensor:
        return pseudo_region_cross_entropy(scores, self._maps(known.labels)[:, :-1], known.weights)

    def possible_loss(self, scores: Tensor, probabilities: Tensor, possible: Tensor) -> Tensor:
        return possible_regions_loss(scores, possible)

    def with_evidence(self, logits: Tensor, evidence: Tensor, near: Tensor) -> Tensor:
        table = self._table[: self.num_labels, :-1].to(logits.device)
        changes = []
        for inside in table.T:
            sides = [side.view(1, -1, *[1] * (evidence.ndim - 2)) for side in (inside, ~inside)]
            of_near = [near & side for side in sides]
            may_change = of_near[0].any(1) & of_near[1].any(1)
            of_sides = [_mean_evidence(evidence, labels) for labels in of_near]
            changes.append(torch.where(may_change, of_sides[0] - of_sides[1], 0.0))
        changed = logits + torch.stack(changes, 1)
        # regions that change one by one may make a label that is nowhere near
        label = self.labels_of_logits(changed).long().unsqueeze(1)
        return torch.where(near.gather(1, label), changed, logits)

    def members(self, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        members = self._maps(labels)[:, :-1].float()
        return members if weights is None else members * weights[:, None]


def _mean_evidence(evidence: Tensor, labels: Tensor) -> Tensor:
    """(N, C, *grid), (N, C, *grid) bool -> (N, *grid) log of the mean of exp(evidence) of some labels; NaN of none."""
    return evidence.masked_fill(~labels, float("-inf")).logsumexp(1) - labels.sum(1).log()
