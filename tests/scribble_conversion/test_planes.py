from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from scribble_conversion.planes import as_volume, axis_across, grey_values, slice_axis


@pytest.mark.parametrize(
    ("shape", "spacing", "axis"),
    [
        ((10, 200, 200), (10.0, 1.5, 1.5), 0),
        ((200, 10, 200), (1.5, 10.0, 1.5), 1),
        ((200, 200, 10), (1.0, 1.0, 3.0), 2),
        ((35, 51, 35), (1.0, 1.0, 1.0), 0),
        ((35, 51, 35), (1.0, 1.0, 1.000001), 0),
        ((50, 1, 60), (1.0, 1.0, 1.0), 1),
    ],
)
def test_the_axis_across_the_slices(shape: tuple[int, ...], spacing: tuple[float, ...], axis: int) -> None:
    assert slice_axis(shape, spacing) == axis


def test_the_user_may_choose_the_axis() -> None:
    image = sitk.Image([20, 20, 4], sitk.sitkUInt8)
    image.SetSpacing((1, 1, 8))
    assert axis_across(image, None) == 0
    assert axis_across(image, 2) == 2
    assert axis_across(sitk.Image([20, 30], sitk.sitkUInt8), 2) == 0


def test_colours_and_flat_images() -> None:
    colours = np.arange(60, dtype=np.float32).reshape(4, 5, 3)
    grey = grey_values(sitk.GetImageFromArray(colours, isVector=True))
    assert np.array_equal(grey, colours.mean(axis=-1)[None])
    volume = np.zeros((2, 3, 4))
    assert as_volume(volume) is volume
