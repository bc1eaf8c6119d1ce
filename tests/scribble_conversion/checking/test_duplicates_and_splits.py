"""The same image twice, and splits that do not fit."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from tests.scribble_conversion.checking.hands import (
    CASE,
    IGNORE,
    OTHER,
    SHAPE,
    SPACING,
    Lines,
    convert_strokes,
    edit_json,
    edit_label,
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
    assert check() == [  # nnU-Net has none of its own, and makes some
        expected,
        f"warning: {sound.dataset / 'splits_final.json'} is not where nnU-Net looks for folds, so it makes others; "
        f"copy it to {sound.preprocessed / DATASET}",
    ]
    (sound.preprocessed / DATASET).rmdir()
    assert check() == [expected]


def test_a_patient_spelled_in_two_ways_on_both_sides(sound: Acdc, check: Lines) -> None:
    def spell(content: dict) -> None:
        content["scribbles"]["patients"] |= {CASE: "Smith", "patient041_frame01": "smith"}

    edit_json(sound.dataset / "dataset.json", spell)
    assert any("fold 0 has 1 patient both in train and in val (Smith)" in line for line in check())


def test_what_nnunet_makes_without_folds(sound: Acdc, check: Lines) -> None:
    for folder in (sound.preprocessed / DATASET, sound.dataset):
        (folder / "splits_final.json").unlink()
    [line] = check()
    assert line.startswith("error: there is no splits_final.json, and fold 0 as nnU-Net makes it has ")
    assert "both in train and in val" in line
    assert line.endswith("keeps all cases of a patient on one side, or convert with --split random")
    for case in sound.cases()[:-4]:
        image(sound, case).unlink()
        (sound.dataset / "labelsTr" / f"{case}.nii.gz").unlink()
        (sound.dataset / "labelsTr_dense" / f"{case}.nii.gz").unlink()
    edit_json(sound.dataset / "dataset.json", lambda content: content.update(numTraining=4))
    [line] = check()
    assert line.startswith("warning: there is no splits_final.json, and nnU-Net makes no 5 folds of 4 cases; ")


@pytest.mark.parametrize("side", ["train", "val"])
def test_a_side_without_labels(sound: Acdc, check: Lines, side: str) -> None:
    folds = sound.preprocessed / DATASET / "splits_final.json"
    names = json.loads(folds.read_text())[0][side]
    supervision = dict.fromkeys(names, "none")
    edit_json(sound.dataset / "dataset.json", lambda content: content["scribbles"].update(supervision=supervision))
    edit_json(folds, lambda content: content.__delitem__(slice(1, None)))
    assert f"error: splits_final.json, fold 0 has no labelled case in {side}; name some that are" in check()


def test_a_case_of_one_name_on_both_sides(sound: Acdc, check: Lines) -> None:
    (sound.dataset / "imagesTs").mkdir()
    write_volume(sound.dataset / "imagesTs" / image(sound).name, np.ones(SHAPE, np.int16).cumsum(2), spacing=SPACING)
    line = check()[0]
    assert line.startswith(f"error: 1 case of one name in imagesTr and in imagesTs ({CASE}); take each out of one side")
    twin = image(sound, "patient041_frame01")
    kept = twin.read_bytes()
    shutil.copy(image(sound), twin)
    assert any(f"with the same images (patient041_frame01 = {CASE})" in line for line in check())  # those trained with
    twin.write_bytes(kept)
    tests = sound.dataset / "imagesTs"
    for case in set(sound.cases()) - {CASE}:  # what is drawn is still looked at
        shutil.copy(tests / image(sound).name, tests / image(sound, case).name)
    for path in (sound.dataset / "labelsTr").iterdir():
        edit_label(path, lambda array: np.where(array == IGNORE, 0, array))
    assert any("unlabelled voxels seem to be stored as 0" in line for line in check())


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
