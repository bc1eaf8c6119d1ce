from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from nnunetv2_pclmix.cli import main
from nnunetv2_pclmix.evaluation import folder
from tests.evaluation.files import write_labels


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset folder with two dense references and a folder of perfect predictions."""
    labels = np.zeros((3, 6, 6), np.uint8)
    labels[1, 2:4, 2:5] = 1
    for name in ("a", "b"):
        write_labels(tmp_path / "labelsTr_dense" / f"{name}.nii.gz", labels)
        write_labels(tmp_path / "predictions" / f"{name}.nii.gz", labels)
    content = {"labels": {"background": 0, "RV": 1, "ignore": 2}, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    return tmp_path


def arguments(dataset: Path, *more: str) -> list[str]:
    folders = ["--predictions", str(dataset / "predictions"), "--references", str(dataset / "labelsTr_dense")]
    return ["evaluate", *folders, *more]


def test_table_and_files(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(dataset)) == 0
    out = capsys.readouterr().out
    assert "1.000 ± 0.000" in out
    assert "HD95 (mm)" in out
    assert json.loads((dataset / "predictions" / "dense_evaluation.json").read_text())["mean"]["dice"] == 1.0
    assert (dataset / "predictions" / "dense_evaluation.csv").is_file()
    assert main(arguments(dataset, "--output", str(dataset / "out"))) == 0
    assert (dataset / "out" / "dense_evaluation.json").is_file()


def test_missing_predictions_need_consent(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (dataset / "predictions" / "b.nii.gz").unlink()
    assert main(arguments(dataset)) == 1
    assert "--allow-missing" in capsys.readouterr().err
    assert main(arguments(dataset, "--allow-missing")) == 0


UNFIT = [
    None,
    "no json",
    "[]",
    '{"labels": {}}',
    '{"labels": {"0": "background", "1": "RV"}, "file_ending": ".nii.gz"}',
    '{"labels": {"background": 0, "RV": null}, "file_ending": ".nii.gz"}',
    '{"labels": {"background": 0, "RV": 1}, "file_ending": 5}',
]


def test_a_relative_folder_has_folders_above(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(dataset / "labelsTr_dense")
    assert main(["evaluate", "--predictions", "../predictions", "--references", "."]) == 0


def _die(*_: object) -> None:
    os._exit(9)


def test_a_killed_worker_is_told(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "judge_case", _die)
        assert main(arguments(dataset, "-np", "2")) == 1
    assert "a worker was killed" in capsys.readouterr().err


@pytest.mark.parametrize("content", UNFIT)
def test_unfit_dataset_json_is_named(dataset: Path, content: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    (dataset / "dataset.json").unlink()
    if content is not None:
        (dataset / "dataset.json").write_text(content)
    assert main(arguments(dataset)) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "dataset.json" in error


def test_number_of_processes_is_checked(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(dataset, "-np", "0")) == 1
    assert "got 0" in capsys.readouterr().err
