"""``nnUNetv2_convert_scribbles generate`` from the command line to the files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from matplotlib.figure import Figure
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from skimage import io

from scribble_conversion.cli import main
from scribble_conversion.generation import case_rng
from tests.scribble_conversion.conftest import Acdc, write_volume
from tests.scribble_conversion.dense_sources import (
    CASES,
    dense_volume,
    read,
    write_folders,
    write_png_folders,
    write_raw_dataset,
)

IGNORE = 4
NAME = "Dataset300_GeneratedScribbles"


@pytest.fixture
def raw(acdc: Acdc) -> Path:
    """nnU-Net's folder of raw datasets, empty."""
    return acdc.raw


def _generate(*arguments: object) -> int:
    return main(["generate", "-d", "300", "-np", "1", *map(str, arguments)])


def _folders(given: Path) -> list[object]:
    return ["--images", given / "imagesTr", "--labels", given / "labelsTr"]


def _labels(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: read(path) for path in sorted(folder.iterdir())}


def _assert_fits(scribbles: np.ndarray, dense: np.ndarray, ignore: int = IGNORE) -> None:
    drawn = scribbles != ignore
    assert np.array_equal(scribbles[drawn], dense[drawn])
    assert 0.005 < drawn.mean() < 0.3
    for plane, reference in zip(scribbles, dense, strict=True):
        assert set(np.unique(plane)) == {*np.unique(reference), ignore}


def test_a_raw_dataset(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = write_raw_dataset(tmp_path / "given", channels=2)
    before = {path: path.read_bytes() for path in given.rglob("*") if path.is_file()}
    assert _generate("--dataset", given) == 0
    written = raw / NAME
    assert {path: path.read_bytes() for path in given.rglob("*") if path.is_file()} == before
    declared = json.loads((written / "dataset.json").read_text())
    assert declared["channel_names"] == {"0": "T2", "1": "CT"}
    assert declared["labels"] == {"background": 0, "RV": 1, "MYO": 2, "LV": 3, "ignore": IGNORE}
    assert LabelManager(declared["labels"], None).ignore_label == IGNORE
    assert declared["scribbles"]["drawing"]["fraction"] == 1.0
    assert declared["scribbles"]["drawing"]["seed"] == 0
    for number, case in enumerate(CASES):
        scribbles = read(written / "labelsTr" / f"{case}.nii.gz")
        _assert_fits(scribbles, dense_volume(number))
        assert np.array_equal(read(written / "labelsTr_dense" / f"{case}.nii.gz"), dense_volume(number))
        for channel in ("0000", "0001"):
            name = f"{case}_{channel}.nii.gz"
            assert (written / "imagesTr" / name).read_bytes() == (given / "imagesTr" / name).read_bytes()
        label, image = (
            sitk.ReadImage(str(path))
            for path in (written / "labelsTr" / f"{case}.nii.gz", given / "imagesTr" / f"{case}_0000.nii.gz")
        )
        assert label.GetDirection() == image.GetDirection()
        assert label.GetSpacing() == image.GetSpacing()
    assert np.array_equal(read(written / "labelsTs" / "four_01.nii.gz"), dense_volume(9))
    assert sorted(path.name for path in (written / "imagesTs").iterdir()) == [
        "four_01_0000.nii.gz",
        "four_01_0001.nii.gz",
    ]
    assert "held out: 1 cases" in capsys.readouterr().out


def test_by_id_and_from_the_dense_labels_of_a_converted_dataset(raw: Path, acdc: Acdc) -> None:
    assert main(acdc.arguments("--test-patients", "81")) == 0
    assert _generate("--dataset", "127") == 0
    for file in (raw / NAME / "labelsTr").iterdir():
        scribbles, dense = read(file), read(acdc.dataset / "labelsTr_dense" / file.name)
        assert np.array_equal(scribbles[scribbles != IGNORE], dense[scribbles != IGNORE])
        assert not np.array_equal(scribbles, read(acdc.dataset / "labelsTr" / file.name))
    assert len(list((raw / NAME / "imagesTs").iterdir())) == 2
    assert (raw / NAME / "splits_final.json").read_text() == (acdc.dataset / "splits_final.json").read_text()


def test_plain_folders_with_gaps_in_the_labels(raw: Path, tmp_path: Path) -> None:
    images, labels = write_folders(tmp_path / "given", codes=(0, 2, 5, 40))
    named = ("--label-names", "RV", "MYO", "LV", "--channel-names", "CT", "--image-pattern", "{patient}_{case}")
    assert _generate("--images", images, "--labels", labels, *named, "--label-pattern", "{patient}_{case}") == 0
    declared = json.loads((raw / NAME / "dataset.json").read_text())
    assert declared["labels"] == {"background": 0, "RV": 1, "MYO": 2, "LV": 3, "ignore": 4}
    assert declared["channel_names"] == {"0": "CT"}
    for number, case in enumerate(CASES):
        _assert_fits(read(raw / NAME / "labelsTr" / f"{case}.nii.gz"), dense_volume(number))
    for fold in json.loads((raw / NAME / "splits_final.json").read_text()):
        assert len({case in fold["val"] for case in CASES if case.startswith("one")}) == 1


def test_colour_images(raw: Path, tmp_path: Path) -> None:
    images, labels = write_png_folders(tmp_path / "given")
    picture = tmp_path / "picture.png"
    assert _generate("--images", images, "--labels", labels, "--picture", picture) == 0
    for number, case in enumerate(CASES):
        _assert_fits(read(raw / NAME / "labelsTr" / f"{case}.png")[None], dense_volume(number)[1:2])
    assert json.loads((raw / NAME / "dataset.json").read_text())["channel_names"] == {"0": "R", "1": "G", "2": "B"}
    assert io.imread(picture).std() > 10


def test_neither_processes_nor_other_cases_change_what_is_drawn(raw: Path, tmp_path: Path) -> None:
    images, labels = write_folders(tmp_path / "given")
    assert _generate("--images", images, "--labels", labels) == 0
    (images / "one_02.nii.gz").unlink()
    (labels / "one_02.nii.gz").unlink()
    arguments = ["generate", "--images", str(images), "--labels", str(labels), "-n", "Other"]
    assert main([*arguments, "-d", "301", "-np", "2"]) == 0
    assert main([*arguments, "-d", "302", "-np", "1", "--seed", "1"]) == 0
    expected, same, other = (
        _labels(raw / name / "labelsTr") for name in (NAME, "Dataset301_Other", "Dataset302_Other")
    )
    assert sorted(same) == sorted(other) == sorted(set(expected) - {"one_02.nii.gz"})
    for name in same:
        assert np.array_equal(same[name], expected[name])
        assert not np.array_equal(other[name], expected[name])


def test_options_reach_the_strokes(raw: Path, tmp_path: Path) -> None:
    images, labels = write_folders(tmp_path / "given")

    def drawn(number: int, *options: str) -> np.ndarray:
        given = ["--images", str(images), "--labels", str(labels), "-np", "1", "-n", "X", *options]
        assert main(["generate", "-d", str(number), *given]) == 0
        return np.stack(list(_labels(raw / f"Dataset{number}_X" / "labelsTr").values())) != IGNORE

    usual = drawn(310)
    assert drawn(311, "--fraction", "0.25").sum() == pytest.approx(0.25 * usual.sum(), rel=0.2)
    assert drawn(312, "--width", "3").sum() > 1.5 * usual.sum()
    assert drawn(313, "--border").sum() > usual.sum()
    assert drawn(314, "--elsewhere", "0").sum() < usual.sum()
    assert not drawn(315, "--only-structures")[:, -1].any()
    assert (drawn(316, "--every", "2").any(axis=(2, 3)).sum(axis=1) <= 3).all()
    across = drawn(317, "--axis", "x", "--only-structures")
    dense = np.stack([read(labels / f"{case}.nii.gz") for case in sorted(CASES)])
    assert np.array_equal(across.any(axis=(1, 2)), (dense > 0).any(axis=(1, 2)))


def test_held_out_and_dense_patients(raw: Path, tmp_path: Path) -> None:
    given = write_raw_dataset(tmp_path / "given")
    pattern = ("--case-pattern", "{patient}_{case}")
    assert _generate("--dataset", given, *pattern, "--test-patients", "two", "--dense-patients", "three") == 0
    assert sorted(path.name for path in (raw / NAME / "imagesTs").iterdir()) == [
        "four_01_0000.nii.gz",
        "two_01_0000.nii.gz",
    ]
    assert np.array_equal(read(raw / NAME / "labelsTr" / "three_01.nii.gz"), dense_volume(3))
    assert (read(raw / NAME / "labelsTr" / "one_01.nii.gz") == IGNORE).any()


@pytest.mark.parametrize("declared", [4, "4", [4]])
def test_what_is_ignored_in_the_dense_labels_stays_so(raw: Path, tmp_path: Path, declared: object) -> None:
    given = write_raw_dataset(tmp_path / "given")
    content = json.loads((given / "dataset.json").read_text())
    content["labels"]["ignore"] = declared
    (given / "dataset.json").write_text(json.dumps(content))
    unsure = dense_volume(0)
    unsure[:, :, 25:] = 4
    write_volume(given / "labelsTr" / "one_01.nii.gz", unsure)
    assert _generate("--dataset", given) == 0
    scribbles = read(raw / NAME / "labelsTr" / "one_01.nii.gz")
    assert (scribbles[:, :, 25:] == 4).all()
    assert (scribbles[:, :, :25] != 4).any()


@pytest.mark.parametrize(
    ("codes", "more", "void"),
    [((0, 1, 2, 255), (), True), ((0, 1, 2, 7), ("--unlabelled-value", "7"), True), ((0, 64, 128, 255), (), False)],
)
def test_a_value_of_no_class(
    raw: Path, tmp_path: Path, codes: tuple[int, ...], more: tuple[str, ...], void: bool, capsys
) -> None:
    images, labels = write_folders(tmp_path / "given", codes=codes)
    assert _generate("--images", images, "--labels", labels, *more) == 0
    assert ("255 was taken for unlabelled" in capsys.readouterr().out) == (void and not more)
    declared = json.loads((raw / NAME / "dataset.json").read_text())["labels"]
    assert declared == {"background": 0, **{f"class_{n}": n for n in range(1, 3 if void else 4)}, "ignore": 4 - void}
    for number, case in enumerate(CASES):
        scribbles, dense = read(raw / NAME / "labelsTr" / f"{case}.nii.gz"), dense_volume(number)
        assert (scribbles[dense == 3] == 3).any()  # ignore, or the class
        if void:
            assert (scribbles[dense == 3] == 3).all()


def test_names_of_other_scripts_in_a_picture(raw: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    given = write_raw_dataset(tmp_path / "given")
    for folder, end in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
        (given / folder / f"one_01{end}").rename(given / folder / f"日本{end}")
    assert _generate("--dataset", given, "--picture", tmp_path / "picture.png") == 0
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_a_picture_of_volumes(raw: Path, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    assert _generate("--dataset", write_raw_dataset(tmp_path / "given"), "--picture", picture) == 0
    colours = io.imread(picture)[..., :3].reshape(-1, 3)
    saturated = colours[np.ptp(colours, axis=1) > 120]
    assert len(np.unique(saturated // 64, axis=0)) >= 4  # one colour per label


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the pictures say: the titles of their panels, and the names in their legends."""
    texts: list[str] = []

    def save(figure: Figure, *arguments: object, **options: object) -> None:
        texts.extend(axes.get_title() for axes in figure.axes if axes.get_title())
        texts.extend(text.get_text() for legend in figure.legends for text in legend.get_texts())

    monkeypatch.setattr(Figure, "savefig", save)
    return texts


def test_slices_in_a_picture_are_counted_from_1(raw: Path, tmp_path: Path, told: list[str]) -> None:
    given = write_raw_dataset(tmp_path / "given")
    assert _generate("--dataset", given, "--every", "2", "--picture", tmp_path / "picture.png") == 0
    drawn = (read(raw / NAME / "labelsTr" / "one_01.nii.gz") != IGNORE).any(axis=(1, 2))
    titles = [text for text in told if text.startswith("one_01, ")]
    assert titles == [f"one_01, slice {index + 1}" for index in np.flatnonzero(drawn)]


def test_colours_of_regions_have_names_in_a_picture(raw: Path, tmp_path: Path, told: list[str]) -> None:
    given = write_raw_dataset(tmp_path / "given")
    content = json.loads((given / "dataset.json").read_text())
    content |= {"labels": {"background": 0, "heart": [1, 2, 3], "left": [2, 3], "LV": 3}}
    (given / "dataset.json").write_text(json.dumps({**content, "regions_class_order": [1, 2, 3]}))
    assert _generate("--dataset", given, "--picture", tmp_path / "picture.png") == 0
    assert told[-4:] == ["background", "heart", "heart + left", "heart + left + LV"]


def test_names_with_dollars_in_a_picture(raw: Path, tmp_path: Path) -> None:
    given, picture = write_raw_dataset(tmp_path / "given"), tmp_path / "picture.png"
    for folder, end in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
        (given / folder / f"one_01{end}").rename(given / folder / f"one$_$01{end}")
    assert _generate(*_folders(given), "--label-names", "a$_$", "$b$", "c", "--picture", picture) == 0
    assert picture.is_file()


def test_scribbles_are_no_dense_labels(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _generate("--dataset", write_raw_dataset(tmp_path / "given")) == 0
    shutil.rmtree(raw / NAME / "labelsTr_dense")
    again = ["generate", "--dataset", "300", "-d", "301", "-np", "1"]
    assert main(again) == 1
    assert "300 holds scribbles and no labelsTr_dense; give dense labels to draw from" in capsys.readouterr().err
    content = json.loads((raw / NAME / "dataset.json").read_text())
    content["scribbles"]["supervision"] = {"one_01": "dense", "two_01": "dense", "three_01": "none"}
    (raw / NAME / "dataset.json").write_text(json.dumps(content))
    for case in ("one_01", "two_01"):
        shutil.copy(tmp_path / "given" / "labelsTr" / f"{case}.nii.gz", raw / NAME / "labelsTr")
    assert main(again) == 1
    assert "1 images have no dense label (one_02); add" in capsys.readouterr().err
    assert main([*again, "--allow-unlabelled", "--split", "random"]) == 0
    written = raw / "Dataset301_GeneratedScribbles"
    assert {path.name for path in (written / "labelsTr_dense").iterdir()} == {"one_01.nii.gz", "two_01.nii.gz"}
    noted = json.loads((written / "dataset.json").read_text())["scribbles"]["supervision"]
    assert noted == {"one_02": "none", "three_01": "none"}
    _assert_fits(*(read(written / folder / "two_01.nii.gz") for folder in ("labelsTr", "labelsTr_dense")))


def test_what_is_known_of_the_cases_is_kept(raw: Path, tmp_path: Path) -> None:
    given = write_raw_dataset(tmp_path / "given")
    content = json.loads((given / "dataset.json").read_text())
    facts = {"one_01": {"phase": "ED"}}
    (given / "dataset.json").write_text(json.dumps({**content, "scribbles": {"cases": facts}}))
    (given / "labelsTr").rename(given / "labelsTr_dense")
    shutil.copytree(given / "labelsTr_dense", given / "labelsTr")
    assert _generate("--dataset", given) == 0
    assert json.loads((raw / NAME / "dataset.json").read_text())["scribbles"]["cases"] == facts


def test_a_picture_where_nobody_is_scribbled(raw: Path, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    dense = ["--dense-patients", ",".join(CASES), "--picture", str(picture)]
    assert _generate("--dataset", write_raw_dataset(tmp_path / "given"), *dense) == 0
    assert io.imread(picture).std() > 10


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda given: ["--dataset", given, "--images", given], "give either --dataset, or both"),
        (lambda given: ["--images", given / "imagesTr"], "give either --dataset, or both"),
        (lambda given: [], "give either --dataset, or both"),
        (lambda given: ["--dataset", given, "--fraction", "0"], "--fraction has to be above 0 and at most 1"),
        (lambda given: ["--dataset", given, "--fraction", "nan"], "--fraction has to be above 0 and at most 1"),
        (lambda given: ["--dataset", given, "--width", "0"], "--width has to be 1 to 30"),
        (lambda given: ["--dataset", given, "--every", "0"], "--every has to be 1 or more"),
        (lambda given: ["--dataset", given, "--elsewhere", "-1"], "--elsewhere has to be 0 or more"),
        (lambda given: ["--dataset", given, "--seed", "-1"], "--seed has to be 0 or more"),
        (lambda given: ["--dataset", given, "--picture", given / "a.jpg"], "cannot become a picture"),
        (lambda given: ["--dataset", given, "--picture", given / "no" / "a.png"], "cannot become a picture"),
        (lambda given: ["--dataset", given / "no"], "does not exist; give an existing folder with --dataset"),
        (lambda given: ["--dataset", "999"], "has no dataset of the id 999"),
        (lambda given: ["--dataset", given, "--unlabelled-value", "0"], "--unlabelled-value goes with --images"),
        (lambda given: ["--dataset", given, "--label-names", "a"], "--label-names goes with --images and --labels"),
        (lambda given: ["--dataset", given, "--image-pattern", "a"], "--image-pattern goes with --images and --labels"),
        (
            lambda given: [*_folders(given), "--case-pattern", "{patient}_{case}"],
            "--case-pattern goes with --dataset, leave it out; patients are told by {patient} in --image-pattern",
        ),
        (lambda given: ["--dataset", given, "--split", "five-fold"], "with --split"),
        (
            lambda given: [*_folders(given), "--label-names", "heart"],
            "--label-names names 1 classes (heart), but the labels hold 3 (1, 2, 3)",
        ),
    ],
)
def test_mistakes(
    acdc: Acdc,
    tmp_path: Path,
    damage: Callable[[Path], list[object]],
    expected: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert _generate(*damage(write_raw_dataset(tmp_path / "given"))) == 1
    told = capsys.readouterr().err
    assert expected in told
    assert told.count("\n") == 1
    assert acdc.written() == []


@pytest.mark.parametrize("kind", ["background only", "off the image", "missing", "damaged"])
def test_bad_labels(acdc: Acdc, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = write_folders(tmp_path / "given")
    file = labels / "two_01.nii.gz"
    expected = str(file)
    if kind == "background only":
        for path in labels.iterdir():
            write_volume(path, np.zeros((5, 60, 50), dtype=np.uint8))
        expected = "nothing but background"
    elif kind == "off the image":
        write_volume(file, dense_volume(2), origin=(0, 0, 0))
    elif kind == "missing":
        file.unlink()
        expected = "1 images have no dense label (two_01); add the dense labels to"
    else:
        file.write_bytes(file.read_bytes()[:100])
    assert _generate("--images", images, "--labels", labels) == 1
    assert expected in capsys.readouterr().err
    assert acdc.written() == []


def test_classes_that_are_declared_but_do_not_occur_keep_their_numbers(raw: Path, tmp_path: Path) -> None:
    """As in some cases of a larger dataset."""
    given = write_raw_dataset(tmp_path / "given")
    declared = json.loads((given / "dataset.json").read_text())
    declared["labels"] = {"background": 0, "RV": 1, "MYO": 2, "LV": 3, "scar": 4, "clot": 5}
    (given / "dataset.json").write_text(json.dumps(declared))
    assert _generate("--dataset", given) == 0
    written = json.loads((raw / NAME / "dataset.json").read_text())
    assert written["labels"] == {**declared["labels"], "ignore": 6}
    assert set(np.unique(read(raw / NAME / "labelsTr" / "one_01.nii.gz"))) == {0, 1, 2, 3, 6}


def test_regions_of_classes_that_do_not_occur(raw: Path, tmp_path: Path) -> None:
    given = write_raw_dataset(tmp_path / "given")
    declared = json.loads((given / "dataset.json").read_text())
    declared["labels"] = {"background": 0, "whole": [1, 2, 3, 4], "core": [2, 3, 4], "inner": [3, 4], "scar": 4}
    (given / "dataset.json").write_text(json.dumps({**declared, "regions_class_order": [1, 2, 3, 4]}))
    assert _generate("--dataset", given) == 0
    written = json.loads((raw / NAME / "dataset.json").read_text())
    assert (written["labels"], written["regions_class_order"]) == ({**declared["labels"], "ignore": 5}, [1, 2, 3, 4])


def test_images_that_fit_no_pattern_are_told(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = write_folders(tmp_path)
    write_volume(images / "odd.nii.gz", np.zeros((2, 4, 4), np.float32))
    assert _generate("--images", images, "--labels", labels, "--image-pattern", "{patient}_{case}") == 0
    assert f"note: --image-pattern leaves out of {images}: odd.nii.gz\n" in capsys.readouterr().out


def test_a_picture_that_is_there_stays(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = write_raw_dataset(tmp_path / "given")
    picture = tmp_path / "picture.png"
    picture.write_text("mine")
    assert _generate("--dataset", given, "--picture", picture) == 1
    assert "exists already; replace it with --overwrite, or give another file" in capsys.readouterr().err
    assert picture.read_text() == "mine"
    assert _generate("--dataset", given, "--picture", picture, "--overwrite") == 0
    assert io.imread(picture).std() > 10


def test_names_that_are_no_utf_8_have_randomness_of_their_own() -> None:
    first, second = (case_rng(0, name).random() for name in ("b\udcff", "b\udcfe"))
    assert first != second
