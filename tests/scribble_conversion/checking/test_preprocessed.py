"""What changed since nnU-Net preprocessed the dataset."""

from __future__ import annotations

import json
import os
import shutil

import SimpleITK as sitk

from tests.scribble_conversion.checking.hands import (
    CASE,
    IGNORE,
    Lines,
    declare,
    edit_json,
    edit_label,
    image,
    label,
)
from tests.scribble_conversion.conftest import DATASET, Acdc


def test_nothing_changed_since_preprocessing(preprocessed: Acdc, check: Lines) -> None:
    assert check() == []
    path = label(preprocessed)  # saved again, with the same content
    sitk.WriteImage(sitk.ReadImage(str(path)), str(path), True, 1)
    assert path.read_bytes() != (preprocessed.preprocessed / DATASET / "gt_segmentations" / path.name).read_bytes()
    assert check() == []
    declare(preprocessed, description="another")
    assert check() == []


def test_a_label_changed_since_preprocessing(preprocessed: Acdc, check: Lines) -> None:
    edit_label(label(preprocessed), lambda array: array.__setitem__((0, 14, 7), IGNORE))
    copies = preprocessed.preprocessed / DATASET / "gt_segmentations"
    assert check() == [
        f"error: 1 case preprocessed before the label changed ({CASE}); delete {copies} and run "
        "nnUNetv2_plan_and_preprocess -d 127 --clean"
    ]


def test_labels_declared_otherwise_since_preprocessing(preprocessed: Acdc, check: Lines) -> None:
    declare(preprocessed, labels={"background": 0, "right": 1, "MYO": 2, "LV": 3, "ignore": 4})
    [line] = check()
    assert line.startswith("error: dataset.json was preprocessed with other labels than it declares now; ")


def test_a_case_added_since_preprocessing(preprocessed: Acdc, check: Lines) -> None:
    (preprocessed.preprocessed / DATASET / "gt_segmentations" / f"{CASE}.nii.gz").unlink()
    assert [line.partition(";")[0] for line in check()] == [f"error: 1 case not in what nnU-Net preprocessed ({CASE})"]


def test_a_case_gone_since_preprocessing(preprocessed: Acdc, check: Lines) -> None:
    _write_plans(preprocessed, "nnUNetPlans", {"2d": {"data_identifier": "nnUNetPlans_2d"}})
    data = preprocessed.preprocessed / DATASET / "nnUNetPlans_2d"
    copies = preprocessed.preprocessed / DATASET / "gt_segmentations"
    shutil.copy(copies / f"{CASE}.nii.gz", copies / "patient001_frame01.nii.gz")
    (data / "patient001_frame01.pkl").touch()
    assert check("--resampled-cases", "0") == [
        "error: 1 case preprocessed, but no longer in imagesTr (patient001_frame01); "
        "run nnUNetv2_plan_and_preprocess -d 127 --clean"
    ]
    (data / "patient001_frame01.pkl").unlink()  # all that this command does about it: the copy of the label stays
    assert check("--resampled-cases", "0") == []


def test_a_case_gone_from_data_of_other_plans_is_told_with_the_command_that_rewrites_them(
    preprocessed: Acdc, check: Lines
) -> None:
    default = {"2d": {"data_identifier": "nnUNetPlans_2d"}}
    small = {
        "2d_small": {"inherits_from": "2d", "data_identifier": "Small_2d_small"},
        "2d_fast": {"inherits_from": "2d"},
    }
    _write_plans(preprocessed, "nnUNetPlans", default)
    _write_plans(preprocessed, "Small", {**default, **small})
    folder = preprocessed.preprocessed / DATASET
    for name in ("Small_2d_small", "abandoned"):  # no plans name the latter any more
        (folder / name).mkdir()
        for case in ("patient001_frame01", *preprocessed.cases()):
            (folder / name / f"{case}.pkl").touch()
    assert check("--resampled-cases", "0") == [
        "error: 1 case preprocessed, but no longer in imagesTr (patient001_frame01); "
        "run nnUNetv2_preprocess -d 127 -plans_name Small -c 2d_small"
    ]


def test_preprocessing_that_was_interrupted(preprocessed: Acdc, check: Lines) -> None:
    """nnU-Net copies all labels before it begins."""
    _write_plans(preprocessed, "nnUNetPlans", {"2d": {"data_identifier": "nnUNetPlans_2d"}})
    (preprocessed.preprocessed / DATASET / "nnUNetPlans_2d" / f"{CASE}.pkl").unlink()
    assert check("--resampled-cases", "0") == [
        f"error: 1 case not preprocessed to the end ({CASE}); run nnUNetv2_plan_and_preprocess -d 127 --clean"
    ]


def test_a_supervision_that_the_training_does_not_know(preprocessed: Acdc, check: Lines) -> None:
    def name(content: dict) -> None:
        content["scribbles"]["supervision"] = {CASE: "dense"}

    edit_json(preprocessed.dataset / "dataset.json", name)
    assert any("was preprocessed with other scribbles.supervision than it declares now" in line for line in check())


def test_an_image_newer_than_what_was_preprocessed_from_it(preprocessed: Acdc, check: Lines) -> None:
    later = image(preprocessed).stat().st_mtime + 1000
    os.utime(image(preprocessed), (later, later))
    [line] = check()
    assert line.startswith("warning: the images of 1 case are newer than what nnU-Net preprocessed from them (")


def _write_plans(made: Acdc, name: str, configurations: dict[str, dict[str, str]]) -> None:
    """As much of plans as tells where their data lie."""
    content = {"plans_name": name, "configurations": configurations}
    (made.preprocessed / DATASET / f"{name}.json").write_text(json.dumps(content))
