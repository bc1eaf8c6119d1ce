from __future__ import annotations

import math

import numpy as np
import pytest

from nnunetv2_pclmix.evaluation.metrics import structure_scores
from tests.evaluation import oracle

SPACING = (5.0, 1.5, 0.8)


def box(shape: tuple[int, ...], *bounds: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(*bound) for bound in bounds)] = True
    return mask


SHAPE = (5, 9, 11)
PAIRS = {
    "identical": (box(SHAPE, (1, 4), (2, 7), (3, 8)), box(SHAPE, (1, 4), (2, 7), (3, 8))),
    "shifted": (box(SHAPE, (1, 4), (2, 7), (3, 8)), box(SHAPE, (0, 3), (3, 8), (3, 9))),
    "disjoint": (box(SHAPE, (0, 1), (0, 2), (0, 2)), box(SHAPE, (3, 5), (6, 9), (8, 11))),
    "single voxels": (box(SHAPE, (0, 1), (0, 1), (0, 1)), box(SHAPE, (4, 5), (8, 9), (10, 11))),
    "single voxel in a box": (box(SHAPE, (2, 3), (4, 5), (5, 6)), box(SHAPE, (1, 4), (2, 7), (3, 8))),
    "whole image": (np.ones(SHAPE, dtype=bool), box(SHAPE, (1, 4), (2, 7), (3, 8))),
}


@pytest.mark.parametrize("name", PAIRS)
def test_structure_agrees_with_the_definitions(name: str) -> None:
    prediction, reference = PAIRS[name]
    scores = structure_scores(prediction, reference, SPACING)
    assert scores.dice == pytest.approx(oracle.dice(prediction, reference))
    assert scores.hd95_mm == pytest.approx(oracle.hd95(prediction, reference, SPACING), rel=1e-5)
    assert scores.hd95_voxels == pytest.approx(oracle.hd95(prediction, reference, (1, 1, 1)), rel=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_of_one_slice_is_judged_as_that_slice(axis: int) -> None:
    rows, columns = np.ogrid[:60, :70]
    discs = [(rows - 30) ** 2 + (columns - centre) ** 2 < 400 for centre in (28, 36)]
    flat = structure_scores(*discs, (1.5, 0.8))
    assert flat.hd95_mm > 6
    spacing = [1.5, 0.8]
    spacing.insert(axis, 9.0)
    assert structure_scores(*(np.expand_dims(disc, axis) for disc in discs), spacing) == flat
    line = np.zeros((1, 1, 9), bool)
    line[..., 2:5] = True
    assert structure_scores(line, np.roll(line, 3, 2), (1, 1, 2)).hd95_mm == pytest.approx(5.8)


@pytest.mark.parametrize("seed", range(6))
def test_random_shapes_agree_with_the_definitions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (4, 7, 6) if seed % 2 else (9, 12)
    spacing = tuple(rng.uniform(0.5, 6.0, len(shape)))
    prediction, reference = rng.random(shape) < 0.3, rng.random(shape) < 0.1
    scores = structure_scores(prediction, reference, spacing)
    assert scores.dice == pytest.approx(oracle.dice(prediction, reference))
    assert scores.hd95_mm == pytest.approx(oracle.hd95(prediction, reference, spacing), rel=1e-5)
    assert (scores.predicted_voxels, scores.reference_voxels) == (prediction.sum(), reference.sum())


def test_distance_is_the_larger_direction() -> None:
    prediction, reference = PAIRS["single voxel in a box"]
    there = structure_scores(prediction, reference, SPACING)
    back = structure_scores(reference, prediction, SPACING)
    assert there.hd95_mm == back.hd95_mm > 0


def test_structure_in_neither_volume_is_not_judged() -> None:
    nothing = np.zeros(SHAPE, dtype=bool)
    scores = structure_scores(nothing, nothing, SPACING)
    assert scores.empty_in_both
    assert all(math.isnan(value) for value in (scores.dice, scores.hd95_mm, scores.hd95_voxels))


@pytest.mark.parametrize("missed", [True, False])
def test_structure_in_one_volume_costs_the_diagonal(missed: bool) -> None:
    nothing, something = np.zeros((155, 240, 240), dtype=bool), box((155, 240, 240), (3, 5), (4, 6), (5, 7))
    pair = (nothing, something) if missed else (something, nothing)
    scores = structure_scores(*pair, (1.0, 1.0, 2.0))
    assert (scores.missed, scores.invented) == (missed, not missed)
    assert scores.dice == 0.0
    assert scores.hd95_voxels == pytest.approx(373.13, abs=0.01)
    assert scores.hd95_mm == pytest.approx(math.sqrt(155**2 + 240**2 + 480**2))


def test_unequal_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(3, 2\)"):
        structure_scores(np.zeros((2, 3), bool), np.zeros((3, 2), bool), (1.0, 1.0))
    with pytest.raises(ValueError, match="spacing of 2 values"):
        structure_scores(np.zeros((2, 3), bool), np.zeros((2, 3), bool), (1.0, 1.0, 1.0))
