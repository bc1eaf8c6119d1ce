"""Mistakes of the user's, and what a conversion says at its end."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from scribble_conversion.checking import inspection
from scribble_conversion.cli import main
from tests.scribble_conversion.checking.hands import (
    CASE,
    IGNORE,
    OTHER,
    convert_strokes,
    declare,
    dense_label,
    edit_json,
    edit_label,
    scribbled_label,
)
from tests.scribble_conversion.conftest import Acdc


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ["-p", "nnUNetPlansNone"],
            "has no plan nnUNetPlansNone of this dataset; correct -p or plan the dataset first",
        ),
        (["--resampled-cases", "-4"], "--resampled-cases has to be 0 or more, got -4"),
    ],
)
def test_options_that_mean_nothing(
    acdc: Acdc, options: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    convert_strokes(acdc)
    capsys.readouterr()
    assert main(["check", "127", "-np", "1", *options]) == 1
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("case", ["aaa", "zzz"])  # before and behind the others
def test_names_that_are_not_utf8(acdc: Acdc, tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    convert_strokes(acdc)
    for folder, end in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
        old = acdc.dataset / folder / f"{CASE}{end}"
        old.rename(Path(os.fsdecode(bytes(old.parent) + f"/{case}".encode() + b"M\xfcller" + end.encode())))
    page = tmp_path / "report.html"
    for command in (["check", "127"], ["report", "127", "-o", str(page)]):
        capsys.readouterr()
        shown = command[0] == "report" and case == "zzz"  # else nnU-Net's reader is asked to open it
        assert main([*command, "-np", "1"]) == (0 if shown else 1)
        told = "".join(capsys.readouterr()) + (page.read_text("utf-8") if shown else "")
        assert "not UTF-8, which SimpleITK cannot open" in told
        assert told.encode("utf-8")  # what a strict terminal does


def test_a_conversion_tells_what_it_sees(acdc: Acdc, capsys: pytest.CaptureFixture[str]) -> None:
    convert_strokes(acdc)
    assert "warning" not in capsys.readouterr().out
    shutil.copy(acdc.image(CASE), acdc.image(OTHER))
    edit_label(acdc.image("patient022_frame01"), np.zeros_like)
    edit_label(acdc.scribble(CASE), lambda array: array[2].__setitem__(array[2] == 3, IGNORE))
    edit_label(acdc.scribble(OTHER), lambda array: np.where(array == 0, IGNORE, array))
    edit_label(acdc.dense("patient081_frame01"), lambda array: np.where(array == 3, 2, array))
    assert main(acdc.arguments("--overwrite")) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("warning", "error", "look"))]
    assert [line.partition(";")[0] for line in told] == [
        f"warning: background is not scribbled in 1 of 8 cases ({OTHER})",
        f"warning: 1 of 92 pairs of slice and class without a scribble ({CASE} slice 3 LV)",
        "warning: the scribbles of 1 case contradict labelsTr_dense on more than 1 % of their voxels (worst: "
        "patient081_frame01 14.3 %",
        "warning: an image of patient022_frame01 is constant",
        f"warning: {CASE}, {OTHER} hold the same image",
        "look closer: nnUNetv2_convert_scribbles check 127",
    ]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("3", "is no nnU-Net raw dataset (a folder with a dataset.json); give the number, the name or the folder"),
        ("Dataset003_None", "is no nnU-Net raw dataset"),
        ("/nowhere/at/all", "is no nnU-Net raw dataset"),
    ],
)
def test_no_such_dataset(acdc: Acdc, capsys: pytest.CaptureFixture[str], dataset: str, message: str) -> None:
    assert main(["check", dataset]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no valid JSON"),
        ("[]", "has to hold a JSON object"),
        ('{"labels": {"background": 0}, "channel_names": {"0": "x"}}', "lacks 'file_ending'"),
        ('{"labels": {"a": "b"}, "file_ending": ".nii.gz", "channel_names": {"0": "x"}}', "has to declare labels like"),
        ('{"labels": {"background": 0}, "file_ending": ".nii.gz"}', "names no channels"),
        ('{"labels": {"background": 0}, "file_ending": 3, "channel_names": {"0": "x"}}', "has the file_ending '3'"),
    ],
)
def test_a_dataset_json_beyond_use(sound: Acdc, capsys: pytest.CaptureFixture[str], content: str, message: str) -> None:
    (sound.dataset / "dataset.json").write_text(content)
    assert main(["check", "127"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {sound.dataset / 'dataset.json'} ")
    assert message in error


def test_an_ending_that_nnunet_does_not_read(sound: Acdc, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (sound.dataset / "imagesTr").iterdir():
        path.rename(str(path).replace(".nii.gz", ".jpg"))
    edit_json(sound.dataset / "dataset.json", lambda content: content.pop("overwrite_image_reader_writer") and None)
    declare(sound, file_ending=".jpg")
    assert main(["check", "127"]) == 1
    assert "nnU-Net has no reader for" in capsys.readouterr().err


def test_a_json_file_that_cannot_be_written(
    sound: Acdc, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Path("/dev/full")
    if full.exists():
        assert main(["check", "127", "-np", "1", "--json", str(full)]) == 1
        assert "give another file with --json" in capsys.readouterr().err
    monkeypatch.setattr(inspection, "inspect", None)  # refused before the work is done
    for path, message in (
        (Path("/nowhere/at/all.json"), "the folder /nowhere/at does not exist; make it, or give another file with"),
        (tmp_path, f"{tmp_path} is a folder; give a file with --json"),
    ):
        assert main(["check", "127", "-np", "1", "--json", str(path)]) == 1
        assert message in capsys.readouterr().err


def test_dense_label_has_the_shape_of_the_strokes() -> None:
    strokes, dense = scribbled_label(), dense_label()
    assert (dense[strokes != IGNORE] == strokes[strokes != IGNORE]).all()


def test_findings_replace_findings_alone(sound: Acdc, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tmp_path / "found.json"
    for _ in range(2):
        assert main(["check", "127", "-np", "1", "--json", str(found)]) == 0
    kept = (sound.dataset / "dataset.json").read_bytes()
    assert main(["check", "127", "-np", "1", "--json", str(sound.dataset / "dataset.json")]) == 1
    assert "dataset.json is no list of findings, so it stays" in capsys.readouterr().err
    assert (sound.dataset / "dataset.json").read_bytes() == kept
