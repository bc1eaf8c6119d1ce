"""Finished trainings judged after calibration."""

import shutil

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from benchmarks.accuracy import calibrated, cli, train
from benchmarks.accuracy.jobs import write_plan
from benchmarks.accuracy.judging import judge_run
from benchmarks.accuracy.store import RunFolder, read_json, write_json
from nnunetv2_pclmix.evaluation.volume import read_labels
from scribble_conversion.console import UserError
from tests.benchmarks.conftest import COST


def test_a_training_calibrated(trainer_of, workspace, monkeypatch):
    references = workspace.raw / "labelsTr_dense"
    trainer, run = trainer_of("stock")
    train.train(trainer, run)
    train._finish_loaders(trainer)
    trainer.perform_actual_validation()
    write_json(run.result_file, train.result_of(trainer, run, 1.0))
    judge_run(run, references)
    definition = run.definition()
    cases = definition["validation"]
    definition["dataset_json"]["scribbles"] = {"patients": dict.fromkeys(cases, "mary")}
    write_json(run.definition_file, definition)
    given = []

    def fixed(offsets):
        def crossed(voxels, *, exclusive, patients):
            assert exclusive
            assert patients == ["mary"] * len(voxels)
            given.append(len(voxels))
            return [torch.tensor(offsets).double()] * len(voxels)

        monkeypatch.setattr(calibrated, "crossed_offsets", crossed)

    fixed([0.0] * 4)
    lines = calibrated.judge_calibrated([(1, run)], references).splitlines()
    assert given == [len(cases)]
    was, now = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:])
    assert was[0] == "as trained"
    assert now[0] == "calibrated"
    assert was[1:7] == now[1:7]
    assert now[7] == "+0.000 [+0.000, +0.000]"
    fixed([0.0, 0.0, 1e4, 0.0])
    calibrated.judge_calibrated([(1, run)], references)
    for case in cases:
        labels = read_labels(run.path / calibrated.FOLDER / f"{case}.nii.gz").labels
        assert np.unique(labels).tolist() == [2]
    scores = read_json(run.path / calibrated.FOLDER / run.scores_file.name)["cases"]
    assert all(of_case["RV"]["dice"] == 0 < of_case["MYO"]["dice"] for of_case in scores.values())
    monkeypatch.undo()
    assert len(list(run.path.glob("tmp*"))) == 0


def test_both_are_judged_with_the_references_named(workspace, tmp_path, monkeypatch):
    references = workspace.raw / "labelsTr_dense"
    cases = ["patient001_frame01", "patient002_frame01"]
    run = RunFolder(tmp_path / "run")
    write_json(run.definition_file, {"dataset_json": read_json(workspace.raw / "dataset.json"), "validation": cases})
    write_json(run.result_file, {**COST, "predictions": "predictions"})
    for folder in (tmp_path / "others", run.path / "predictions", run.path / calibrated.FOLDER):
        folder.mkdir(parents=True)
        for case in cases:
            shutil.copy(references / f"{case}.nii.gz", folder)
    judge_run(run, references)
    stored = run.scores_file.read_bytes()
    for case in cases:  # other references, without one of the structures
        image = sitk.ReadImage(str(references / f"{case}.nii.gz"))
        sitk.WriteImage(image * sitk.Cast(image != 1, image.GetPixelID()), str(tmp_path / "others" / f"{case}.nii.gz"))
    monkeypatch.setattr(calibrated, "predict_calibrated", lambda folder: None)  # the same as predicted before
    *_, was, now = calibrated.judge_calibrated([(1, run)], tmp_path / "others").splitlines()
    was, now = ([cell.strip() for cell in line.strip("|").split("|")] for line in (was, now))
    assert "0.000 ± 0.000" in was
    assert was[1:7] == now[1:7]
    assert now[7] == "+0.000 [+0.000, +0.000]"
    assert run.scores_file.read_bytes() == stored


def test_mistakes(trainer_of, write_grid, workspace, tmp_path, capsys):
    _, run = trainer_of("stock")
    with pytest.raises(UserError, match=r"has no checkpoint_final\.pth"):
        calibrated.judge_calibrated([(1, run)], workspace.raw / "labelsTr_dense")

    from benchmarks.accuracy.grid import read_grid
    from benchmarks.accuracy.jobs import make_jobs

    _, partial = trainer_of("partial CE", folder="partial")
    checkpoint = partial.results / "model" / "fold_0" / "checkpoint_final.pth"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    with pytest.raises(UserError, match="nnUNetTrainerPartialCE is this instrument's own"):
        calibrated.judge_calibrated([(1, partial)], workspace.raw / "labelsTr_dense")

    grid = read_grid(write_grid())
    write_plan(tmp_path, grid, make_jobs(grid, "cpu"))
    command = ["calibrated", str(tmp_path), "--references", str(workspace.raw / "labelsTr_dense")]
    assert cli.main([*command, "--row", "mine"]) == 1
    assert "no training of row 'mine' is judged yet" in capsys.readouterr().err
