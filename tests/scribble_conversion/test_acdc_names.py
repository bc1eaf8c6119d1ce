"""The official test set, files named ED and ES, and what ``Info.cfg`` says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from scribble_conversion.cli import main
from scribble_conversion.readers.acdc_info import find_infos, read_info
from tests.scribble_conversion.conftest import Acdc

PHASES = {"frame01": "ED", "frame12": "ES"}
INFO = "ED: 1\nES: 12\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n"


def _add_test_set(acdc: Acdc, folder: str = "testing", patients: tuple[int, ...] = (101, 150)) -> Path:
    """Add patients without scribbles beside the training folder."""
    testing = Acdc(acdc.root, acdc.root / folder, acdc.root / "unused", acdc.raw, acdc.preprocessed)
    for patient in patients:
        testing.add(patient)
    shutil.rmtree(acdc.root / "unused")
    return testing.images


def _rename(folder: Path, names: dict[str, str]) -> None:
    """Replace parts of the names of all files below ``folder``."""
    for file in sorted(folder.rglob("*.nii.gz")):
        for old, new in names.items():
            if f"_{old}" in file.name:
                file.rename(file.with_name(file.name.replace(f"_{old}", f"_{new}")))
                break


def _write_infos(acdc: Acdc, text: str = INFO) -> None:
    for folder in acdc.images.iterdir():
        (folder / "Info.cfg").write_text(text)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _recorded(acdc: Acdc) -> dict[str, dict[str, str]]:
    return json.loads((acdc.dataset / "dataset.json").read_text())["scribbles"]["cases"]


def _labels(dataset: Path) -> dict[str, np.ndarray]:
    files = sorted((dataset / "labelsTr").iterdir())
    return {file.name: sitk.GetArrayFromImage(sitk.ReadImage(str(file))) for file in files}


TEST_CASES = [f"patient{patient}_frame{frame}" for patient in (101, 150) for frame in ("01", "12")]


@pytest.mark.parametrize("given", ["parent", "database", "option"])
def test_the_official_test_set_is_held_out(acdc: Acdc, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*acdc.arguments(), "-n", "Plain", "-d", "1"]) == 0
    plain = (acdc.preprocessed / "Dataset001_Plain" / "splits_final.json").read_text()
    testing = _add_test_set(acdc)
    (testing / "patient150" / "patient150_frame12_gt.nii.gz").unlink()
    more = ["--images", str(acdc.root)]
    if given == "database":
        (acdc.root / "database").mkdir()
        for folder in (acdc.images, testing):
            folder.rename(acdc.root / "database" / folder.name)
    elif given == "option":
        more = ["--test-images", str(testing.rename(acdc.root / "elsewhere"))]
    capsys.readouterr()

    assert main(acdc.arguments(*more)) == 0

    assert _names(acdc.dataset / "imagesTs") == [f"{case}_0000.nii.gz" for case in TEST_CASES]
    assert _names(acdc.dataset / "labelsTs") == [f"{case}.nii.gz" for case in TEST_CASES[:3]]
    assert len(_names(acdc.dataset / "imagesTr")) == 8
    assert (acdc.preprocessed / acdc.dataset.name / "splits_final.json").read_text() == plain
    assert "held out: 4 cases of 2 patients (imagesTs), 3 with dense labels" in capsys.readouterr().out


def test_the_training_folder_alone_is_the_training_set_alone(acdc: Acdc) -> None:
    _add_test_set(acdc)
    assert main(acdc.arguments()) == 0
    assert not (acdc.dataset / "imagesTs").exists()


def test_test_set_and_patients_held_out(acdc: Acdc) -> None:
    _add_test_set(acdc, patients=(101,))
    assert main(acdc.arguments("--images", str(acdc.root), "--test-patients", "81,101")) == 0
    cases = ("patient081_frame01", "patient081_frame12", "patient101_frame01", "patient101_frame12")
    assert _names(acdc.dataset / "labelsTs") == [f"{case}.nii.gz" for case in cases]


def test_everything_named_by_phase_needs_no_info(acdc: Acdc) -> None:
    assert main([*acdc.arguments(), "-n", "Plain", "-d", "1"]) == 0
    _rename(acdc.root, PHASES)
    assert main(acdc.arguments()) == 0
    plain, named = _labels(acdc.raw / "Dataset001_Plain"), _labels(acdc.dataset)
    assert list(named) == [name.replace("frame01", "ED").replace("frame12", "ES") for name in plain]
    for left, right in zip(plain.values(), named.values(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert _recorded(acdc)["patient021_ED"] == {"phase": "ED"}
    assert _recorded(acdc)["patient021_ES"] == {"phase": "ES"}


@pytest.mark.parametrize("renamed", ["scribbles", "training", "dense"])
@pytest.mark.parametrize("flat", [False, True])
def test_info_reconciles_names(acdc: Acdc, renamed: str, flat: bool) -> None:
    assert main([*acdc.arguments(), "-n", "Plain", "-d", "1"]) == 0
    if renamed == "dense":
        _rename(acdc.images, {f"{old}_gt": f"{new}_gt" for old, new in PHASES.items()})
    else:
        _rename(acdc.root / renamed, {old: new.lower() for old, new in PHASES.items()})
    _write_infos(acdc)
    if flat:
        for file in sorted(acdc.images.rglob("*")):
            if file.is_file():
                named = file.name if file.name != "Info.cfg" else f"{file.parent.name}_info.cfg"
                file.rename(acdc.images / named)
    assert main(acdc.arguments()) == 0
    plain, named = _labels(acdc.raw / "Dataset001_Plain"), _labels(acdc.dataset)
    assert list(plain) == list(named)
    for left, right in zip(plain.values(), named.values(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert len(_names(acdc.dataset / "labelsTr_dense")) == 8


def test_phases_may_lie_the_other_way_round(acdc: Acdc) -> None:
    """The phase comes from ``Info.cfg``, not from the order of the frames."""
    assert main([*acdc.arguments(), "-n", "Plain", "-d", "1"]) == 0
    _rename(acdc.scribbles, {"frame01": "ES", "frame12": "ED"})
    _write_infos(acdc, "ES: 1\nED: 12\n")
    assert main(acdc.arguments()) == 0
    for left, right in zip(
        _labels(acdc.raw / "Dataset001_Plain").values(), _labels(acdc.dataset).values(), strict=True
    ):
        np.testing.assert_array_equal(left, right)
    assert _recorded(acdc)["patient021_frame01"] == {"phase": "ES"}


def test_phase_and_group_are_recorded_where_they_are_known(acdc: Acdc) -> None:
    _add_test_set(acdc, patients=(101,))
    (acdc.images / "patient021" / "Info.cfg").write_text(INFO)
    (acdc.images / "patient022" / "Info.cfg").write_text("ED: one\nES: 12\n\xff garbled")
    (acdc.images / "patient041" / "Info.cfg").write_text("ED: 3\nES: 12\nGroup: NOR\n")
    (acdc.root / "testing" / "patient101" / "Info.cfg").write_text(INFO)
    assert main(acdc.arguments("--images", str(acdc.root))) == 0
    assert _recorded(acdc) == {
        "patient021_frame01": {"phase": "ED", "group": "DCM"},
        "patient021_frame12": {"phase": "ES", "group": "DCM"},
        "patient022_frame12": {"phase": "ES"},
        "patient041_frame01": {"group": "NOR"},
        "patient041_frame12": {"phase": "ES", "group": "NOR"},
        "patient101_frame01": {"phase": "ED", "group": "DCM"},
        "patient101_frame12": {"phase": "ES", "group": "DCM"},
    }


def test_an_info_is_only_its_patients(tmp_path: Path) -> None:
    for name in ("patient001/Info.cfg", "Info.cfg", "patient002/info.CFG", "patient003_Info.cfg", "x/Info.cfg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(INFO)
    assert sorted(find_infos(sorted(tmp_path.rglob("*")))) == ["patient001", "patient002", "patient003"]


def test_an_info_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    info = read_info(tmp_path / "Info.cfg")
    assert (info.frames, info.group) == ({}, None)


TABLE: dict[str, tuple[Callable[[Acdc], list[str] | None], tuple[str, ...]]] = {}


def bad(*expected: str) -> Callable[[Callable[[Acdc], list[str] | None]], None]:
    """Enter a kind of bad input into the table, with what its sentence has to contain."""

    def enter(damage: Callable[[Acdc], list[str] | None]) -> None:
        TABLE[damage.__name__] = (damage, expected)

    return enter


@bad("nowhere", "does not exist", "--test-images")
def test_images_missing(acdc: Acdc) -> list[str]:
    return ["--test-images", str(acdc.root / "nowhere")]


@bad("scribbles holds no ACDC images", "--test-images")
def test_images_of_another_kind(acdc: Acdc) -> list[str]:
    return ["--test-images", str(acdc.scribbles)]


@bad("patient021 lies both in", "training", "elsewhere", "keep one")
def patient_in_both_sets(acdc: Acdc) -> list[str]:
    return ["--test-images", str(_add_test_set(acdc, "elsewhere", (21, 101)))]


@bad("patient021", "by frame in one place and ED or ES", "copy", "patient021_Info.cfg")
def info_missing(acdc: Acdc) -> None:
    _rename(acdc.scribbles, PHASES)


@bad("patient021/Info.cfg does not tell", "'ED: 1' and 'ES: 12'", "again")
def info_garbled(acdc: Acdc) -> None:
    _rename(acdc.scribbles, PHASES)
    _write_infos(acdc, "ED: 1\nES: twelve\n")


@bad("patient021/Info.cfg does not tell", "apart")
def info_of_one_frame(acdc: Acdc) -> None:
    _rename(acdc.scribbles, PHASES)
    _write_infos(acdc, "ED: 1\nES: 1\n")


@bad("4 scribbles have no image", "patient021_frame11")
def info_of_another_patient(acdc: Acdc) -> None:
    _rename(acdc.scribbles, PHASES)
    _write_infos(acdc, "ED: 1\nES: 11\n")


@bad("are the same case patient022_frame01", "_ED.nii.gz", "--images")
def image_under_both_names(acdc: Acdc) -> None:
    _write_infos(acdc)
    image = acdc.image("patient022_frame01")
    shutil.copy(image, image.with_name("patient022_ED.nii.gz"))


@pytest.mark.parametrize("name", TABLE)
def test_one_sentence_and_nothing_written(acdc: Acdc, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    damage, expected = TABLE[name]
    more = damage(acdc) or []
    before = acdc.fingerprint()
    assert main(acdc.arguments(*more)) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1
    for part in expected:
        assert part in told.err
    assert acdc.written() == []
    assert acdc.fingerprint() == before
