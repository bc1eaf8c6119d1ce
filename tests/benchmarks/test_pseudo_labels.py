"""Pseudo-labels of a trained network, judged by dense labels."""

import numpy as np
import pytest
import torch

from benchmarks.accuracy import cli, train
from benchmarks.accuracy.jobs import write_plan
from benchmarks.accuracy.pseudo_labels import _strokes, judge_pseudo_labels
from nnunetv2_pclmix.evaluation.volume import read_labels
from scribble_conversion.console import UserError


def _rows(table):
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return lines[0], {cells[0]: [float(cell) for cell in cells[1:]] for cells in lines[2:]}


def test_pseudo_labels_of_a_training(trainer_of, workspace):
    references = workspace.raw / "labelsTr_dense"
    trainer, run = trainer_of("mine")
    train.train(trainer, run)
    train._finish_loaders(trainer)
    trainer.perform_actual_validation()
    head, rows = _rows(judge_pseudo_labels(run, references, [{}, {"appearance_weight": 0}]))
    assert head[0] == "labels"
    assert list(rows) == ["prediction", "{}", '{"appearance_weight": 0}']
    cases = run.definition()["validation"]
    dice = []
    for value in (1, 2, 3):
        of_cases = []
        for case in cases:
            predicted = read_labels(next(run.results.rglob(f"validation/{case}.nii.gz"))).labels == value
            truth = read_labels(references / f"{case}.nii.gz").labels == value
            of_cases.append(2 * (predicted & truth).sum() / (predicted.sum() + truth.sum()))
        dice.append(np.mean(of_cases))
    assert rows["prediction"][:3] == pytest.approx(dice, abs=0.02)  # labels are resampled here, logits there

    _, rows = _rows(judge_pseudo_labels(run, references, [{}, {"closed_world": False}], "training", every=4))
    mean = {name: values[3] for name, values in rows.items()}
    assert mean["{}"] > mean["prediction"]  # the strokes tell more than a network that has learned nothing
    assert mean["{}"] != mean['{"closed_world": false}']

    _, rows = _rows(judge_pseudo_labels(run, references, [{"preset": "published"}], "training", every=4))
    assert rows['{"preset": "published"}'] == rows["prediction"]

    for wrong in ({"no_such_name": 1}, {"preset": "unknown"}, {"appearance_weight": -1}):
        with pytest.raises(UserError, match="no hyper-parameters"):
            judge_pseudo_labels(run, references, [wrong])


def test_strokes_of_whole_images():
    scribbles = torch.full((3, 4, 4), 9)
    scribbles[0, 0, 0], scribbles[1, 1, 1] = 0, 2
    strokes = _strokes(scribbles, 9, [1, 2, (1, 2)])
    assert strokes.annotated.tolist() == [True, True, False]
    assert strokes.present.tolist() == [[False] * 3, [False, True, True], [True] * 3]


def test_mistakes(trainer_of, workspace):
    references = workspace.raw / "labelsTr_dense"
    _, stock = trainer_of("stock", folder="stock")
    with pytest.raises(UserError, match="makes no pseudo-labels"):
        judge_pseudo_labels(stock, references, [{}])
    _, mine = trainer_of("mine")
    with pytest.raises(UserError, match=r"has no checkpoint_final\.pth"):
        judge_pseudo_labels(mine, references, [{}])


def test_the_command(write_grid, tmp_path, capsys, workspace):
    from benchmarks.accuracy.grid import read_grid
    from benchmarks.accuracy.jobs import make_jobs

    grid = read_grid(write_grid())
    write_plan(tmp_path, grid, make_jobs(grid, "cpu"))
    command = ["pseudo-labels", str(tmp_path), "--row", "mine", "--references", str(workspace.raw / "labelsTr_dense")]
    assert cli.main([*command, "--pclmix", "no JSON"]) == 1
    assert "expected --pclmix as in" in capsys.readouterr().err
    assert cli.main(command) == 1
    assert "no training of row 'mine' is judged yet" in capsys.readouterr().err
