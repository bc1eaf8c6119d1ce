from __future__ import annotations

import numpy as np
import pytest

from scribble_conversion.drawing.slices import Pen
from scribble_conversion.drawing.volume import Plan, scribble_volume
from tests.scribble_conversion.drawing.shapes import UNLABELLED, blobs


def _volume() -> np.ndarray:
    """Structures in slices 2 to 6 of 9; class 2 in slice 5 only."""
    labels = np.zeros((9, 30, 32), dtype=np.uint8)
    labels[2:7, 8:20, 9:25] = 1
    labels[5, 22:26, 5:9] = 2
    return labels


def _scribble(labels: np.ndarray, plan: Plan, seed: int = 0, axis: int = 0) -> np.ndarray:
    image = np.random.default_rng(1).normal(100, 10, labels.shape).astype(np.float32)
    return scribble_volume(labels, image, axis, UNLABELLED, plan, np.random.default_rng(seed))


def _annotated(scribbles: np.ndarray, axis: int = 0) -> list[int]:
    drawn = (scribbles != UNLABELLED).any(axis=tuple(other for other in range(3) if other != axis))
    return list(map(int, np.flatnonzero(drawn)))


def test_every_slice_gets_something() -> None:
    assert _annotated(_scribble(_volume(), Plan())) == list(range(9))


def test_only_slices_with_structures() -> None:
    assert _annotated(_scribble(_volume(), Plan(empty_slices=False))) == [2, 3, 4, 5, 6]


def test_every_third_slice_meets_every_class() -> None:
    for seed in range(4):
        scribbles = _scribble(_volume(), Plan(every=3), seed)
        assert _annotated(scribbles) == [2, 5, 8]
        assert set(np.unique(scribbles)) == {0, 1, 2, UNLABELLED}
    assert _annotated(_scribble(_volume(), Plan(every=100))) == [5]


def test_structures_are_met_before_background() -> None:
    labels = np.zeros((2, 20, 20), dtype=np.uint8)
    labels[1] = 1  # filled, without any background
    for seed in range(6):
        assert _annotated(_scribble(labels, Plan(every=2, empty_slices=False), seed)) == [1]


def test_without_any_structure_there_is_background() -> None:
    scribbles = _scribble(np.zeros((3, 20, 20), dtype=np.uint8), Plan(empty_slices=False))
    assert set(np.unique(scribbles)) == {0, UNLABELLED}


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_strokes_lie_in_slices_of_the_axis(axis: int) -> None:
    labels = np.moveaxis(_volume(), 0, axis)
    scribbles = _scribble(labels, Plan(empty_slices=False), axis=axis)
    assert scribbles.shape == labels.shape
    assert _annotated(scribbles, axis) == [2, 3, 4, 5, 6]


def test_seeds() -> None:
    labels = blobs(3, (6, 40, 40))
    one, again, other = (_scribble(labels, Plan(), seed) for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    drawn = other != UNLABELLED
    assert np.array_equal(other[drawn], labels[drawn])


def test_less_is_part_of_more_slice_by_slice() -> None:
    labels = blobs(3, (6, 40, 40))
    less, more = (_scribble(labels, Plan(pen=Pen(fraction=fraction))) for fraction in (0.25, 1.0))
    drawn = less != UNLABELLED
    assert np.array_equal(more[drawn], less[drawn])
    assert drawn.sum() < 0.5 * (more != UNLABELLED).sum()
