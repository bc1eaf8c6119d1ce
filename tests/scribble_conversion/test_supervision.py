"""Scribbles, dense labels and bare images in one dataset."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk

from scribble_conversion.cli import main
from tests.scribble_conversion.conftest import Acdc


def _label(acdc: Acdc, case: str) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(acdc.dataset / "labelsTr" / f"{case}.nii.gz")))


def test_dense_and_unlabelled_patients(acdc: Acdc, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(acdc.arguments("--dense-patients", "22", "--unlabelled-patients", "41")) == 0
    dense = sitk.GetArrayFromImage(sitk.ReadImage(str(acdc.dense("patient022_frame01"))))
    assert np.array_equal(_label(acdc, "patient022_frame01"), dense)
    assert (_label(acdc, "patient041_frame12") == 4).all()
    assert (_label(acdc, "patient021_frame01") == 4).any()
    recorded = json.loads((acdc.dataset / "dataset.json").read_text())["scribbles"]["supervision"]
    assert recorded == {
        "patient022_frame01": "dense",
        "patient022_frame12": "dense",
        "patient041_frame01": "none",
        "patient041_frame12": "none",
    }
    assert "4 cases with scribbles, 2 with dense labels, 2 with none" in capsys.readouterr().out


def test_nobody_validates_on_unlabelled_images(acdc: Acdc) -> None:
    assert main(acdc.arguments("--unlabelled-patients", "41")) == 0
    for fold in json.loads((acdc.preprocessed / acdc.dataset.name / "splits_final.json").read_text()):
        assert not any("041" in case for case in fold["val"])
        assert any("041" in case for case in fold["train"])


def test_images_without_scribbles_on_request(acdc: Acdc, capsys: pytest.CaptureFixture[str]) -> None:
    acdc.scribble("patient021_frame12").unlink()
    assert main(acdc.arguments()) == 1
    assert "--allow-unlabelled" in capsys.readouterr().err
    assert main(acdc.arguments("--allow-unlabelled")) == 0
    assert (_label(acdc, "patient021_frame12") == 4).all()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--dense-patients", "7"), "no case belongs to the patients 7; give numbers that occur with --dense-patients"),
        (("--dense-patients", "21", "--unlabelled-patients", "21-22"), "patient 21 is named with both"),
        (("--unlabelled-patients", "1-100"), "no training case has scribbles or a dense label"),
        (("--dense-patients", "one"), "'one' is no patient or case here"),
    ],
)
def test_mistakes(acdc: Acdc, arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(acdc.arguments(*arguments)) == 1
    assert sentence in capsys.readouterr().err
    assert acdc.written() == []


def test_dense_patients_need_dense_labels(acdc: Acdc, capsys: pytest.CaptureFixture[str]) -> None:
    acdc.dense("patient021_frame01").unlink()
    assert main(acdc.arguments("--dense-patients", "21")) == 1
    assert "patient021_frame01 has no dense label" in capsys.readouterr().err
