"""What the strokes of a thin structure say of the grey values at its borders.

Strokes run along the middle of structures. In a wide one they show its inside alone; so a grey value between that of a
wide structure and that of a thin one beside it, as voxels at their border have it, is known from the thin one's strokes
if from any, and by the density of grey values under strokes goes to the thin one, which becomes too thick. But the
strokes of a thin structure pass close by its borders. They are a sample of all of it, so how much of a grey value there
is around it, and how much of that the strokes have met, tells how much of it belongs to the structure: learning from
positive and unlabelled examples (Elkan and Noto, KDD 2008). That takes the grey value which strokes meet most often for
the structure's alone, so it counts as far as the strokes of both structures look different. Not in PCLMix.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from nnunetv2_pclmix.appearance import StrokeAppearance, histograms, smoothed
from nnunetv2_pclmix.at_hand import is_at_hand
from nnunetv2_pclmix.neighbourhood import LabelsAround, bits_of, has_several, mean_around
from nnunetv2_pclmix.pseudo_label import voxels_per_class
from nnunetv2_pclmix.voxels import Voxels, look_up

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


def thinness(around: LabelsAround, edge: Sequence[int]) -> Tensor:
    """How thin each class is: 0 for wide ones, 1 for those that lie near their borders nearly everywhere.

    Args:
        around: what is predicted, of classes 0 to C - 1.
        edge: radius along each axis within which a border is near.

    Returns:
        (C,) from 0 to 1, of all images together; 0 for a class that is not predicted.
    """
    num_labels = around.num_labels
    near_border = has_several(around.within(edge))
    place = around.labels.add(near_border, alpha=num_labels)
    inside, outer = voxels_per_class(place, 2 * num_labels).view(2, num_labels)
    share = outer / (inside + outer).clamp(min=1)
    return ((share - NOT_THIN) / (THIN - NOT_THIN)).clamp(0, 1)


def odds_of_belonging(
    around: LabelsAround,
    scribbles: Tensor,
    strokes: StrokeAppearance,
    rim: Sequence[int],
    classes: Sequence[int] | None = None,
    image: Tensor | None = None,
    box: Sequence[slice] = (),
) -> Tensor:
    """Logarithm of the odds that a voxel in or around a predicted structure belongs to it, by its grey value.

    The share of a grey value's voxels that the structure's strokes have met, over the share of that grey value of
    which they have met most, is the probability. Several channels count as independent.

    Args:
        around: what is predicted, n times (*grid), of classes 0 to C - 1.
        scribbles: (N, *grid) classes of the strokes, any other value elsewhere.
        strokes: of the same images.
        rim: radius along each axis of what is counted around a structure.
        classes: K of the classes, in ascending order; None: all.
        image: (n,) of which image each prediction is; None: one of each.
        box: of the grid, in which the odds are wanted.

    Returns:
        (n, K, *grid of the box) from ``LEAST_ODDS`` to ``MOST_ODDS``.
    """
    num_labels = around.num_labels
    image = torch.arange(len(scribbles), device=scribbles.device) if image is None else image
    classes = range(num_labels) if classes is None else classes
    counts = strokes.counts[image]
    met = torch.stack([counts[:, :, c] for c in classes], 2)  # a list of them would be copied to the device
    bits = around.within(rim) | bits_of(scribbles, num_labels).index_select(0, image)
    there = smoothed(_voxels_around(bits, strokes.bins.flatten(2), num_labels, classes, image).to(met.dtype))
    share = met / there.clamp(min=1e-6)
    common = there >= COMMON * there.amax(3, keepdim=True)
    most = torch.where(common, share, 0.0).amax(3, keepdim=True).clamp(min=1e-6)
    log_share = (share / most).clamp(1e-6, 1).log()
    bins = strokes.bins_in(box)[image]
    if bins.shape[1] == 1:  # then odds of 128 grey values instead of all voxels
        return look_up(_odds(log_share), bins)
    return _odds(look_up(log_share, bins))


def _odds(log_probability: Tensor) -> Tensor:
    return log_probability.exp().logit(eps=1e-6).clamp(LEAST_ODDS, MOST_ODDS)


def _voxels_around(around: Tensor, bins: Tensor, num_labels: int, classes: Sequence[int], image: Tensor) -> Tensor:
    """(n, channels, K, BINS) how many of the voxels in, around and on the strokes of K structures are how bright.

    Args:
        around: (n, groups, *grid) uint8, a bit for each class of which they are.
        bins: (N, channels, voxels) of the images.
        num_labels: classes C.
        classes: the K.
        image: (n,) the image of each.
    """
    counts = []
    for first, bits in zip(range(0, num_labels, 8), around.split(1, 1), strict=True):
        asked = [c - first for c in classes if first <= c < first + 8]
        if not asked:
            continue
        combinations = 2 ** min(8, num_labels - first)
        near = Voxels.where((bits[:, 0] & sum(1 << bit for bit in asked)).bool())
        table = histograms(bins, bits.flatten(2), combinations, near, image)
        numbers = torch.arange(combinations, device=bins.device)
        holds = torch.stack([(numbers >> bit) & 1 for bit in asked])
        counts.append(holds.to(table.dtype) @ table)
    return torch.cat(counts, 2)


class Thin(NamedTuple):
    """What is known of K thin structures in N predictions.

    Attributes:
        classes: their labels, in ascending order.
        shares: (N, K, C) from 0 to 1; how much their odds count where each meets each of all classes: as far as the
            one is thin and the other is not, and their strokes look different. Where they look alike, even the grey
            value that strokes meet most often is not the structure's alone, as the odds take it to be.
        odds: (N, K, *grid) logarithm of the odds that a voxel, of all or of a box of them, belongs to each.
    """

    classes: Sequence[int]
    shares: Tensor
    odds: Tensor


def find_thin(
    around: LabelsAround,
    scribbles: Tensor,
    strokes: StrokeAppearance,
    reach: Reach,
    image: Tensor | None = None,
    box: Sequence[slice] = (),
) -> Thin | None:
    """What is known of the thin structures of a prediction.

    Args:
        around: what is predicted, n times (*grid), of classes 0 to C - 1.
        scribbles: (N, *grid) classes of the strokes, any other value elsewhere.
        strokes: of the same images.
        reach: how far to look.
        image: (n,) of which image each prediction is; None: one of each.
        box: of the grid, in which the odds are wanted.

    Returns:
        Where the values may be looked at, of those alone that may meet a wide one, or None if there is none; else of
        all classes.
    """
    image = torch.arange(len(scribbles), device=scribbles.device) if image is None else image
    thin = thinness(around, reach.edge)
    classes = list(range(around.num_labels))
    if is_at_hand(thin):
        found = thin.tolist()
        classes = [c for c in classes if found[c] > 0 and min(found[:c] + found[c + 1 :]) < 1]
    if not classes:
        return None
    with torch.autocast(scribbles.device.type, enabled=False):
        odds = odds_of_belonging(around, scribbles, strokes, reach.rim, classes, image, box)
        odds = mean_around(odds, reach.around)
    thin, alike = thin.to(strokes.overlap.dtype), strokes.overlap[image]
    shares = torch.stack([thin[c] * (1 - thin) * (1 - alike[:, c]).clamp(min=0) for c in classes], 1)
    drawn = torch.stack([strokes.voxels[image, c] >= FEWEST_STROKES for c in classes], 1)
    return Thin(classes, shares * drawn[:, :, None], odds)


def with_thin_structures(evidence: Tensor, near: Tensor, thin: Thin, weight: float) -> Tensor:
    """Evidence in which thin structures meet wide ones by the odds of belonging instead of by densities.

    Args:
        evidence: (N, C, *grid) logarithm of how well each class fits a voxel by densities.
        near: (N, C, *grid) bool; which classes a voxel may become.
        thin: of the same voxels.
        weight: of the odds.

    Returns:
        (N, C, *grid): for a thin class, as far as its odds count beside the best of the other classes that a voxel may
        become, ``weight`` times its odds more than that one; for wide classes as it was.
    """
    best_of_others = _best_of_others(evidence.masked_fill(~near, float("-inf")).unbind(1), thin.classes)
    shares, odds = (each.to(evidence.dtype).unbind(1) for each in (thin.shares, thin.odds))
    planes = list(evidence.unbind(1))
    for c, (best, which), share, of_class in zip(thin.classes, best_of_others, shares, odds, strict=True):
        share = share.gather(1, which.view(len(which), prod(which.shape[1:]))).view_as(best)
        possible = best.isfinite()
        by_odds = torch.where(possible, best, 0.0) + weight * of_class
        planes[c] = torch.lerp(planes[c], by_odds, torch.where(possible, share, 0.0))
    return torch.stack(planes, 1)


def _best_of_others(planes: Sequence[Tensor], chosen: Sequence[int]) -> list[Numbered]:
    """For each chosen plane the largest of all others, voxel by voxel, and its number."""
    numbers = torch.arange(len(planes), device=planes[0].device).unbind()
    numbered = list(zip(planes, numbers, strict=True))
    none = torch.full_like(planes[0], float("-inf")), numbers[0]
    before, after = [none], [none]
    for number in range(max(chosen)):
        before.append(_larger(before[-1], numbered[number]))
    for number in range(len(planes) - 1, min(chosen), -1):
        after.append(_larger(after[-1], numbered[number]))
    return [_larger(before[number], after[len(planes) - 1 - number]) for number in chosen]


def _larger(one: Numbered, other: Numbered) -> Numbered:
    return torch.maximum(one[0], other[0]), torch.where(other[0] > one[0], other[1], one[1])
