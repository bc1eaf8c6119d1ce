from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from scribble_conversion.drawing import background
from scribble_conversion.drawing.curves import STEP, values_at, within
from scribble_conversion.drawing.hand import COMPACT_KINDS, ELONGATED_KINDS, Hand
from scribble_conversion.drawing.interior import _rays
from scribble_conversion.drawing.raster import depth_of
from scribble_conversion.drawing.skeleton import NEIGHBOURS
from scribble_conversion.drawing.slices import SPECK, Pen, scribble_slice
from tests.scribble_conversion.drawing.shapes import UNLABELLED, heart, label_maps

PENS = st.builds(
    Pen,
    fraction=st.floats(0.01, 1),
    width=st.floats(1, 7),
    border=st.booleans(),
    elsewhere=st.integers(0, 3),
)


def _scribble(labels: np.ndarray, seed: int = 0, pen: Pen | None = None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    hand = Hand.draw(rng)
    return scribble_slice(labels, np.ones(labels.shape, dtype=bool), UNLABELLED, pen or Pen(), hand, rng)


@given(label_maps(), st.integers(0, 2**32), PENS)
@settings(max_examples=150, deadline=None)
def test_scribbles_never_contradict_and_miss_nothing(labels: np.ndarray, seed: int, pen: Pen) -> None:
    scribbles = _scribble(labels, seed, pen)
    drawn = scribbles != UNLABELLED
    assert np.array_equal(scribbles[drawn], labels[drawn])
    assert set(np.unique(labels)) <= set(np.unique(scribbles))
    for value in np.unique(labels[labels > 0]):
        components, number = ndimage.label(labels == value, NEIGHBOURS)
        for component in (components == index for index in range(1, number + 1)):
            assert drawn[component].any() or component.sum() < SPECK


@given(label_maps(), st.integers(0, 2**32), st.floats(0.01, 1), st.floats(0.01, 1))
@settings(max_examples=60, deadline=None)
def test_less_is_part_of_more(labels: np.ndarray, seed: int, one: float, other: float) -> None:
    less, more = (_scribble(labels, seed, Pen(fraction=value)) for value in sorted((one, other)))
    drawn = less != UNLABELLED
    assert np.array_equal(more[drawn], less[drawn])


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_the_amount_goes_with_the_fraction(fraction: float) -> None:
    whole = part = 0
    for seed in range(12):
        whole += np.count_nonzero(_scribble(heart(), seed) != UNLABELLED)
        part += np.count_nonzero(_scribble(heart(), seed, Pen(fraction=fraction)) != UNLABELLED)
    assert part / whole == pytest.approx(fraction, rel=0.1, abs=0.02)


def test_the_same_seed_draws_the_same_and_another_does_not() -> None:
    assert np.array_equal(_scribble(heart(), 5), _scribble(heart(), 5))
    assert not np.array_equal(_scribble(heart(), 5), _scribble(heart(), 6))


def test_a_wider_pen_draws_wider_but_does_not_fill_thin_structures() -> None:
    narrow, wide = (_scribble(heart(), pen=Pen(width=width)) for width in (1, 5))
    assert np.count_nonzero(wide == 3) > 2 * np.count_nonzero(narrow == 3)
    bar = np.zeros((20, 60), dtype=np.uint8)
    bar[8:13, 5:55] = 1
    drawn = _scribble(bar, pen=Pen(width=40)) == 1
    assert 0 < drawn.sum() < 0.8 * bar.sum()


@pytest.mark.parametrize("compact", COMPACT_KINDS)
@pytest.mark.parametrize("elongated", ELONGATED_KINDS)
def test_every_kind_of_stroke_reaches_through_its_structure(compact: str, elongated: str) -> None:
    hand = Hand(compact=compact, elongated=elongated, distance=0.3, turns=1.0, drift=0.0)
    labels = heart()
    for seed in range(5):
        rng = np.random.default_rng(seed)
        scribbles = scribble_slice(labels, labels >= 0, UNLABELLED, Pen(), hand, rng)
        for value in (1, 3):
            extents = [np.ptp(np.argwhere(array == value), axis=0).max() for array in (scribbles, labels)]
            assert extents[0] > 0.3 * extents[1]
            assert np.count_nonzero(scribbles == value) < 0.5 * np.count_nonzero(labels == value)


def test_borders_are_drawn_only_on_request() -> None:
    labels = heart()
    for value in (1, 2, 3):
        rim = (labels == value) & (depth_of(labels == value) <= 2)
        plain, bordered = (_scribble(labels, 3, Pen(border=border)) for border in (False, True))
        assert np.count_nonzero(bordered[rim] == value) > np.count_nonzero(plain[rim] == value) + 5


def test_background_goes_around_the_structures_and_elsewhere() -> None:
    labels = heart()
    rows, columns = np.nonzero(labels)
    away = ndimage.distance_transform_edt(labels == 0)
    for seed in range(5):
        drawn = _scribble(labels, seed, Pen(elsewhere=0)) == 0
        angles = np.arctan2(*(np.argwhere(drawn) - [rows.mean(), columns.mean()]).T)
        assert len(np.unique((angles // (np.pi / 6)).astype(int))) >= 7
        assert away[drawn].min() >= 2
        assert np.median(away[drawn]) < 25
        more = _scribble(labels, seed, Pen(elsewhere=3)) == 0
        assert more.sum() > drawn.sum()


@pytest.mark.parametrize("seed", range(4))
def test_far_curves_are_much_the_same_found_on_blocks_of_pixels(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    away = depth_of(np.kron(heart(), np.ones((4, 4), dtype=np.uint8)) == 0)
    figures = []
    for fine in (1e9, 48, 6):
        monkeypatch.setattr(background, "_FINE", fine)
        rng = np.random.default_rng(seed)
        hand = Hand.draw(rng)
        curves = background.curves_around(away, hand, rng)
        assert all(within(curve, away >= background.CLEARANCE).all() for curve in curves)
        points = np.concatenate(curves)
        figures.append([len(points), *np.quantile(values_at(away, points), [0.1, 0.5, 0.9])])
    np.testing.assert_allclose(figures[1], figures[0], rtol=0.1)
    np.testing.assert_allclose(figures[2], figures[0], rtol=0.2)


def test_large_slices_are_not_filtered_pixel_by_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    filtered = []
    gaussian = ndimage.gaussian_filter

    def spy(array: np.ndarray, sigma: float) -> np.ndarray:
        filtered.append((array.size, sigma))
        return gaussian(array, sigma)

    monkeypatch.setattr(ndimage, "gaussian_filter", spy)
    rows, columns = np.ogrid[:1200, :1200]
    away = depth_of(np.hypot(rows - 600, columns - 600) > 360)
    background.curves_around(away, replace(Hand.draw(np.random.default_rng(0)), distance=0.5), np.random.default_rng(0))
    [(size, sigma)] = filtered
    assert size < away.size
    assert sigma <= 0.6 * 48


def test_free_strokes_begin_in_the_body() -> None:
    labels, body = np.zeros((80, 80), dtype=np.uint8), np.zeros((80, 80), dtype=bool)
    body[20:40, 30:60] = True
    rng = np.random.default_rng(0)
    scribbles = scribble_slice(labels, body, UNLABELLED, Pen(fraction=1), Hand.draw(rng), rng)
    strokes, number = ndimage.label(scribbles == 0, NEIGHBOURS)
    assert all(body[strokes == index].any() for index in range(1, number + 1))
    assert number >= 1


def test_background_enclosed_by_a_structure_is_scribbled() -> None:
    rows, columns = np.indices((60, 60))
    away = np.hypot(rows - 30, columns - 30)
    labels = ((away > 10) & (away < 18)).astype(np.uint8)
    assert (_scribble(labels)[away < 10] == 0).any()


def test_a_speck_does_not_make_a_lump_a_ring() -> None:
    rows, columns = np.indices((60, 60))
    labels = (np.hypot(rows - 30, columns - 30) < 18).astype(np.uint8)
    labels[26:28, 33] = 2
    for seed in range(10):
        drawn = _scribble(labels, seed) == 1
        assert np.ptp(np.argwhere(drawn), axis=0).max() > 10


def test_nothing_is_drawn_where_the_dense_label_is_unlabelled() -> None:
    labels = heart()
    labels[:, 55:] = UNLABELLED
    scribbles = _scribble(labels)
    assert (scribbles[:, 55:] == UNLABELLED).all()
    assert set(np.unique(scribbles)) == {0, 1, 2, 3, UNLABELLED}


def test_rays_end_where_they_leave() -> None:
    rng = np.random.default_rng(0)
    mask = ndimage.binary_opening(rng.random((90, 70)) < 0.9)
    points = rng.uniform(-2, 90, (40, 2))
    angles = rng.uniform(0, 2 * np.pi, 40)
    directions = np.column_stack([np.sin(angles), np.cos(angles)])
    for point, direction, reach in zip(points, directions, _rays(points, directions, mask), strict=True):
        steps = np.arange(0, 160, STEP)
        outside = [step for step in steps if not within((point + step * direction)[None], mask)[0]]
        assert reach == outside[0]
    assert _rays(np.full((1, 2), 5.0), np.zeros((1, 2)), mask | True).tolist() == [159.5]
