"""What changed since nnU-Net preprocessed the dataset."""

from __future__ import annotations

import os

import SimpleITK as sitk

from tests.scribble_conversion.checking.hands import (
    CASE,
    IGNORE,
    Lines,
    declare,
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
    assert check() == [
        f"error: 1 case preprocessed before the label changed ({CASE}); run nnUNetv2_plan_and_preprocess -d 127 --clean"
    ]


def test_labels_declared_otherwise_since_preprocessing(preprocessed: Acdc, check: Lines) -> None:
    declare(preprocessed, labels={"background": 0, "right": 1, "MYO": 2, "LV": 3, "ignore": 4})
    [line] = check()
    assert line.startswith("error: dataset.json was preprocessed with other labels than it declares now; ")


def test_cases_added_or_gone_since_preprocessing(preprocessed: Acdc, check: Lines) -> None:
    copies = preprocessed.preprocessed / DATASET / "gt_segmentations"
    (copies / f"{CASE}.nii.gz").rename(copies / "patient001_frame01.nii.gz")
    assert [line.partition(";")[0] for line in check()] == [
        f"error: 1 case not in what nnU-Net preprocessed ({CASE})",
        "error: 1 case preprocessed, but no longer in imagesTr (patient001_frame01)",
    ]


def test_an_image_newer_than_what_was_preprocessed_from_it(preprocessed: Acdc, check: Lines) -> None:
    later = image(preprocessed).stat().st_mtime + 1000
    os.utime(image(preprocessed), (later, later))
    [line] = check()
    assert line.startswith("warning: the images of 1 case are newer than what nnU-Net preprocessed from them (")
