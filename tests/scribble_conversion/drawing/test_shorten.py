from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from scribble_conversion.drawing.shorten import shorten_stroke, shorten_volume
from scribble_conversion.drawing.skeleton import NEIGHBOURS
from tests.scribble_conversion.drawing.shapes import UNLABELLED, blobs


def _strokes(seed: int) -> np.ndarray:
    """Anything a user may call scribbles: one to three slices of random regions on unlabelled ground."""
    shape = tuple(np.random.default_rng(seed).integers(1, [4, 40, 40], endpoint=True))
    labels = blobs(seed, shape)
    return np.where(labels == labels.max(), UNLABELLED, labels).astype(np.uint8)


@given(st.integers(0, 10**6), st.integers(0, 2**32), st.floats(0.01, 1))
@settings(max_examples=80, deadline=None)
def test_one_piece_of_every_stroke_is_kept(seed: int, drawing_seed: int, fraction: float) -> None:
    whole = _strokes(seed)
    kept = shorten_volume(whole, UNLABELLED, fraction, 0, np.random.default_rng(drawing_seed))
    drawn = kept != UNLABELLED
    assert np.array_equal(kept[drawn], whole[drawn])
    for plane, target in zip(whole, kept, strict=True):
        for value in np.unique(plane[plane != UNLABELLED]):
            strokes, number = ndimage.label(plane == value, NEIGHBOURS)
            for stroke in (strokes == index for index in range(1, number + 1)):
                piece = stroke & (target == value)
                assert ndimage.label(piece, NEIGHBOURS)[1] == 1
                assert piece.sum() <= max(1, round(fraction * stroke.sum()))


@given(st.integers(0, 10**6), st.floats(0.01, 1), st.floats(0.01, 1))
@settings(max_examples=40, deadline=None)
def test_less_is_part_of_more(seed: int, one: float, other: float) -> None:
    less, more = (
        shorten_volume(_strokes(seed), UNLABELLED, value, 0, np.random.default_rng(seed)) != UNLABELLED
        for value in sorted((one, other))
    )
    assert (more | ~less).all()


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 1.0])
def test_the_length_goes_with_the_fraction_and_the_width_stays(fraction: float) -> None:
    angles = np.linspace(0, 5, 2000)
    stroke = np.zeros((120, 120), dtype=bool)
    stroke[tuple(np.round(60 + 45 * np.stack([np.sin(angles), np.cos(angles)])).astype(int))] = True
    stroke = ndimage.binary_dilation(stroke, NEIGHBOURS, iterations=2)
    kept = shorten_stroke(stroke, fraction, np.random.default_rng(0))
    assert kept.sum() == pytest.approx(fraction * stroke.sum(), rel=0.02)
    covered = np.unique((np.arctan2(*(np.argwhere(kept) - 60).T) // 0.05).astype(int))
    whole = np.unique((np.arctan2(*(np.argwhere(stroke) - 60).T) // 0.05).astype(int))
    assert len(covered) / len(whole) == pytest.approx(fraction, abs=0.05)
    assert ndimage.distance_transform_edt(kept).max() == ndimage.distance_transform_edt(stroke).max()


def test_a_whole_stays_whole_and_a_dot_a_dot() -> None:
    whole = _strokes(4)
    assert np.array_equal(shorten_volume(whole, UNLABELLED, 1.0, 0, np.random.default_rng(0)), whole)
    dot = np.full((1, 5, 5), UNLABELLED, dtype=np.uint8)
    dot[0, 2, 3] = 0
    assert np.array_equal(shorten_volume(dot, UNLABELLED, 0.01, 0, np.random.default_rng(0)), dot)


def test_strokes_are_cut_in_the_slices_of_the_axis() -> None:
    line = np.full((30, 4, 30), UNLABELLED, dtype=np.uint8)
    line[5:25, 1, 10], line[8, 3, 2:22] = 1, 0
    kept = shorten_volume(line, UNLABELLED, 0.5, 1, np.random.default_rng(0))
    assert [np.count_nonzero(kept == value) for value in (0, 1)] == [10, 10]


def test_seeds() -> None:
    whole = _strokes(8)
    one, again, other = (shorten_volume(whole, UNLABELLED, 0.3, 0, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
