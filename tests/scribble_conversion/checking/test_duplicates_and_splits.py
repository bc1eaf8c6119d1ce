"""The same image twice, and splits that do not fit."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from tests.scribble_conversion.checking.hands import (
    CASE,
    OTHER,
    SPACING,
    Lines,
    convert_strokes,
    edit_json,
    image,
    rename_cases,
)
from tests.scribble_conversion.conftest import DATASET, Acdc, write_volume


def test_the_same_image_twice(sound: Acdc, check: Lines) -> None:
    shutil.copy(image(sound, CASE), image(sound, OTHER))
    assert check() == [f"warning: {CASE}, {OTHER} hold the same image; keep one of them"]


def test_the_same_image_twice_is_seen_by_its_content(sound: Acdc, check: Lines) -> None:
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(image(sound, CASE))))
    write_volume(image(sound, OTHER), array.astype(np.float32), spacing=SPACING)
    assert len(check()) == 1


def test_the_same_image_in_training_and_validation(sound: Acdc, check: Lines) -> None:
    shutil.copy(image(sound), image(sound, "patient041_frame01"))
    lines = check()
    assert len(lines) == 3
    assert lines[0] == (
        f"error: splits_final.json, fold 0 trains and validates with the same images (patient041_frame01 = {CASE}); "
        "keep one of each pair, or both on one side"
    )
    assert lines[2] == f"warning: {CASE}, patient041_frame01 hold the same image; keep one of them"


def test_a_test_image_among_the_training_images(acdc: Acdc, check: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    convert_strokes(acdc, "--test-patients", "81")
    shutil.copy(acdc.dataset / "imagesTs" / "patient081_frame01_0000.nii.gz", image(acdc))
    capsys.readouterr()
    [line] = check()
    assert line.startswith(f"error: {CASE}, patient081_frame01 hold the same image, in imagesTr and in imagesTs")


def test_a_patient_on_both_sides(sound: Acdc, check: Lines) -> None:
    def move(folds: list) -> None:
        folds[0]["val"].remove(OTHER)
        folds[0]["train"].append(OTHER)

    edit_json(sound.preprocessed / DATASET / "splits_final.json", move)
    expected = (
        "error: splits_final.json, fold 0 has 1 patient both in train and in val (patient021); "
        "keep all cases of a patient on one side"
    )
    assert check() == [expected]
    edit_json(sound.dataset / "dataset.json", lambda content: content.pop("scribbles") and None)
    assert check() == [expected]  # by the names
    (sound.preprocessed / DATASET / "splits_final.json").rename(sound.dataset / "splits_final.json")
    assert check() == [expected]  # before nnU-Net has one of its own


def test_a_guessed_patient_on_both_sides_is_a_warning(sound: Acdc, check: Lines) -> None:
    rename_cases(sound, lambda case: case.replace("patient", "s").replace("_frame", "_"))
    assert check() == []

    def move(folds: list) -> None:
        folds[0]["val"].remove("s021_12")
        folds[0]["train"].append("s021_12")

    edit_json(sound.preprocessed / DATASET / "splits_final.json", move)
    [line] = check()
    assert line.startswith("warning: splits_final.json, fold 0 has 1 name both in train and in val (s021), perhaps ")


def test_a_common_prefix_is_no_patient(sound: Acdc, check: Lines) -> None:
    rename_cases(sound, lambda case: "heart2_" + case.removeprefix("patient").replace("_frame", ""))
    assert check() == []


def test_splits_that_do_not_fit(sound: Acdc, check: Lines) -> None:
    splits = sound.preprocessed / DATASET / "splits_final.json"
    before = splits.read_text()
    edit_json(splits, lambda folds: folds[1]["train"].append("patient001_frame01"))
    [line] = check()
    assert line.startswith("error: splits_final.json, fold 1 names 1 case not in imagesTr (patient001_frame01); ")
    splits.write_text(before)
    edit_json(splits, lambda folds: folds[1]["train"].extend(folds[1]["val"][:1]))
    [line] = check()
    assert line.startswith("error: splits_final.json, fold 1 both trains and validates with 1 case (")
    splits.write_text(before)
    edit_json(splits, lambda folds: folds[1].update(val=[]))
    [line] = check()
    assert line.startswith("error: splits_final.json, fold 1 has no cases in val; ")
    splits.write_text('{"train": []}')
    [line] = check()
    assert line.startswith(f"error: {splits} is no list of folds")


def test_a_case_noted_as_its_own_patient_may_still_be_somebodys(sound: Acdc, check: Lines) -> None:
    """As an earlier conversion noted cases whose names it did not understand."""

    def own(content: dict) -> None:
        content["scribbles"]["patients"] = {name: name for name in content["scribbles"]["patients"]}

    def move(folds: list) -> None:
        folds[0]["val"].remove(OTHER)
        folds[0]["train"].append(OTHER)

    edit_json(sound.dataset / "dataset.json", own)
    assert check() == []
    edit_json(sound.preprocessed / DATASET / "splits_final.json", move)
    [line] = check()
    assert line.startswith("error: splits_final.json, fold 0 has 1 patient both in train and in val (patient021)")
