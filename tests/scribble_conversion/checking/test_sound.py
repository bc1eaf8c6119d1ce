"""What is no problem, and files and makers other than usual."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from skimage import io

from scribble_conversion.checking.volumes import read
from scribble_conversion.cli import main
from tests.scribble_conversion.checking.hands import (
    CASE,
    IGNORE,
    SHAPE,
    Lines,
    convert_strokes,
    declare,
    dense_label,
    edit_json,
    edit_label,
    every_label,
    image,
    label,
    scribbled_label,
)
from tests.scribble_conversion.conftest import DATASET, Acdc


@pytest.mark.parametrize("arguments", [(), ("-np", "2"), ("--resampled-cases", "0")])
def test_a_sound_dataset_has_no_problems(sound: Acdc, check: Lines, arguments: tuple[str, ...]) -> None:
    before = sound.written()
    assert check(*arguments) == []
    assert sound.written() == before


def test_a_dataset_is_found_by_number_name_and_folder(sound: Acdc, check: Lines, tmp_path: Path) -> None:
    edit_label(label(sound), lambda array: array.__setitem__((0, 40, 5), 7))
    for dataset in ("127", DATASET, str(sound.dataset)):
        assert len(check(dataset=dataset)) == 1
    shutil.copytree(sound.dataset, tmp_path / "elsewhere")
    assert len(check(dataset=str(tmp_path / "elsewhere"))) == 1


def test_dense_labels_and_unlabelled_images_beside_scribbles_are_no_problem(
    acdc: Acdc, check: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    convert_strokes(acdc, "--dense-patients", "21", "--unlabelled-patients", "22", "--test-patients", "81")
    capsys.readouterr()
    assert check() == []


def test_a_class_that_only_dense_labels_teach_is_learned(
    acdc: Acdc, check: Lines, capsys: pytest.CaptureFixture
) -> None:
    convert_strokes(acdc, "--dense-patients", "21")
    for path in every_label(acdc):
        if not path.name.startswith("patient021"):
            edit_label(path, lambda array: np.where(array == 3, IGNORE, array))
    capsys.readouterr()
    [line] = check()
    assert line.startswith("warning: LV is not scribbled in 6 of 6 cases (")


def make_png(folder: Path) -> Path:
    """A dataset of single grey-value pictures."""
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(5):
        picture = rng.integers(0, 255, SHAPE[1:]).astype(np.uint8)
        io.imsave(folder / "imagesTr" / f"cells_{number}_0000.png", picture, check_contrast=False)
        io.imsave(folder / "labelsTr" / f"cells_{number}.png", scribbled_label()[0], check_contrast=False)
    content = {
        "channel_names": {"0": "light"},
        "labels": {"background": 0, "a": 1, "b": 2, "c": 3, "ignore": 4},
        "numTraining": 5,
        "file_ending": ".png",
    }
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def test_pictures(tmp_path: Path, check: Lines) -> None:
    folder = make_png(tmp_path / "Dataset005_Cells")
    assert check(dataset=str(folder)) == []
    path = folder / "imagesTr" / "cells_1_0000.png"
    path.write_bytes(path.read_bytes()[:900])
    [line] = check(dataset=str(folder))
    assert line.startswith(f"error: {path} cannot be read as an image (")


def test_pictures_with_opacity(tmp_path: Path, check: Lines) -> None:
    """One channel is the same everywhere, as in most pictures; alike are they by all of them."""
    folder = make_png(tmp_path / "Dataset005_Cells")
    names = {"0": "R", "1": "G", "2": "B", "3": "A"}
    edit_json(folder / "dataset.json", lambda content: content.update(channel_names=names))
    paths = [folder / "imagesTr" / f"cells_{number}_0000.png" for number in range(5)]
    for path in paths:
        picture = io.imread(path)
        io.imsave(path, np.stack([picture, picture, picture, np.full_like(picture, 255)], 2), check_contrast=False)
    assert check(dataset=str(folder)) == []
    paths[1].write_bytes(paths[0].read_bytes())
    [line] = check(dataset=str(folder))
    assert "cells_0" in line and "cells_1" in line
    io.imsave(paths[1], np.full_like(io.imread(paths[1]), 255), check_contrast=False)
    paths[2].write_bytes(paths[1].read_bytes())
    assert [" is 255 everywhere; " in line for line in check(dataset=str(folder))] == [True, True]


@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_picture_is_one_slice_whatever_the_axis(tmp_path: Path, axis: str, check: Lines) -> None:
    folder = make_png(tmp_path / "Dataset005_Cells")
    drawing = {"scribbles": {"drawing": {"axis": axis}}}
    edit_json(folder / "dataset.json", lambda content: content.update(drawing))
    assert check(dataset=str(folder)) == []
    page = tmp_path / "report.html"
    assert main(["report", str(folder), "-np", "1", "-o", str(page)]) == 0
    text = page.read_text("utf-8")
    assert "<dt>Slices</dt><dd>5</dd>" in text
    assert text.count('"total":1,"width":48,"height":48') == 5


def test_flat_volumes_and_2d_images(tmp_path: Path) -> None:
    for name, shape, axis in (("flat", (1, 20, 30), 2), ("2d", (20, 30), 0)):
        path = tmp_path / f"{name}.nrrd"
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros(shape, np.uint8)), str(path))
        volume = read(path, SimpleITKIO)
        assert volume.axis_across(None) == 0
        assert volume.axis_across(2) == axis


def test_regions(sound: Acdc, check: Lines) -> None:
    declare(
        sound,
        labels={"background": 0, "heart": [1, 2, 3], "left": [2, 3], "cavity": 3, "ignore": 4},
        regions_class_order=[1, 2, 3],
    )
    assert check() == []
    edit_label(label(sound), lambda array: np.where(array == 2, IGNORE, array))
    [line] = check()
    assert line.startswith(f"warning: heart + left is not scribbled in 1 of 8 cases ({CASE}); ")


def test_cases_listed_in_dataset_json(sound: Acdc, check: Lines) -> None:
    listed = {
        case: {"images": [f"imagesTr/{image(sound, case).name}"], "label": f"labelsTr/{case}.nii.gz"}
        for case in sound.cases()
    }
    declare(sound, dataset=listed)
    assert check() == []
    listed[CASE]["images"] = ["imagesTr/gone_0000.nii.gz"]
    declare(sound, dataset=listed)
    [line] = check()
    assert line.startswith(f"error: {CASE} is listed with gone_0000.nii.gz, not found; ")


def test_json_for_machines(sound: Acdc, check: Lines, tmp_path: Path) -> None:
    edit_label(label(sound), lambda array: np.where(array == 1, IGNORE, array))
    check("--json", str(tmp_path / "found.json"))
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["dataset"], found["errors"], found["warnings"]) == (DATASET, 0, 1)
    [finding] = found["findings"]
    assert finding == {
        "level": "warning",
        "check": "class",
        "text": f"RV is not scribbled in 1 of 8 cases ({CASE})",
        "cure": "scribble it there, if it shows",
        "cases": [CASE],
    }
    first = found["cases"][0]
    assert first["case"] == CASE
    assert first["spacing"] == [9.0, 1.5, 1.5]
    assert first["voxels"] == np.bincount(np.where(scribbled_label() == 1, IGNORE, scribbled_label()).ravel()).tolist()
    assert first["strokes"] == 12
    assert first["contradicting"] == 0


def test_names_cannot_break_a_line(sound: Acdc, check: Lines) -> None:
    (sound.dataset / "imagesTr" / "evil\nerror: fake.nii.gz").write_bytes(b"")
    [line] = check()
    assert "evil error: fake.nii.gz" in line


def test_a_metaimage_cut_short(sound: Acdc, check: Lines) -> None:
    for path in sorted(sound.dataset.rglob("*.nii.gz")):
        sitk.WriteImage(sitk.ReadImage(str(path)), str(path).replace(".nii.gz", ".mha"))
        path.unlink()
    declare(sound, file_ending=".mha")
    assert check() == []
    path = sound.dataset / "imagesTr" / f"{CASE}_0000.mha"
    path.write_bytes(path.read_bytes()[:-100])
    assert check() == [
        f"error: {path} is truncated, it lacks 100 bytes of voxels; download or export it again",
    ]


def test_scribbles_drawn_across_another_axis(sound: Acdc, check: Lines) -> None:
    for path in every_label(sound):  # strokes in every second slice along y, through all others
        edit_label(path, lambda array: np.where(np.arange(48)[:, None] % 2, dense_label(), IGNORE))
    assert check() == []
    edit_json(sound.dataset / "dataset.json", lambda content: content["scribbles"].update(drawing={"axis": "y"}))
    [line] = check()
    assert line.startswith("warning: 128 slices of 8 cases with structures, by the dense label, without any scribble (")


def test_files_that_are_listed_may_have_any_name(sound: Acdc, check: Lines) -> None:
    elsewhere = sound.root / "images_of_the_study"
    elsewhere.mkdir()
    listed = {}
    for number, case in enumerate(sound.cases()):
        path = elsewhere / f"scan{number}.nii.gz"
        shutil.copy(sound.dataset / "imagesTr" / f"{case}_0000.nii.gz", path)
        listed[case] = {"images": [str(path)], "label": str(sound.dataset / "labelsTr" / f"{case}.nii.gz")}
    edit_json(sound.dataset / "dataset.json", lambda content: content.update(dataset=listed))
    assert check() == []
