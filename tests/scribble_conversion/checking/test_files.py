"""One broken file at a time."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from scribble_conversion.cli import main
from tests.scribble_conversion.checking.hands import (
    CASE,
    OTHER,
    SHAPE,
    SPACING,
    Lines,
    convert_strokes,
    declare,
    edit_label,
    image,
    label,
)
from tests.scribble_conversion.conftest import Acdc, write_volume


def two_channels(made: Acdc) -> None:
    """Give all cases a second channel."""
    declare(made, channel_names={"0": "T1", "1": "T2"})
    for case in made.cases():
        shutil.copy(image(made, case), image(made, case, 1))
        edit_label(image(made, case, 1), lambda array: array + 1)


@pytest.mark.parametrize(
    ("what", "geometry", "shape"),
    [
        ("size, (47, 48, 4) instead of (48, 48, 4); ", {}, (4, 48, 47)),
        ("spacing, (1.5, 1.6, 9.0) instead of (1.5, 1.5, 9.0) mm; ", {"spacing": (1.5, 1.6, 9.0)}, SHAPE),
        ("origin, (0.0, 12.25, 88.0) instead of (-31.5, 12.25, 88.0) mm; ", {"origin": (0.0, 12.25, 88.0)}, SHAPE),
        ("direction, (1.0, 0.0, 0.0, ", {"direction": (1, 0, 0, 0, 1, 0, 0, 0, 1)}, SHAPE),
    ],
)
@pytest.mark.parametrize("folder", ["labelsTr", "labelsTr_dense"])
def test_a_label_off_its_image(
    sound: Acdc, check: Lines, what: str, geometry: dict, shape: tuple[int, ...], folder: str
) -> None:
    path = label(sound, folder=folder)
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[: shape[0], : shape[1], : shape[2]]
    write_volume(path, array, **{"spacing": SPACING, **geometry})
    [line] = check()
    assert line.startswith(f"error: {path} does not lie on {image(sound).name}, they differ in {what}")


def test_header_rounding_is_no_problem(sound: Acdc, check: Lines) -> None:
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(label(sound))))
    write_volume(label(sound), array, spacing=(1.5004, 1.5, 9.0), origin=(-31.499, 12.25, 88.0))
    assert check() == []


def test_channels_that_differ(sound: Acdc, check: Lines) -> None:
    two_channels(sound)
    assert check() == []
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(image(sound, channel=1))))
    write_volume(image(sound, channel=1), array, spacing=(1.5, 1.5, 8.0))
    [line] = check()
    assert line == (
        f"error: {image(sound, channel=1)} does not lie on {CASE}_0000.nii.gz, they differ in spacing, (1.5, 1.5, 8.0) "
        "instead of (1.5, 1.5, 9.0) mm; resample them to one grid"
    )


def test_a_missing_channel(sound: Acdc, check: Lines) -> None:
    two_channels(sound)
    image(sound, channel=1).unlink()
    [line] = check()
    assert line.startswith(f"error: {CASE} has 1 of 2 channels (without {CASE}_0001.nii.gz); ")


def test_a_misnumbered_channel(sound: Acdc, check: Lines) -> None:
    two_channels(sound)
    image(sound, channel=1).rename(image(sound, channel=2))
    [line] = check()
    assert line.startswith(f"error: {CASE} has 2 of 2 channels (without {CASE}_0001.nii.gz, with {CASE}_0002.nii.gz); ")


def test_problems_in_every_file_are_cut_short(acdc: Acdc, check: Lines, tmp_path: Path) -> None:
    for patient in (61, 62):
        acdc.add(patient)
    convert_strokes(acdc)
    declare(acdc, channel_names={"0": "T1", "1": "T2"})
    assert main(["check", "127", "-np", "1", "--json", str(tmp_path / "found.json")]) == 1
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["errors"] == 12
    assert [entry["cases"] for entry in found["findings"]] == [[case] for case in acdc.cases()]


def test_lines_of_one_kind_are_cut_short(acdc: Acdc, capsys: pytest.CaptureFixture[str]) -> None:
    for patient in (61, 62):
        acdc.add(patient)
    convert_strokes(acdc)
    declare(acdc, channel_names={"0": "T1", "1": "T2"})
    capsys.readouterr()
    assert main(["check", "127", "-np", "1"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12
    assert lines[-2:] == [
        "error: 2 problems more of the same kind (channels); --json FILE lists all",
        "12 errors, 0 warnings",
    ]


@pytest.mark.parametrize(
    ("which", "message"),
    [("image", "is truncated, it lacks"), ("label", "is truncated, it lacks"), ("dense", "is truncated, it lacks")],
)
def test_a_truncated_file(sound: Acdc, check: Lines, which: str, message: str) -> None:
    path = {"image": image(sound), "label": label(sound), "dense": label(sound, folder="labelsTr_dense")}[which]
    volume = sitk.ReadImage(str(path))
    plain = path.with_name("plain.nii")
    sitk.WriteImage(volume, str(plain))
    cut = plain.read_bytes()[:-1000]
    plain.unlink()
    path.write_bytes(gzip.compress(cut))
    [line] = check()
    assert line.startswith(f"error: {path} {message}")
    assert line.endswith("; download or export it again")


def test_a_file_that_is_no_image(sound: Acdc, check: Lines) -> None:
    image(sound).write_bytes(b"<html>not found</html>")
    [line] = check()
    assert line.startswith(f"error: {image(sound)} is damaged or no NIfTI file")


def test_nan(sound: Acdc, check: Lines) -> None:
    def spoil(array: np.ndarray) -> np.ndarray:
        array = array.astype(np.float32)
        array[1, 2, 3] = np.nan
        return array

    edit_label(image(sound), spoil)
    assert check() == [
        f"error: {image(sound)} holds NaN or infinite values (as 32-bit floats); replace them, or leave out the case",
    ]


def test_constant_images_are_told_once_each(sound: Acdc, check: Lines) -> None:
    for case in (CASE, OTHER):
        edit_label(image(sound, case), lambda array: np.full_like(array, 12))
    assert check() == [
        f"error: {image(sound, case)} is 12 everywhere; export the image again, or leave out the case"
        for case in (CASE, OTHER)
    ]


def test_an_image_without_label(sound: Acdc, check: Lines) -> None:
    label(sound).unlink()
    [line] = check()
    assert line.startswith(f"error: 1 training image without a label in labelsTr ({CASE}); ")


def test_a_label_without_image(sound: Acdc, check: Lines) -> None:
    shutil.copy(label(sound), label(sound, "patient022_frame99"))
    [line] = check()
    assert line.startswith("error: 1 label in labelsTr without an image (patient022_frame99); ")


def test_a_wrong_number_of_cases(sound: Acdc, check: Lines) -> None:
    declare(sound, numTraining=7)
    assert check() == [
        "error: dataset.json says numTraining 7, but there are 8 training cases; write 8 if none is missing"
    ]


def test_no_images_at_all(sound: Acdc, check: Lines) -> None:
    declare(sound, file_ending=".nrrd")
    lines = check()
    assert lines[0].startswith(f"error: {sound.dataset / 'imagesTr'} holds no images named like case_0000.nrrd; ")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "imagesTr/._patient021_frame01_0000.nii.gz",
            "error: imagesTr holds 1 hidden file that nnU-Net takes for data",
        ),
        ("imagesTr/patient099_frame01.nii.gz", "error: imagesTr holds 1 file whose names lack the channel"),
        ("imagesTr/patient099_frame01_0000.nrrd", "warning: imagesTr holds 1 file that nnU-Net passes over"),
        ("labelsTr/notes.txt", "warning: labelsTr holds 1 file that nnU-Net passes over (notes.txt); "),
    ],
)
def test_files_that_do_not_belong_there(sound: Acdc, check: Lines, name: str, expected: str) -> None:
    (sound.dataset / name).write_bytes(b"")
    [line] = check()
    assert line.startswith(expected)
