"""``nnUNetv2_convert_scribbles shorten`` from the command line to the files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from scribble_conversion.cli import main
from tests.scribble_conversion.conftest import Acdc
from tests.scribble_conversion.dense_sources import read, write_raw_dataset

IGNORE = 4
CONVERTED = "Dataset300_GeneratedScribbles"
NAME = "Dataset301_ShortenedScribbles"


@pytest.fixture
def raw(acdc: Acdc, tmp_path: Path) -> Path:
    """nnU-Net's raw folder with a dataset of scribbles, one patient of which is dense and one unlabelled."""
    given = write_raw_dataset(tmp_path / "given", channels=2)
    mixed = ["--dense-patients", "two_01", "--unlabelled-patients", "three_01"]
    assert main(["generate", "--dataset", str(given), "-d", "300", "-np", "1", *mixed]) == 0
    return acdc.raw


def _shorten(*arguments: object) -> int:
    return main(["shorten", "--dataset", "300", "-d", "301", "-np", "1", *map(str, arguments)])


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_quarter_of_every_stroke_is_kept_and_all_else(raw: Path, tmp_path: Path) -> None:
    before = _files(raw / CONVERTED)
    picture = tmp_path / "picture.png"
    assert _shorten("--fraction", "0.25", "--picture", picture) == 0
    assert picture.stat().st_size > 1000
    assert _files(raw / CONVERTED) == before
    after = _files(raw / NAME)
    changed = {name for name in before if after.get(name) != before[name]}
    assert changed == {"labelsTr/one_01.nii.gz", "labelsTr/one_02.nii.gz", "dataset.json"}
    assert after.keys() == before.keys()

    for case in ("one_01", "one_02"):
        whole, kept = (read(raw / name / "labelsTr" / f"{case}.nii.gz") for name in (CONVERTED, NAME))
        drawn = kept != IGNORE
        assert np.array_equal(kept[drawn], whole[drawn])
        assert drawn.sum() == pytest.approx(0.25 * (whole != IGNORE).sum(), rel=0.05)
        for before_plane, plane in zip(whole, kept, strict=True):
            for value in range(IGNORE):
                strokes, number = ndimage.label(before_plane == value, np.ones((3, 3)))
                for index in range(1, number + 1):
                    assert ndimage.label((plane == value) & (strokes == index), np.ones((3, 3)))[1] == 1

    first, second = (json.loads((raw / name / "dataset.json").read_text()) for name in (CONVERTED, NAME))
    for key in ("labels", "channel_names", "file_ending", "numTraining"):
        assert first[key] == second[key]
    assert second["scribbles"]["supervision"] == {"three_01": "none", "two_01": "dense"}
    drawing = second["scribbles"]["drawing"]
    assert (drawing["from"], drawing["fraction"], drawing["before"]["from"]) == ("scribbles", 0.25, "dense labels")


def test_what_is_known_of_the_cases_is_kept(raw: Path) -> None:
    path = raw / CONVERTED / "dataset.json"
    content = json.loads(path.read_text())
    content["scribbles"]["cases"] = {"one_01": {"phase": "ED"}}
    path.write_text(json.dumps(content))
    assert _shorten("--fraction", "0.5") == 0
    assert json.loads((raw / NAME / "dataset.json").read_text())["scribbles"]["cases"] == {"one_01": {"phase": "ED"}}


def test_strokes_are_cut_along_the_axis_that_is_recorded(acdc: Acdc, tmp_path: Path) -> None:
    given = write_raw_dataset(tmp_path / "along_x")
    assert main(["generate", "--dataset", str(given), "-d", "300", "-np", "1", "--axis", "x"]) == 0
    noted = []
    for number, options in ((302, []), (303, ["--axis", "x"]), (304, ["--axis", "auto"])):
        arguments = ["shorten", "--dataset", "300", "-d", str(number), "-n", "X", "-np", "1", "--fraction", "0.3"]
        assert main([*arguments, *options]) == 0
        content = json.loads((acdc.raw / f"Dataset{number}_X" / "dataset.json").read_text())
        noted.append(content["scribbles"]["drawing"]["axis"])
    assert noted == ["x", "x", "auto"]
    own, same, other = (read(acdc.raw / f"Dataset{n}_X" / "labelsTr" / "one_01.nii.gz") for n in (302, 303, 304))
    assert np.array_equal(own, same)
    assert not np.array_equal(own, other)


def test_seeds_and_processes(raw: Path) -> None:
    for number, options in ((302, ["-np", "2"]), (303, ["-np", "1"]), (304, ["-np", "1", "--seed", "5"])):
        arguments = ["shorten", "--dataset", "300", "-d", str(number), "-n", "X", "--fraction", "0.5", *options]
        assert main(arguments) == 0
    one, same, other = (read(raw / f"Dataset{number}_X" / "labelsTr" / "one_01.nii.gz") for number in (302, 303, 304))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_other_peoples_scribbles_by_folder(acdc: Acdc) -> None:
    assert main(acdc.arguments("--test-patients", "81")) == 0
    given = ["shorten", "--dataset", str(acdc.dataset), "-d", "301", "-np", "1", "--fraction", "0.5"]
    assert main(given) == 0
    written = acdc.raw / NAME
    assert (written / "splits_final.json").read_text() == (acdc.dataset / "splits_final.json").read_text()
    assert json.loads((written / "dataset.json").read_text())["scribbles"]["split"] == "own"
    whole, kept = (read(folder / "labelsTr" / "patient021_frame01.nii.gz") for folder in (acdc.dataset, written))
    assert 0 < (kept != IGNORE).sum() < (whole != IGNORE).sum()


def test_the_patients_recorded_stay_together(raw: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    named = ["generate", "--dataset", str(given), "-d", "305", "-np", "1", "--case-pattern", "{patient}_{case}"]
    assert main(named) == 0
    patients = {"one_01": "one", "one_02": "one", "two_01": "two", "three_01": "three", "four_01": "four"}

    def scribbles(number: int) -> dict:
        (folder,) = raw.glob(f"Dataset{number}_*")
        return json.loads((folder / "dataset.json").read_text())["scribbles"]

    assert scribbles(305)["patients"] == patients  # of the test case, too
    for number, command in ((306, ["shorten", "--fraction", "0.5"]), (307, ["generate"])):
        more = ["--dataset", "305", "-d", str(number), "-np", "1", "--split", "random", "--test-patients", "two"]
        assert main([*command, *more]) == 0
        assert scribbles(number)["patients"] == patients
        (folder,) = raw.glob(f"Dataset{number}_*")
        assert sorted(path.name for path in (folder / "labelsTs").iterdir()) == ["four_01.nii.gz", "two_01.nii.gz"]
        for fold in json.loads((folder / "splits_final.json").read_text()):
            assert not {patients[name] for name in fold["train"]} & {patients[name] for name in fold["val"]}


def test_more_patients_may_be_unlabelled_than_before(raw: Path) -> None:
    """Each is to be validated with in some fold of the dataset's own split."""
    folds = [
        {"train": ["three_01", "two_01"], "val": ["one_01", "one_02"]},
        {"train": ["one_01", "one_02", "three_01"], "val": ["two_01"]},
    ]
    (raw.parent / "preprocessed" / CONVERTED / "splits_final.json").write_text(json.dumps(folds))
    assert _shorten("--fraction", "0.5", "--unlabelled-patients", "one_01") == 0
    written = raw / NAME
    supervision = json.loads((written / "dataset.json").read_text())["scribbles"]["supervision"]
    assert supervision == {"one_01": "none", "three_01": "none", "two_01": "dense"}
    folds[0]["val"].remove("one_01")
    assert json.loads((written / "splits_final.json").read_text()) == folds


@pytest.mark.parametrize("other_raw", [False, True])
def test_the_folds_are_those_that_nnunet_reads(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], other_raw: bool
) -> None:
    """Of a dataset elsewhere, which happens to be called like one of nnU-Net's, its own."""
    used, older = raw.parent / "preprocessed" / CONVERTED, raw / CONVERTED
    folds = [{"train": ["one_01", "one_02", "three_01"], "val": ["two_01"]}]
    (used / "splits_final.json").write_text(json.dumps(folds))
    before = json.loads((older / "splits_final.json").read_text())
    assert folds != before
    if other_raw:
        (tmp_path / "other").mkdir()
        monkeypatch.setenv("nnUNet_raw", str(tmp_path / "other"))
    given = ["shorten", "--dataset", str(older), "-d", "301", "-np", "1", "--fraction", "0.5"]
    assert main(given) == 0
    (written,) = (tmp_path / "other" if other_raw else raw).glob("Dataset301_*")
    assert json.loads((written / "splits_final.json").read_text()) == (before if other_raw else folds)
    assert "have different folds (splits_final.json)" in capsys.readouterr().out


def test_without_a_split_there_is_a_random_one(raw: Path) -> None:
    (raw / CONVERTED / "splits_final.json").unlink()
    (raw.parent / "preprocessed" / CONVERTED / "splits_final.json").unlink()
    assert _shorten("--fraction", "0.5") == 0
    assert json.loads((raw / NAME / "dataset.json").read_text())["scribbles"]["split"] == "random"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--fraction", "1.5"], "--fraction has to be above 0 and at most 1"),
        (["--fraction", "0.5", "--dataset", "555"], "no dataset of the id 555"),
        (["--fraction", "0.5", "-d", "300"], "dataset id 300 is in use"),
        (["--fraction", "0.5", "-d", "300", "-n", "GeneratedScribbles"], "exists already"),
        (["--fraction", "0.5", "-d", "300", "-n", "GeneratedScribbles", "--overwrite"], "would be replaced"),
        (["--fraction", "0.5", "--test-patients", "nobody"], "'nobody' is no patient or case here"),
        (["--fraction", "0.5", "--unlabelled-patients", "two_01"], "val is empty without those held out or unlabelled"),
    ],
)
def test_mistakes(raw: Path, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = _files(raw)
    capsys.readouterr()
    assert _shorten(*arguments) == 1
    assert expected in capsys.readouterr().err
    assert _files(raw) == before


def test_the_fraction_has_to_be_given(raw: Path) -> None:
    with pytest.raises(SystemExit):
        _shorten()
