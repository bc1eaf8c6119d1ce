"""Offsets from held-out voxels, against plain loops and an optimiser of its own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from nnunetv2_pclmix.calibration import (
    GROUPS,
    PRIOR,
    HeldOut,
    calibrate,
    crossed_offsets,
    fit_offsets,
    stroke_dice,
)


def one_hot(labels: np.ndarray, classes: int) -> torch.Tensor:
    return torch.from_numpy(labels[:, None] == np.arange(classes))


def best(logits: torch.Tensor) -> torch.Tensor:
    return one_hot(logits.argmax(1).numpy(), logits.shape[1])


def case_of(rng: np.random.Generator, shift: np.ndarray, voxels: int, scale: float = 0.5) -> HeldOut:
    """Logits, and classes that they are wrong about by ``shift``."""
    logits = rng.normal(0, 4, (voxels, len(shift)))
    noise = rng.gumbel(size=logits.shape)
    labels = (scale * (logits + shift) + noise).argmax(1)
    return HeldOut(torch.from_numpy(logits), one_hot(labels, len(shift)))


def regions_of(rng: np.random.Generator, shift: np.ndarray, voxels: int) -> HeldOut:
    logits = rng.normal(0, 4, (voxels, len(shift)))
    chance = 1 / (1 + np.exp(-0.5 * (logits + shift)))
    return HeldOut(torch.from_numpy(logits), torch.from_numpy(rng.random(logits.shape) < chance))


def loss_in_loops(values: np.ndarray, cases: list[HeldOut], exclusive: bool) -> float:
    """Negative log-likelihood, each case counting the same, and the prior."""
    *bias, scale = values
    total = 0.0
    for case in cases:
        of_case = 0.0
        for logits, members in zip(case.logits.tolist(), case.members.tolist(), strict=True):
            scores = [scale * x + b for x, b in zip(logits, bias, strict=True)]
            if exclusive:
                largest = max(scores)
                normaliser = largest + math.log(sum(math.exp(s - largest) for s in scores))
                of_case += normaliser - scores[members.index(True)]
            else:
                for score, inside in zip(scores, members, strict=True):
                    of_case += math.log1p(math.exp(-score if inside else score))
        total += of_case / len(case.logits)
    return total / len(cases) + PRIOR / len(cases) * (sum(b * b for b in bias) + (scale - 1) ** 2)


@pytest.mark.parametrize("exclusive", [True, False])
def test_the_optimum_is_that_of_plain_loops(rng: np.random.Generator, exclusive: bool) -> None:
    shift = np.array([0.0, 2.0, -1.0])
    make = case_of if exclusive else regions_of
    cases = [make(rng, shift, voxels) for voxels in (40, 15, 60)]
    best = minimize(loss_in_loops, [0.0, 0.0, 0.0, 1.0], (cases, exclusive), tol=1e-10).x
    expected = best[:-1] / best[-1]
    if exclusive:
        expected -= expected[0]
    assert fit_offsets(cases, exclusive=exclusive).numpy() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_shift_is_found_again(rng: np.random.Generator, exclusive: bool) -> None:
    shift = np.array([0.0, 3.0, -2.0, 1.0])
    make = case_of if exclusive else regions_of
    offsets = fit_offsets([make(rng, shift, 4000) for _ in range(5)], exclusive=exclusive)
    assert offsets.numpy() == pytest.approx(shift, abs=0.3)
    assert offsets.dtype == torch.float64


def test_each_case_counts_the_same(rng: np.random.Generator) -> None:
    few, many = case_of(rng, np.array([0.0, 1.0]), 50), case_of(rng, np.array([0.0, -2.0]), 80)
    tripled = HeldOut(many.logits.repeat(3, 1), many.members.repeat(3, 1))
    expected = fit_offsets([few, many], exclusive=True)
    assert fit_offsets([few, tripled], exclusive=True).numpy() == pytest.approx(expected.numpy(), abs=1e-6)


def test_few_cases_say_less_than_many(rng: np.random.Generator) -> None:
    case = case_of(rng, np.array([0.0, 3.0]), 300)
    one, two, many = (float(fit_offsets([case] * n, exclusive=True)[1]) for n in (1, 2, 50))
    assert 0 < one < two < many


def test_classes_may_come_in_any_order(rng: np.random.Generator) -> None:
    cases = [case_of(rng, np.array([0.0, 1.0, -1.0]), 200) for _ in range(2)]
    offsets = fit_offsets(cases, exclusive=True)
    order = [2, 0, 1]
    turned = fit_offsets([HeldOut(c.logits[:, order], c.members[:, order]) for c in cases], exclusive=True)
    assert (turned - turned[1]).numpy() == pytest.approx((offsets - offsets[0])[order].numpy(), abs=1e-6)


def test_what_no_stroke_speaks_of_stays(rng: np.random.Generator) -> None:
    logits = torch.from_numpy(rng.normal(size=(30, 4)))
    labels = rng.integers(0, 2, 30) * 2  # classes 0 and 2
    offsets = fit_offsets([HeldOut(logits, one_hot(labels, 4))], exclusive=True)
    assert offsets[[0, 1, 3]].tolist() == [0, 0, 0]
    assert offsets[2] != 0
    for alone in (np.zeros(30, int), np.full(30, 3)):
        assert not fit_offsets([HeldOut(logits, one_hot(alone, 4))], exclusive=True).any()
    members = torch.stack([torch.ones(30), torch.zeros(30), torch.from_numpy(labels) > 0], 1).bool()
    offsets = fit_offsets([HeldOut(logits[:, :3], members)], exclusive=False)
    assert offsets[:2].tolist() == [0, 0]
    assert offsets[2] != 0


def test_without_background_nothing_is_told(rng: np.random.Generator) -> None:
    case = case_of(rng, np.array([0.0, 1.0, 2.0]), 300)
    kept = ~case.members[:, 0]
    assert fit_offsets([HeldOut(case.logits[kept], case.members[kept])] * 2, exclusive=True).tolist() == [0, 0, 0]


def test_where_nothing_is_wrong_nothing_moves_far(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 3, 300)
    members = one_hot(labels, 3)
    right = HeldOut(20 * members.double(), members)
    assert fit_offsets([right], exclusive=True).abs().max() < 0.1
    huge = HeldOut(1e4 * members.double(), members)
    assert torch.isfinite(fit_offsets([huge], exclusive=True)).all()
    one = HeldOut(torch.zeros(1, 3, dtype=torch.float64), members[:1])
    assert not fit_offsets([one], exclusive=True).any()


def test_logits_that_say_the_opposite_give_no_offsets(rng: np.random.Generator) -> None:
    case = case_of(rng, np.array([0.0, 1.0, -1.0]), 400)
    assert not fit_offsets([HeldOut(-case.logits, case.members)], exclusive=True).any()


@pytest.mark.parametrize("exclusive", [True, False])
def test_dice_of_labelled_voxels(rng: np.random.Generator, exclusive: bool) -> None:
    make = case_of if exclusive else regions_of
    case = make(rng, np.array([0.0, 1.0, -1.0]), 60)
    offsets = torch.tensor([0.0, 1.5, -9.0], dtype=torch.float64)
    found = stroke_dice(case, offsets, best if exclusive else lambda logits: logits > 0)
    for channel in range(3):
        common = predicted = drawn = 0
        for logits, members in zip(case.logits.tolist(), case.members.tolist(), strict=True):
            moved = [x + o for x, o in zip(logits, offsets.tolist(), strict=True)]
            inside = moved.index(max(moved)) == channel if exclusive else moved[channel] > 0
            common += inside and members[channel]
            predicted += inside
            drawn += members[channel]
        assert found[channel] == pytest.approx(2 * common / (predicted + drawn), abs=1e-12)
    never = HeldOut(torch.tensor([[1.0, 0.0]]).double(), torch.tensor([[True, False]]))
    assert np.isnan(stroke_dice(never, torch.zeros(2), best)[1])


def test_no_case_has_a_part_in_its_own_offsets(rng: np.random.Generator) -> None:
    cases = [case_of(rng, np.array([0.0, 1.0]), 40) for _ in range(2 * GROUPS)]
    offsets = crossed_offsets(cases, exclusive=True)
    other = [*cases[:2], *[case_of(rng, np.array([0.0, -3.0]), 40) for _ in range(2)], *cases[4:]]
    changed = crossed_offsets(other, exclusive=True)
    same = [bool(torch.equal(a, b)) for a, b in zip(offsets, changed, strict=True)]
    assert same == [False, False, True, True] + [False] * (2 * GROUPS - 4)
    assert [len(crossed_offsets(cases[:n], exclusive=True)) for n in (2, 3, 7)] == [2, 3, 7]


def test_no_patient_has_a_part_in_its_own_offsets(rng: np.random.Generator) -> None:
    patients = ["b", "a", "b", "c", "a", "a", "d", "d", "e", "f", "g"]
    cases = [case_of(rng, (0.0, 1.0, 2.0), 50) for _ in patients]
    offsets = crossed_offsets(cases, exclusive=True, patients=patients)
    for patient in "abcdefg":
        mine = [number for number, other in enumerate(patients) if other == patient]
        changed = [HeldOut(-c.logits, c.members) if n in mine else c for n, c in enumerate(cases)]
        again = crossed_offsets(changed, exclusive=True, patients=patients)
        assert all(torch.equal(again[n], offsets[n]) for n in mine)
    pairs = crossed_offsets(cases[:10], exclusive=True, patients=[str(n // 2) for n in range(10)])
    assert all(torch.equal(a, b) for a, b in zip(pairs, crossed_offsets(cases[:10], exclusive=True), strict=True))
    alone = crossed_offsets(cases[:4], exclusive=True, patients=["x"] * 4)
    assert all(torch.equal(a, b) for a, b in zip(alone, crossed_offsets(cases[:4], exclusive=True), strict=True))


def test_it_helps_where_the_network_is_wrong_and_says_so_where_it_is_not(rng: np.random.Generator) -> None:
    shift = np.array([0.0, 4.0, -3.0])
    wrong = calibrate([case_of(rng, shift, 300) for _ in range(6)], best, exclusive=True, first_structure=1)
    assert wrong.helps
    assert (wrong.after > wrong.before)[1:].all()
    members = one_hot(rng.integers(0, 3, 90), 3)
    right = calibrate([HeldOut(9 * members.double(), members)] * 4, best, exclusive=True, first_structure=1)
    assert not right.helps
    assert right.before.tolist() == right.after.tolist() == [1, 1, 1]


def test_a_structure_nobody_drew_has_no_dice(rng: np.random.Generator) -> None:
    logits = torch.from_numpy(rng.normal(size=(30, 3)))
    logits[:, 2] = -50
    cases = [HeldOut(logits, one_hot(rng.integers(0, 2, 30), 3)) for _ in range(3)]
    result = calibrate(cases, best, exclusive=True, first_structure=1)
    assert np.isnan(result.before[2])
    assert np.isnan(result.after[2])
    assert np.isfinite(result.before[:2]).all()
