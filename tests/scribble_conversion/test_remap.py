"""Codes replaced voxel by voxel, nothing undeclared let through."""

from __future__ import annotations

from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as npst

from scribble_conversion.console import UserError
from scribble_conversion.remap import count_labels, remap

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


def test_counts_include_labels_that_are_absent() -> None:
    assert count_labels(np.uint8([[0, 4], [4, 1]]), 5) == (1, 1, 0, 0, 2)
