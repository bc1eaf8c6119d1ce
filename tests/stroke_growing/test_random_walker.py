import itertools

import numpy as np
import pytest

from nnunetv2_pclmix.stroke_growing import random_walker
from nnunetv2_pclmix.stroke_growing.random_walker import grow_strokes

IGNORE = 9
HOW = {"ignore_label": IGNORE, "beta": 50.0, "certainty": 0.7}


def _grow(image, strokes, **how):
    return grow_strokes(np.asarray(image, np.float32)[None], np.asarray(strokes), **{**HOW, **how})


def _walker_oracle(image, strokes, beta):
    """Probability of each label at each voxel: the mean of the neighbours', weighted by how alike they are."""
    value = (image - image.mean()) / image.std()
    voxels = list(np.ndindex(image.shape))
    number = {v: n for n, v in enumerate(voxels)}
    system = np.zeros((len(voxels), len(voxels)))
    for v, axis, step in itertools.product(voxels, range(image.ndim), (-1, 1)):
        w = tuple(c + step * (a == axis) for a, c in enumerate(v))
        if w in number:
            weight = np.exp(-beta / (10 * value.std()) * (value[v] - value[w]) ** 2) + 1e-10
            system[number[v], number[v]] += weight
            system[number[v], number[w]] -= weight
    labels = sorted(set(strokes.ravel().tolist()) - {IGNORE})
    known = {label: np.array([float(strokes[v] == label) for v in voxels]) for label in labels}
    for v in voxels:
        if strokes[v] != IGNORE:
            system[number[v]] = 0
            system[number[v], number[v]] = 1
    return {label: np.linalg.solve(system, known[label]).reshape(image.shape) for label in labels}


@pytest.mark.parametrize(
    ("shape", "beta", "certainty"),
    [((7, 8), 0, 0.4), ((7, 8), 50, 0.6), ((7, 8), 500, 0.4), ((4, 5, 4), 0, 0.45), ((4, 5, 4), 50, 0.45)],
)
def test_equals_solving_for_the_walker_in_loops(shape, beta, certainty):
    rng = np.random.default_rng(3)
    image = rng.normal(size=shape)
    strokes = np.full(shape, IGNORE)
    for label in (0, 2, 5):  # labels need not be consecutive
        strokes[tuple(rng.integers(0, size, 2) for size in shape)] = label
    probability = _walker_oracle(image, strokes, beta)
    grown = _grow(image.astype(np.float64), strokes, beta=beta, certainty=certainty)
    decided = 0
    for v in np.ndindex(shape):
        label, best = max(((k, p[v]) for k, p in probability.items()), key=lambda pair: pair[1])
        if strokes[v] != IGNORE:
            assert grown[v] == strokes[v]
        elif abs(best - certainty) > 1e-2:  # closer, the iterative solver may differ
            assert grown[v] == (label if best > certainty else IGNORE)
            decided += best > certainty
    assert decided > 0


def _disc(size=40, radius=9.0, at=None):
    at = (size / 2, size / 2) if at is None else at
    y, x = np.mgrid[:size, :size]
    return (np.hypot(y - at[0], x - at[1]) <= radius).astype(int)


def _strokes_in(truth, *, background=True):
    strokes = np.full(truth.shape, IGNORE)
    if background:
        strokes[3, 3:-3] = 0
    middle = truth.shape[0] // 2
    strokes[middle, middle - 3 : middle + 3] = 1
    return strokes


def test_strokes_grow_up_to_the_edges_of_the_image():
    truth = _disc()
    image = truth + np.random.default_rng(0).normal(0, 0.05, truth.shape)
    grown = _grow(image, _strokes_in(truth))
    assert (grown == truth).mean() > 0.98


def test_where_the_image_has_no_edge_the_middle_between_two_strokes_stays_unlabelled():
    strokes = np.full((21, 21), IGNORE)
    strokes[:, 0], strokes[:, -1] = 0, 1
    grown = _grow(np.random.default_rng(0).normal(0, 1e-3, strokes.shape), strokes, beta=0.0)
    assert (grown[:, 10] == IGNORE).all()
    assert (grown[:, 2] == 0).all()
    assert (grown[:, -3] == 1).all()


def test_an_image_of_background_strokes_is_background():
    strokes = _strokes_in(_disc())
    strokes[strokes == 1] = IGNORE
    strokes[:, 0] = -1
    grown = _grow(_disc(), strokes)
    assert (grown[:, 0] == -1).all()
    assert (grown[:, 1:] == 0).all()


@pytest.mark.parametrize(
    "strokes",
    [
        np.full((40, 40), IGNORE),  # nobody scribbled
        _strokes_in(_disc(), background=False),  # one structure, no background
        np.where(_disc(radius=3.0) == 1, IGNORE, _disc()),  # dense labels with a gap
        _disc(),
    ],
)
def test_what_cannot_or_need_not_grow_stays_as_it_is(strokes):
    grown = _grow(_disc(), strokes)
    assert np.array_equal(grown, strokes)
    assert grown is not strokes


def test_voxels_outside_the_image_stay_outside_and_what_they_cut_off_stays_unlabelled():
    truth = _disc()
    strokes = _strokes_in(truth)
    strokes[30] = -1  # below it there is no stroke
    grown = _grow(truth + np.random.default_rng(0).normal(0, 0.05, truth.shape), strokes)
    assert (grown[30] == -1).all()
    assert (grown[31:] == IGNORE).all()
    assert (grown[:30] == truth[:30]).mean() > 0.97


def test_a_constant_image_and_extreme_grey_values_are_no_obstacle():
    strokes = _strokes_in(_disc())
    for image in (np.zeros((40, 40)), _disc() * 1e6, _disc() * 1e-6):
        grown = _grow(image, strokes)
        assert set(np.unique(grown)) <= {0, 1, IGNORE}
        assert (grown[strokes != IGNORE] == strokes[strokes != IGNORE]).all()


def test_all_channels_count():
    truth, strokes = _disc(), _strokes_in(_disc())
    rng = np.random.default_rng(0)
    noise, signal = rng.normal(0, 0.05, truth.shape), truth + rng.normal(0, 0.05, truth.shape)
    grown = grow_strokes(np.stack([noise, signal]).astype(np.float32), strokes, **HOW)
    assert (grown == truth).mean() > 0.95


def test_large_images_are_walked_on_a_coarser_grid(monkeypatch):
    truth = _disc(size=67, radius=15.0)
    strokes = _strokes_in(truth)
    image = truth + np.random.default_rng(0).normal(0, 0.05, truth.shape)
    monkeypatch.setattr(random_walker, "MOST_PIXELS", 1200)
    assert random_walker._coarsening(truth.shape, None) == (2, 2)
    grown = _grow(image, strokes)
    assert grown.shape == truth.shape
    assert (grown[strokes != IGNORE] == strokes[strokes != IGNORE]).all()
    known = grown != IGNORE
    assert known.mean() > 0.9
    assert (grown == truth)[known].mean() > 0.97


def test_the_finest_axes_are_coarsened_first():
    assert random_walker._coarsening((10, 512, 512), (8.0, 1.0, 1.0)) == (1, 2, 2)
    assert random_walker._coarsening((128, 128, 128), None) == (2, 1, 1)
    assert random_walker._coarsening((1, 300, 300), None) == (1, 2, 1)
    assert random_walker._coarsening((64, 64), (1.0, 1.0)) == (1, 1)


def test_a_coarse_grid_of_nothing_but_strokes(monkeypatch):
    monkeypatch.setattr(random_walker, "MOST_PIXELS", 4)
    strokes = np.full((4, 4), IGNORE)
    strokes[0, 0], strokes[0, 2], strokes[2, 0], strokes[2, 2] = 0, 1, 1, 0
    grown = _grow(np.random.default_rng(0).normal(size=(4, 4)), strokes)
    assert np.array_equal(grown, np.kron([[0, 1], [1, 0]], np.ones((2, 2), int)))


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint8])
def test_keeps_the_type_of_labels(dtype):
    truth = _disc()
    assert _grow(truth, _strokes_in(truth).astype(dtype)).dtype == dtype
