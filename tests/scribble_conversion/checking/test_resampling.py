"""Strokes that resampling would lose."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from skimage.segmentation import expand_labels

from scribble_conversion.checking import resampling
from scribble_conversion.checking.resampling import lost_strokes
from tests.scribble_conversion.checking.hands import (
    CASE,
    OTHER,
    Lines,
    image,
    label,
)
from tests.scribble_conversion.conftest import DATASET, Acdc, write_volume


def test_thin_strokes_by_their_widths(sound: Acdc, check: Lines) -> None:
    fine = (0.6, 0.6, 9.0)
    for case in (CASE, OTHER):
        for path in (image(sound, case), label(sound, case), label(sound, case, "labelsTr_dense")):
            write_volume(path, sitk.GetArrayFromImage(sitk.ReadImage(str(path))), spacing=fine)
    [line] = check()
    assert line.startswith(
        "warning: 25 % of the scribbled voxels lie in strokes (LV, MYO, RV and 1 more) much thinner than the median "
        f"pixel of 1.50 mm (pixels of 0.60 to 1.50 mm), to which nnU-Net will resample 2 cases ({CASE}, {OTHER}); "
    )


def write_plan(made: Acdc, spacing: list[float]) -> None:
    """As much of a plan as nnU-Net's own classes need to resample."""
    resampling = {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None}
    configuration = {
        "spacing": spacing,
        "architecture": {},
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": resampling,
    }
    plan = {
        "dataset_name": DATASET,
        "plans_name": "nnUNetPlans",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"2d": configuration, "3d_cascade": {"inherits_from": "2d"}},
    }
    (made.preprocessed / DATASET / "nnUNetPlans.json").write_text(json.dumps(plan))


def test_strokes_that_the_plan_loses(sound: Acdc, check: Lines) -> None:
    write_plan(sound, [1.5, 1.5])
    assert check() == []
    write_plan(sound, [6.0, 6.0])
    [line] = check("--resampled-cases", "2")
    # Every fourth row survives: y = 4 k + 1.5, between rows 1 and 2 of each four. Row 14 does by half, 26 and 34, too.
    assert line.startswith("warning: configuration 2d of nnUNetPlans (6 x 6 mm) loses ")
    assert " in 2 sampled cases (" in line
    assert f"nothing is left of background of {CASE}" in line
    assert check("--resampled-cases", "0") == []


def test_a_damaged_plan(sound: Acdc, check: Lines) -> None:
    path = sound.preprocessed / DATASET / "nnUNetPlans.json"
    path.write_text('{"configurations": 3}')
    [line] = check()
    assert line.startswith(f"warning: {path} cannot be used as a plan")


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_strokes_are_counted_as_the_map_of_their_surroundings_counts_them(axis: int) -> None:
    """Against scikit-image's map of what lies nearest, which visits every voxel."""
    rng = np.random.default_rng(axis)
    for _ in range(20):
        before = (rng.random((6, 14, 15)) < 0.03).astype(np.int32)
        after = (rng.random((6, 14, 15)) < 0.02).astype(np.int32)
        touching = np.ones((3, 3, 3), dtype=bool)
        np.moveaxis(touching, axis, 0)[[0, 2]] = False
        components, number = ndimage.label(before, touching)
        spacing = np.ones(3)
        spacing[axis] = 1000
        near = expand_labels(components, resampling._REACH, spacing=tuple(spacing))
        kept = set(np.unique(near[after == 1])) - {0}
        strokes, lost = lost_strokes(before, after, 1, axis)
        assert strokes == number
        assert abs(number - lost - len(kept)) <= len(_as_near(components, after, spacing))


def _as_near(components: np.ndarray, after: np.ndarray, spacing: np.ndarray) -> list[np.ndarray]:
    """Places as near to one stroke as to another, which either may have."""
    voxels = np.argwhere(components)
    ties = []
    for place in np.argwhere(after == 1):
        distances = np.linalg.norm((voxels - place) * spacing, axis=1)
        nearest = voxels[distances <= distances.min() + 1e-9]
        if distances.min() <= resampling._REACH and len({components[tuple(voxel)] for voxel in nearest}) > 1:
            ties.append(place)
    return ties
