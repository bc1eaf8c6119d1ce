"""``nnUNetv2_convert_scribbles mscmr``: the layout of CycleMix."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from scribble_conversion.cli import main
from tests.scribble_conversion.conftest import DIRECTION, SIZE, Workplace

SHAPE = SIZE[::-1]
SUBJECTS = {"train": (2, 4, 13), "val": (1, 29), "TestSet": (3, 10)}
DATASET = "Dataset027_MSCMRscribbles"


def _add(place: Workplace, folder: str, subject: int) -> np.ndarray:
    rng = np.random.default_rng(subject)
    name = f"subject{subject}_DE"
    place.volume(f"MSCMR_dataset/{folder}/images/{name}.nii.gz", rng.integers(0, 999, SHAPE).astype(np.int16))
    labels = rng.integers(0, 4, SHAPE)
    kind = "manual"
    if folder == "train":
        kind, labels = "scribble", np.where(rng.random(SHAPE) < 0.3, labels, 4)
    place.volume(f"MSCMR_dataset/{folder}/labels/{name}_{kind}.nii.gz", labels.astype(np.uint16))
    return labels


@pytest.fixture
def cyclemix(workplace: Workplace) -> dict[int, np.ndarray]:
    return {subject: _add(workplace, folder, subject) for folder, found in SUBJECTS.items() for subject in found}


def _arguments(place: Workplace, *more: str) -> list[str]:
    return ["mscmr", "--data", str(place.root / "MSCMR_dataset"), "-d", "27", "-np", "1", *more]


def _folds(place: Workplace) -> list[dict[str, list[str]]]:
    return json.loads((place.preprocessed / DATASET / "splits_final.json").read_text())


@pytest.mark.parametrize("given", ["MSCMR_dataset", "."])
def test_train_val_and_test_go_to_their_places(
    workplace: Workplace, cyclemix: dict[int, np.ndarray], capsys: pytest.CaptureFixture[str], given: str
) -> None:
    before = workplace.contents()
    assert main([*_arguments(workplace), "--data", str(workplace.root / given)]) == 0
    assert workplace.contents() == before
    description = workplace.dataset_json()
    assert description["labels"] == {"background": 0, "RV": 1, "MYO": 2, "LV": 3, "ignore": 4}
    assert description["channel_names"] == {"0": "LGE"}
    assert description["scribbles"]["supervision"] == {"subject1_DE": "dense", "subject29_DE": "dense"}
    for folder, place in (
        ("train", "labelsTr"),
        ("val", "labelsTr"),
        ("val", "labelsTr_dense"),
        ("TestSet", "labelsTs"),
    ):
        for subject in SUBJECTS[folder]:
            written = workplace.label(f"{place}/subject{subject}_DE.nii.gz")
            np.testing.assert_array_equal(written, cyclemix[subject])
    assert _folds(workplace) == [
        {"train": ["subject13_DE", "subject2_DE", "subject4_DE"], "val": ["subject1_DE", "subject29_DE"]}
    ]
    told = capsys.readouterr().out
    assert "held out: 2 cases of 2 patients (imagesTs), 2 with dense labels (labelsTs)" in told
    assert "3 to train, 2 to validate (the source's own split)" in told.replace("cases ", "")
    assert "note: the 2 cases of val have dense labels" in told


def test_oblique_directions_survive(workplace: Workplace, cyclemix: dict[int, np.ndarray]) -> None:
    assert main(_arguments(workplace)) == 0
    written = sitk.ReadImage(str(workplace.raw / DATASET / "labelsTr" / "subject2_DE.nii.gz"))
    source = sitk.ReadImage(str(workplace.root / "MSCMR_dataset/train/images/subject2_DE.nii.gz"))
    np.testing.assert_allclose(written.GetDirection(), DIRECTION, atol=1e-6)
    assert written.GetDirection() == source.GetDirection()
    assert written.GetOrigin() == source.GetOrigin()
    assert written.GetSpacing() == source.GetSpacing()


def test_other_names_and_splits(workplace: Workplace, cyclemix: dict[int, np.ndarray]) -> None:
    assert main(_arguments(workplace, "--labels", "myo", "lv", "rv", "--split", "random")) == 0
    assert workplace.dataset_json()["labels"] == {"background": 0, "myo": 1, "lv": 2, "rv": 3, "ignore": 4}
    assert len(_folds(workplace)) == 5


def test_holding_out_thins_the_fold(workplace: Workplace, cyclemix: dict[int, np.ndarray]) -> None:
    assert main(_arguments(workplace, "--test-patients", "4,subject29")) == 0
    assert _folds(workplace) == [{"train": ["subject13_DE", "subject2_DE"], "val": ["subject1_DE"]}]


def test_without_val_and_test(workplace: Workplace, cyclemix: dict[int, np.ndarray]) -> None:
    for folder in ("val", "TestSet"):
        shutil.rmtree(workplace.root / "MSCMR_dataset" / folder)
    assert main(_arguments(workplace, "--split", "random")) == 0
    assert not (workplace.raw / DATASET / "imagesTs").exists()
    assert len(_folds(workplace)) == 3


def _no_train(data: Path) -> None:
    shutil.rmtree(data / "train")


def _no_images(data: Path) -> None:
    shutil.rmtree(data / "val" / "images")


def _no_val(data: Path) -> None:
    shutil.rmtree(data / "val")


def _no_scribble(data: Path) -> None:
    (data / "train/labels/subject4_DE_scribble.nii.gz").unlink()


def _no_image(data: Path) -> None:
    (data / "train/images/subject4_DE.nii.gz").unlink()


def _no_manual(data: Path) -> None:
    (data / "val/labels/subject1_DE_manual.nii.gz").unlink()


def _image_twice(data: Path) -> None:
    file = data / "train/images/subject4_DE.nii.gz"
    shutil.copy(file, data / "train/labels")


def _case_twice(data: Path) -> None:
    shutil.copytree(data / "train", data / "val", dirs_exist_ok=True)


def _strange_codes(data: Path) -> None:
    file = data / "TestSet/labels/subject3_DE_manual.nii.gz"
    image = sitk.ReadImage(str(file))
    sitk.WriteImage(image * 200, str(file))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (_no_train, "has no folder 'train'; give the folder MSCMR_dataset of CycleMix with --data"),
        (_no_images, "val holds no MSCMR images (subject2_DE.nii.gz, …)"),
        (_no_val, "this source has no split of its own; give random or a JSON file with --split"),
        (_no_scribble, "1 images have no scribble (subject4_DE); add the scribbles to the folder or archive of --data"),
        (_no_image, "1 scribbles have no image (subject4_DE); add the images to the folder of --data"),
        (_no_manual, "subject1_DE.nii.gz has no label to validate with; add subject1_DE_manual.nii.gz or remove it"),
        (_image_twice, "are the same case subject4_DE; keep one of them, or give a narrower folder with --data"),
        (_case_twice, "subject13_DE is there twice, in"),
        (_strange_codes, "holds the label values 200, 400, 600, expected only 0, 1, 2, 3"),
    ],
)
def test_mistakes(
    workplace: Workplace, cyclemix: dict[int, np.ndarray], capfd: pytest.CaptureFixture[str], damage, sentence: str
) -> None:
    damage(workplace.root / "MSCMR_dataset")
    assert sentence in workplace.refused(capfd, _arguments(workplace))


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--labels", "a", "b", "a"), "--labels has a name twice"),
        (("--labels", "ignore", "b", "a"), "--labels has a name twice, an empty one, or background or ignore"),
        (("--labels", "", "b", "a"), "an empty one"),
        (("--labels", "background", "b", "a"), "--labels names 2 classes (b, a), but there are 3"),
        (("--data", "nowhere"), "nowhere does not exist; give an existing folder with --data"),
        (("--test-patients", "1,29"), "the source's own split, fold 0, val is empty"),
    ],
)
def test_options(
    workplace: Workplace,
    cyclemix: dict[int, np.ndarray],
    capfd: pytest.CaptureFixture[str],
    more: tuple[str, ...],
    sentence: str,
) -> None:
    assert sentence in workplace.refused(capfd, _arguments(workplace, *more))
