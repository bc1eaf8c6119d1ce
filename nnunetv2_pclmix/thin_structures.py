"""What the strokes of a thin structure say of the grey values at its borders.

Strokes run along the middle of structures. In a wide one they show its inside alone; so a grey value between that of a
wide structure and that of a thin one beside it, as voxels at their border have it, is known from the thin one's strokes
if from any, and by the density of grey values under strokes goes to the thin one, which becomes too thick. But the
strokes of a thin structure pass close by its borders. They are a sample of all of it, so how much of a grey value there
is around it, and how much of that the strokes have met, tells how much of it belongs to the structure: learning from
positive and unlabelled examples (Elkan and Noto, KDD 2008). Not in PCLMix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nnunetv2_pclmix.appearance import BINS, StrokeAppearance, smoothed
from nnunetv2_pclmix.neighbourhood import bits_around, labels_around, mean_around
from nnunetv2_pclmix.pseudo_label import voxels_per_class

EDGE = 3  # voxels from a border within which a stroke still samples what is there
RIM = 2  # voxels around a predicted structure that are asked whether they belong to it
NOT_THIN, THIN = 0.65, 0.8  # share of a class's voxels so near a border below which it is not thin, above which it is
FEWEST_STROKES = 5  # voxels of a class in an image; fewer say nothing
COMMON = 0.25  # of the most common grey value's voxels; rarer values do not tell which share of them strokes meet
LEAST_ODDS, MOST_ODDS = -4.0, 2.0  # nats


Numbered = tuple[Tensor, Tensor]


class Reach(NamedTuple):
    """Radii of boxes in voxels along each axis of the grid.

    Attributes:
        near: within which a border may move.
        around: over which odds are averaged.
        edge: ``EDGE`` voxels of the finest spacing.
        rim: ``RIM`` voxels of it.
    """

    near: Sequence[int]
    around: Sequence[int]
    edge: Sequence[int]
    rim: Sequence[int]


def thinness(labels: Tensor, num_labels: int, edge: Sequence[int]) -> Tensor:
    """How thin each class is: 0 for wide ones, 1 for those that lie near their borders nearly everywhere.

    Args:
        labels: (N, *grid) as predicted, of classes 0 to C - 1.
        num_labels: classes C.
        edge: radius along each axis within which a border is near.

    Returns:
        (C,) from 0 to 1, of all images together; 0 for a class that is not predicted.
    """
    bits = bits_around(labels, num_labels, edge)
    near_border = (bits & (bits - 1)).ne(0).any(1) | (bits.ne(0).sum(1) > 1)
    inside, outer = voxels_per_class(labels + num_labels * near_border, 2 * num_labels).view(2, num_labels)
    share = outer / (inside + outer).clamp(min=1)
    return ((share - NOT_THIN) / (THIN - NOT_THIN)).clamp(0, 1)


def _is_looked_at(values: Tensor) -> bool:
    """Whether values may be asked for: on a CPU, which has them; a GPU would be waited for."""
    return values.device.type == "cpu" and not torch.compiler.is_compiling()


def odds_of_belonging(
    labels: Tensor,
    scribbles: Tensor,
    strokes: StrokeAppearance,
    num_labels: int,
    rim: Sequence[int],
    classes: Sequence[int] | None = None,
) -> Tensor:
    """Logarithm of the odds that a voxel in or around a predicted structure belongs to it, by its grey value.

    The share of a grey value's voxels that the structure's strokes have met, over the share of that grey value of
    which they have met most, is the probability. Several channels count as independent.

    Args:
        labels: (N, *grid) as predicted.
        scribbles: (N, *grid) classes of the strokes, any other value elsewhere.
        strokes: of the same images.
        num_labels: classes C.
        rim: radius along each axis of what is counted around a structure.
        classes: K of the classes, in ascending order; None: all.

    Returns:
        (N, K, *grid) from ``LEAST_ODDS`` to ``MOST_ODDS``.
    """
    size, channels, _ = strokes.bins.shape
    there, met = _voxels_around(labels, scribbles, strokes.bins, num_labels, rim), strokes.counts
    if classes is not None:
        there, met = there[:, :, list(classes)], met[:, :, list(classes)]
    there = smoothed(there.to(met.dtype))
    share = met / there.clamp(min=1e-6)
    common = there >= COMMON * there.amax(3, keepdim=True)
    most = torch.where(common, share, 0.0).amax(3, keepdim=True).clamp(min=1e-6)
    log_share = (share / most).clamp(1e-6, 1).log()
    index = strokes.bins[:, :, None].expand(-1, -1, log_share.shape[2], -1)
    single = channels == 1  # then odds of 128 grey values instead of all voxels
    odds = _odds(log_share).gather(3, index)[:, 0] if single else _odds(log_share.gather(3, index).sum(1))
    return odds.view(size, -1, *labels.shape[1:])


def _odds(log_probability: Tensor) -> Tensor:
    return log_probability.exp().logit(eps=1e-6).clamp(LEAST_ODDS, MOST_ODDS)


def _voxels_around(labels: Tensor, scribbles: Tensor, bins: Tensor, num_labels: int, rim: Sequence[int]) -> Tensor:
    """(N, channels, C, BINS) how many voxels in, around and on the strokes of a predicted structure are how bright."""
    size, channels = bins.shape[:2]
    image_and_channel = torch.arange(size * channels, device=labels.device).view(size, channels, 1)
    counts = []
    for group, bits in enumerate(bits_around(labels, num_labels, rim).flatten(2).long().unbind(1)):
        width = min(8, num_labels - 8 * group)
        stroke = scribbles.flatten(1).long() - 8 * group
        own = (stroke >= 0) & (stroke < width)
        bits = bits | torch.where(own, 1 << stroke.clamp(0, 7), 0)
        slot = (image_and_channel * 2**width + bits[:, None]) * BINS + bins
        table = torch.zeros(size * channels * 2**width * BINS, device=labels.device)
        table.scatter_add_(0, slot.flatten(), torch.ones_like(table[:1]).expand(slot.numel()))
        numbers = torch.arange(2**width, device=labels.device)
        holds = (numbers >> torch.arange(width, device=labels.device)[:, None]) & 1
        counts.append(holds.to(table.dtype) @ table.view(size, channels, 2**width, BINS))
    return torch.cat(counts, 2)


def with_thin_structures(
    evidence: Tensor, labels: Tensor, scribbles: Tensor, strokes: StrokeAppearance, weight: float, reach: Reach
) -> Tensor:
    """Evidence in which thin structures meet wide ones by the odds of belonging instead of by densities.

    Args:
        evidence: (N, C, *grid) logarithm of how well each class fits a voxel by densities.
        labels: (N, *grid) as predicted.
        scribbles: (N, *grid) classes of the strokes, any other value elsewhere.
        strokes: of the same images.
        weight: of the odds.
        reach: how far to look.

    Returns:
        (N, C, *grid): for a thin class ``weight`` times its odds more than the best of the other classes that a voxel
        may become, as far as that one is not thin; for wide classes as it was.
    """
    num_labels = evidence.shape[1]
    thin = thinness(labels, num_labels, reach.edge)
    chosen = thin.nonzero().flatten().tolist() if _is_looked_at(labels) else None
    if chosen == []:
        return evidence
    with torch.autocast(evidence.device.type, enabled=False):
        odds = odds_of_belonging(labels, scribbles, strokes, num_labels, reach.rim, chosen)
        odds = mean_around(odds, reach.around).to(evidence.dtype)
    possible = evidence.masked_fill(~labels_around(labels, num_labels, reach.near), float("-inf"))
    classes = range(num_labels) if chosen is None else chosen
    best_of_others = _best_of_others(possible.unbind(1), thin.to(evidence.dtype), classes)
    planes = list(evidence.unbind(1))
    for number, (best, its_thinness), of_class in zip(classes, best_of_others, odds.unbind(1), strict=True):
        drawn = (scribbles == number).flatten(1).sum(1) >= FEWEST_STROKES
        counts = best.isfinite() & drawn.view(-1, *[1] * (labels.ndim - 1))
        share = torch.where(counts, thin[number].to(evidence.dtype) * (1 - its_thinness), 0.0)
        planes[number] = torch.lerp(planes[number], torch.where(counts, best, 0.0) + weight * of_class, share)
    return torch.stack(planes, 1)


def _best_of_others(planes: Sequence[Tensor], numbers: Tensor, chosen: Sequence[int]) -> list[Numbered]:
    """For each chosen plane the largest of all others, voxel by voxel, and the number that belongs to it."""
    none = torch.full_like(planes[0], float("-inf")), torch.zeros_like(planes[0])
    before, after = [none], [none]
    for number in range(max(chosen)):
        before.append(_larger(before[-1], (planes[number], numbers[number])))
    for number in range(len(planes) - 1, min(chosen), -1):
        after.append(_larger(after[-1], (planes[number], numbers[number])))
    return [_larger(before[number], after[len(planes) - 1 - number]) for number in chosen]


def _larger(one: Numbered, other: Numbered) -> Numbered:
    return torch.maximum(one[0], other[0]), torch.where(other[0] > one[0], other[1], one[1])
