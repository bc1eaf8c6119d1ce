"""Codes replaced voxel by voxel, nothing undeclared let through."""

from __future__ import annotations

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis.extra import numpy as npst

from scribble_conversion.console import UserError
from scribble_conversion.remap import remap

PATH = Path("a_scribble.nii.gz")
CODES = {0: 0, 200: 1, 500: 2, 1220: 3, -1: 4}


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64, np.float32, np.float64])
@settings(deadline=None)
@given(data=st.data())
def test_every_voxel_is_replaced(dtype: type, data: st.DataObject) -> None:
    shape = data.draw(npst.array_shapes(min_dims=1, max_dims=3, max_side=5))
    codes = np.asarray(data.draw(npst.arrays(np.int16, shape, elements=st.sampled_from(sorted(CODES)))))
    mapped = remap(codes.astype(dtype), CODES, PATH)
    assert mapped.dtype == np.uint8
    assert mapped.shape == codes.shape
    for index in np.ndindex(*shape):
        assert mapped[index] == CODES[int(codes[index])]


def test_codes_far_apart_need_no_table() -> None:
    codes = {-(2**53): 0, 3: 1, 2**53: 2}
    np.testing.assert_array_equal(remap(np.int64([3, 2**53, -(2**53), 3]), codes, PATH), [1, 2, 0, 1])
    with pytest.raises(UserError, match="label values 2, 4, expected"):
        remap(np.int64([4, 3, 2]), codes, PATH)


def test_floats_near_an_integer_count_as_it() -> None:
    np.testing.assert_array_equal(remap(np.float32([499.9995, 200.0005, -0.0]), CODES, PATH), [2, 1, 0])


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.int16([0, 201, 600]), "201, 600"),
        (np.int16([-2]), "-2"),
        (np.uint16([65535]), "65535"),
        (np.float32([1e12]), "999999995904"),
        (np.float64([-1e300]), "-9007199254740992"),
        (np.arange(20, dtype=np.uint8), r"1, 2, 3, 4, 5, …"),
        (np.float32([0.4, 0]), r"no integers \(0.4\)"),
        (np.float32([np.nan]), r"no integers \(nan\)"),
    ],
)
def test_an_undeclared_value_is_named(array: np.ndarray, told: str) -> None:
    with pytest.raises(UserError, match=f"a_scribble.nii.gz holds .*{told}"):
        remap(array, CODES, PATH)


MYOPS = {0: 0, 200: 1, 500: 2, 600: 3, 1220: 4}
PLAIN = {0: 0, 1: 1, 2: 2, 255: 3}


def test_rescaled_codes_count_where_the_user_declared_them() -> None:
    stored = np.float32([0, -0.02, 199.99, 499.977, 500.0, 600.3, 1220.04])
    np.testing.assert_array_equal(remap(stored, MYOPS, PATH, explicit=True), [0, 0, 1, 2, 2, 3, 4])
    with pytest.raises(UserError, match="no integers"):
        remap(stored, MYOPS, PATH)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([499.5], r"no integers \(499.5\)"),
        ([499.8, 500.0], "from 499.8 to 500 around the label 500, so it looks interpolated"),
        ([350.0], "label values 350"),
        ([np.nan], "nan"),
        ([-0.6], "no integers"),
        ([1e12], "label values 999999995904"),
    ],
)
def test_what_is_not_near_one_value_of_a_code_is_refused(values: list[float], told: str) -> None:
    with pytest.raises(UserError, match=told):
        remap(np.float32([0, 200, *values]), MYOPS, PATH, explicit=True)


@pytest.mark.parametrize("value", [0.06, 0.94, 1.5, 1.06, 254.4])
def test_neighbouring_codes_leave_little_room(value: float) -> None:
    assert remap(np.float32([0.04, 1.04, 1.96]), PLAIN, PATH, explicit=True).tolist() == [0, 1, 2]
    with pytest.raises(UserError, match=r"from 0.97 to 1.03 around the label 1"):
        remap(np.float32([0.97, 1.03]), PLAIN, PATH, explicit=True)
    with pytest.raises(UserError, match="no integers"):
        remap(np.float32([value]), PLAIN, PATH, explicit=True)


@pytest.mark.parametrize("codes", [MYOPS, PLAIN, {0: 0, 1: 1}])
@settings(deadline=None)
@given(data=st.data())
def test_interpolated_labels_are_always_refused(codes: dict[int, int], data: st.DataObject) -> None:
    """A label of two classes, shifted by a part of a voxel with linear interpolation."""
    one, other = data.draw(st.lists(st.sampled_from(sorted(codes)), min_size=2, max_size=2, unique=True))
    width, shift = data.draw(st.integers(1, 5)), data.draw(st.floats(0.06, 0.94))
    label = np.repeat([one, other, one], [5, width, 5]).astype(np.float64)
    moved = (1 - shift) * label[:-1] + shift * label[1:]
    assume(not all(min(abs(value - code) for code in codes) < 0.01 for value in moved))  # 0 and 2 to 1, not to be seen
    with pytest.raises(UserError, match=PATH.name):
        remap(moved.astype(np.float32), codes, PATH, explicit=True)


def test_an_undeclared_value_beside_a_label_map_has_another_cure() -> None:
    with pytest.raises(UserError, match="label values 7, expected only 0, 200, 500, 600, 1220; declare them in the"):
        remap(np.int16([7]), MYOPS, PATH, explicit=True)
