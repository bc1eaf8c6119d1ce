"""Strokes that resampling would lose."""

from __future__ import annotations

import json

import SimpleITK as sitk

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
