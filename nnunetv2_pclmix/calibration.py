"""Offsets for a trained network's logits, from the labelled voxels of cases it was not trained with.

A network that has seen few strokes, and patients unlike those to come, finds some structures too reluctantly and
others too readily. How much so, the strokes of held-out cases tell: the offsets are the most probable bias, beside a
common scale, of its logits there (Alexandari, Kundaje, Shrikumar, ICML 2020, call this bias-corrected temperature
scaling). The scale changes no prediction and is dropped. Not in the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

PRIOR = 0.01
"""Of the squares of bias and scale, over the number of cases: one case's strokes may not say much, those of ten may."""
GROUPS = 5

Predict = Callable[[Tensor], Tensor]
"""(N, C) logits -> (N, C) bool, which channels apply to the label that nnU-Net makes of them."""


class HeldOut(NamedTuple):
    """The labelled voxels of one case.

    Attributes:
        logits: (N, C) float64.
        members: (N, C) bool, which channels apply; exactly one where classes exclude each other.
    """

    logits: Tensor
    members: Tensor


class Calibration(NamedTuple):
    """What held-out strokes say.

    Attributes:
        offsets: (C,) to be added to the logits; zero for channels without a held-out stroke.
        before, after: (C,) Dice on the labelled voxels, mean over cases, without and with offsets that come from
            other patients; NaN for channels without a held-out stroke.
        helps: whether the mean over the structures is higher with them.
    """

    offsets: Tensor
    before: np.ndarray
    after: np.ndarray
    helps: bool


def fit_offsets(cases: Sequence[HeldOut], *, exclusive: bool) -> Tensor:
    """The most probable offsets.

    Args:
        cases: each counts the same, however many voxels of it are labelled.
        exclusive: whether channels are classes (softmax) or regions (sigmoid).

    Returns:
        (C,) float64; of classes relative to the first one, background, and all zero where it has no strokes. Zero for
        classes without strokes and for regions that hold all or none of them.
    """
    logits = torch.cat([case.logits for case in cases])
    members = torch.cat([case.members for case in cases])
    sizes = [len(case.logits) for case in cases]
    weights = torch.cat([logits.new_full((size,), 1 / (size * len(sizes))) for size in sizes])
    seen = members.any(0) if exclusive else members.any(0) & ~members.all(0)
    offsets = logits.new_zeros(logits.shape[1])
    if int(seen.sum()) < 1 + exclusive or (exclusive and not seen[0]):
        return offsets
    bias, scale = _minimise(logits[:, seen], members[:, seen].to(logits.dtype), weights, PRIOR / len(cases), exclusive)
    if scale > 0:  # else the logits say nothing of these voxels, and their scale cannot be undone
        bias = bias / scale
        offsets[seen] = bias - bias[0] if exclusive else bias
    return offsets


def _minimise(logits: Tensor, members: Tensor, weights: Tensor, prior: float, exclusive: bool) -> tuple[Tensor, float]:
    """Bias and scale with the least negative log-likelihood and prior, strictly convex in both."""
    bias = logits.new_zeros(logits.shape[1], requires_grad=True)
    scale = logits.new_ones((), requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [bias, scale], max_iter=200, tolerance_grad=1e-9, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        scores = scale * logits + bias
        if exclusive:
            of_voxels = -(members * scores.log_softmax(1)).sum(1)
        else:
            of_voxels = binary_cross_entropy_with_logits(scores, members, reduction="none").sum(1)
        value = weights @ of_voxels + prior * (bias.square().sum() + (scale - 1).square())
        value.backward()
        return value

    optimiser.step(loss)
    return bias.detach(), float(scale.detach())


def stroke_dice(case: HeldOut, offsets: Tensor, predict: Predict) -> np.ndarray:
    """(C,) Dice on the labelled voxels of a case; NaN where a channel is neither drawn nor predicted there."""
    predicted = predict(case.logits + offsets)
    common = (predicted & case.members).sum(0).double()
    both = predicted.sum(0) + case.members.sum(0)
    return (2 * common / both).numpy()  # 0 / 0 is NaN


def crossed_offsets(
    cases: Sequence[HeldOut], *, exclusive: bool, patients: Sequence[str] | None = None
) -> list[Tensor]:
    """For each case offsets that come from other patients' cases only.

    Args:
        cases: two at least.
        exclusive: as for ``fit_offsets``.
        patients: of each case; None: each its own. Where all are one patient's, the cases are told apart.
    """
    if patients is None or len(set(patients)) == 1:
        patients = [str(number) for number in range(len(cases))]
    order = list(dict.fromkeys(patients))
    parts = np.array_split(np.arange(len(order)), min(GROUPS, len(order)))
    group_of = {order[member]: group for group, members in enumerate(parts) for member in members}
    groups = [group_of[patient] for patient in patients]
    others = {group: [case for case, its in zip(cases, groups, strict=True) if its != group] for group in set(groups)}
    fitted = {group: fit_offsets(without, exclusive=exclusive) for group, without in others.items()}
    return [fitted[group] for group in groups]


def calibrate(
    cases: Sequence[HeldOut],
    predict: Predict,
    *,
    exclusive: bool,
    first_structure: int,
    patients: Sequence[str] | None = None,
) -> Calibration:
    """Offsets from all cases, and whether such offsets help patients that they do not come from.

    Args:
        cases: two at least.
        predict: for the Dice; of regions later ones overwrite earlier ones, so that more than a sign counts.
        exclusive: as for ``fit_offsets``.
        first_structure: the first channel that is a structure, 1 behind background, else 0.
        patients: as for ``crossed_offsets``.
    """
    none = torch.zeros(cases[0].logits.shape[1], dtype=torch.float64)
    crossed = crossed_offsets(cases, exclusive=exclusive, patients=patients)
    before = [stroke_dice(case, none, predict) for case in cases]
    after = [stroke_dice(case, offsets, predict) for case, offsets in zip(cases, crossed, strict=True)]
    was, is_now = _mean_over_cases(before), _mean_over_cases(after)
    gains = (is_now - was)[first_structure:]
    helps = bool(np.nansum(gains) > 0)
    return Calibration(fit_offsets(cases, exclusive=exclusive), was, is_now, helps)


def _mean_over_cases(dice: Sequence[np.ndarray]) -> np.ndarray:
    """(C,) mean over the cases that have one; NaN where none has."""
    known = np.isfinite(dice).sum(0)
    return np.where(known > 0, np.nansum(dice, 0) / np.maximum(known, 1), np.nan)
