"""Lengths and widths of strokes whose lengths and widths are known."""

from __future__ import annotations

import numpy as np
import pytest

from scribble_conversion.checking.labels import label_facts
from scribble_conversion.checking.resampling import lost_strokes
from scribble_conversion.checking.strokes import measure_strokes


def plane() -> np.ndarray:
    return np.zeros((1, 60, 60), dtype=np.uint8)


@pytest.mark.parametrize("wide", [1, 3, 5])
@pytest.mark.parametrize("spacing", [(9.0, 1.0, 1.0), (9.0, 0.5, 2.0)])
def test_a_straight_stroke(wide: int, spacing: tuple[float, ...]) -> None:
    label = plane()
    label[0, 20 : 20 + wide, 5:55] = 1
    [stroke] = measure_strokes(label, [1], 0, spacing)
    assert stroke.voxels == 50 * wide
    # A skeleton may lose up to half a width at either end.
    assert stroke.length == pytest.approx(50 * spacing[2], abs=wide * spacing[2])
    assert stroke.width == pytest.approx(wide * spacing[1], rel=0.12)
    assert stroke.pixels_wide == pytest.approx(wide, rel=0.12)


def test_a_diagonal_stroke_is_longer_than_its_pixels_are_many() -> None:
    label = plane()
    label[0, np.arange(10, 50), np.arange(10, 50)] = 1
    [stroke] = measure_strokes(label, [1], 0, (9.0, 1.0, 1.0))
    assert stroke.length == pytest.approx(39 * np.sqrt(2) + 1)


def test_a_circle() -> None:
    y, x = np.mgrid[:60, :60] - 30
    label = (np.abs(np.hypot(y, x) - 20) < 1.5)[None].astype(np.uint8)
    [stroke] = measure_strokes(label, [1], 0, (9.0, 1.0, 1.0))
    assert stroke.length == pytest.approx(2 * np.pi * 20, rel=0.08)
    assert stroke.width == pytest.approx(3, rel=0.1)


def test_strokes_are_told_apart_by_slice_class_and_touch() -> None:
    label = np.zeros((3, 20, 20), dtype=np.uint8)
    label[0, 2, 2:9] = 1
    label[0, 10, 2:9] = 1
    label[0, 11, 9] = 1  # touches the one above at a corner
    label[0, 12, 2:9] = 2
    label[2, 2, 2:9] = 1
    found = [(stroke.index, stroke.value, stroke.voxels) for stroke in measure_strokes(label, [1, 2], 0, (1, 1, 1))]
    assert found == [(0, 1, 7), (0, 1, 8), (0, 2, 7), (2, 1, 7)]


def test_slices_along_another_axis() -> None:
    label = np.zeros((20, 4, 20), dtype=np.uint8)
    label[3:17, 1, 5] = 1
    [stroke] = measure_strokes(label, [1], 1, (2.0, 9.0, 1.0))
    assert (stroke.index, stroke.length) == (1, pytest.approx(28, abs=1))


def test_lost_strokes_are_counted_slice_by_slice() -> None:
    before = np.zeros((4, 40, 40), dtype=np.uint8)
    before[:, 11, 5:30] = 1
    before[:, 30, 5:30] = 1
    assert lost_strokes(before, before, 1, 0) == (8, 0)
    after = before.copy()
    after[1, 11] = 0
    assert lost_strokes(before, after, 1, 0) == (8, 1)
    assert lost_strokes(before, before[:, ::2, ::2], 1, 0) == (8, 4)  # odd rows are gone
    assert lost_strokes(before, before, 2, 0) == (0, 0)


def test_strokes_go_through_slices_whose_number_changes() -> None:
    before = np.zeros((4, 40, 40), dtype=np.uint8)
    before[:, 11, 5:30] = 1
    assert lost_strokes(before, before[::2], 1, 0) == (1, 0)
    assert lost_strokes(before, np.zeros_like(before[::2]), 1, 0) == (1, 1)


def test_label_facts_of_two_and_three_axes() -> None:
    label, dense = np.uint8([[0, 4], [4, 1]]), np.uint8([[0, 0], [2, 3]])
    for facts in (
        label_facts(label, 4, 5, 0, dense),
        label_facts(label[None], 4, 5, 0, dense[None]),
        label_facts(label[:, None], 4, 5, 1, dense[:, None]),
    ):
        assert facts.voxels == (1, 1, 0, 0, 2)  # labels that are absent are counted, too
        assert (facts.contradicting, facts.compared) == (1, 2)
        assert facts.present is not None
        assert facts.present.tolist() == [[True, False, True, True, False]]
    assert label_facts(label, 4, 5).present is None
    assert label_facts(dense, None, 4).voxels == (2, 0, 1, 1)
