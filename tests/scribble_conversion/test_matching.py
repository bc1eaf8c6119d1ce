"""Arrays found again in the image they came from."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from scribble_conversion.matching import (
    Orientation,
    correlation,
    find_orientation,
    most_alike,
    slice_correlations,
)


def _image(seed: int = 0, shape: tuple[int, int, int] = (5, 12, 9)) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, 100.0, shape)


def _stored(image: np.ndarray) -> np.ndarray:
    """Each slice clipped at its 90th percentile and scaled to 0..1."""
    top = np.percentile(image, 90, axis=(1, 2), keepdims=True)
    low = image.min(axis=(1, 2), keepdims=True)
    return ((image.clip(max=top) - low) / (top - low)).astype(np.float32)


def test_clipping_and_scaling_cost_no_correlation() -> None:
    image = _image()
    stored = _stored(image)
    plain = np.corrcoef(stored[0].ravel(), image[0].ravel())[0, 1]
    assert plain < 0.97
    assert slice_correlations(stored, image).min() > 1 - 1e-9


def test_without_clipping_it_is_pearsons() -> None:
    rng = np.random.default_rng(1)
    left = rng.permutation(50).astype(float)
    right = left + rng.normal(0, 10, 50)
    right[[left.argmin(), left.argmax()]] = right.mean()  # so that nothing lies outside of the inner range
    assert correlation(left, right) == pytest.approx(np.corrcoef(left, right)[0, 1])


def test_other_arrays_do_not_correlate() -> None:
    assert abs(correlation(_stored(_image(1)), _image(2))) < 0.2


def test_constants() -> None:
    blank = np.zeros((3, 3))
    assert np.isnan(correlation(blank, blank + 7))
    assert correlation(blank, np.arange(9.0)) == 0
    assert correlation(np.arange(9.0), blank) == 0


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("flips", list(product((False, True), repeat=3)))
@pytest.mark.parametrize("shape", [(5, 12, 9), (8, 8, 8)])
def test_every_orientation_is_found_and_undone(
    axes: tuple[int, ...], flips: tuple[bool, ...], shape: tuple[int, int, int]
) -> None:
    image = _image(3, shape)
    labels = np.random.default_rng(4).integers(0, 5, shape)
    turned = Orientation(axes, flips)
    found = find_orientation(_stored(turned.turned(image)), image)
    assert found == turned
    assert found is not None
    np.testing.assert_array_equal(found.turned_back(turned.turned(labels)), labels)


def test_other_sizes_have_no_orientation() -> None:
    assert find_orientation(_image(shape=(5, 12, 9)), _image(shape=(5, 12, 10))) is None


def test_symmetry_prefers_to_leave_things_where_they_are() -> None:
    half = _image(5, (4, 6, 5))
    symmetric = np.concatenate([half, half[:, ::-1]], axis=1)
    assert find_orientation(_stored(symmetric), symmetric) == Orientation()


def test_slices_find_their_places() -> None:
    image = _image(6)
    stored = _stored(image)
    assert most_alike(stored, image) == [0, 1, 2, 3, 4]
    assert most_alike(stored[[0, 3, 2, 1, 4]], image) == [0, 3, 2, 1, 4]


def test_repeated_and_blank_slices_are_no_disorder() -> None:
    image = _image(7)
    image[3] = image[1]
    image[4] = 0
    stored = np.concatenate([_stored(image[:4]), np.zeros((1, 12, 9), np.float32)])
    assert most_alike(stored, image) == [0, 1, 2, 3, 4]


def test_large_slices_are_looked_at_in_part_and_still_told_apart() -> None:
    image = _image(8, (3, 300, 200))
    turned = Orientation((0, 1, 2), (True, False, True))
    assert find_orientation(_stored(turned.turned(image)), image) == turned
