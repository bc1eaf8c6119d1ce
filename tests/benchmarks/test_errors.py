"""Where errors lie, against counts by hand, and the command on made-up runs."""

import json
import shutil

import numpy as np
import pytest

from benchmarks.accuracy import cli
from benchmarks.accuracy.errors import PLACES, case_errors, describe, places_of_slices, pooled_dice
from benchmarks.accuracy.grid import read_grid
from benchmarks.accuracy.jobs import make_jobs, run_folder, write_plan
from benchmarks.accuracy.judging import judge_run
from benchmarks.accuracy.store import write_json
from tests.benchmarks.conftest import COST

STRUCTURES = {"a": 1, "both": (1, 2)}


def _heart():
    """Nine slices; structures in slices 1 to 6, wide ones in 5 and 6."""
    reference = np.zeros((9, 40, 40), int)
    reference[1:7, 10:14, 10:14] = 1
    reference[5:7, 10:20, 20:30] = 2
    return reference


def test_slices_are_told_by_the_wider_end():
    places = places_of_slices(_heart() > 0)
    assert places.tolist() == [3, 2, 2, 1, 1, 0, 0, 3, 3]
    assert places_of_slices(_heart()[::-1] > 0).tolist() == places.tolist()[::-1]
    assert (places_of_slices(np.zeros((4, 2, 2), bool)) == PLACES.index("beyond")).all()


def test_errors_are_counted_by_place_and_distance():
    reference = _heart()
    prediction = reference.copy()
    prediction[1:3, 10:12, 10:14] = 0  # half of structure 1 is missing in the narrow third
    prediction[0, 10:14, 10:14] = 1  # 16 voxels beyond, one slice (8 mm) away
    prediction[5, 30, 39] = 2  # about 14 voxels (14 mm) from the wide structure
    found = case_errors("x", prediction, reference, STRUCTURES, (8.0, 1.0, 1.0))
    assert found.truth[0].tolist() == [32, 32, 32, 0]
    assert found.predicted[0].tolist() == [32, 32, 16, 16]
    assert found.overlap[0].tolist() == [32, 32, 16, 0]
    assert found.far.tolist() == [0, 17, 0, 0]
    assert found.worst_slice == 0
    dice = pooled_dice([found, found])
    assert dice[0].tolist() == pytest.approx([1, 1, 2 / 3, 0])
    assert dice[1, 0] == pytest.approx(2 * 232 / (232 + 233))


def test_distances_where_there_is_no_organ_or_no_error():
    nothing = np.zeros((2, 5, 5), int)
    found = case_errors("x", np.ones_like(nothing), nothing, STRUCTURES, (1.0, 1.0, 1.0))
    assert found.far.tolist() == [0, 0, 0, 50]
    assert case_errors("x", nothing, nothing, STRUCTURES, (1.0, 1.0, 1.0)).far.sum() == 0
    assert np.isnan(pooled_dice([case_errors("x", nothing, nothing, STRUCTURES, (1.0, 1.0, 1.0))])).all()


def test_the_tables_name_groups_and_places():
    found = [case_errors("x", _heart(), _heart(), STRUCTURES, (8.0, 1.0, 1.0))]
    text = describe({"all": found, "ED": found}, list(STRUCTURES))
    assert "| ED (1) | both | 1.000 | 1.000 | 1.000 | 0 voxels predicted |" in text
    assert "| all (1) | 0 voxels | 0 | 0 | 0 | 0 |" in text


@pytest.fixture
def judged(workspace, write_grid, tmp_path):
    """A run of row ``stock`` whose predictions are the references, one of them shifted; the output folder."""
    output = tmp_path / "out"
    grid = read_grid(write_grid())
    jobs = make_jobs(grid, "cpu")
    write_plan(output, grid, jobs)
    job = next(job for job in jobs if job.row == "stock")
    folder = run_folder(output, job.run)
    write_json(folder.definition_file, job.definition)
    predictions = folder.path / "validation"
    predictions.mkdir(parents=True)
    for case in job.definition["validation"]:
        shutil.copy(workspace.raw / "labelsTr_dense" / f"{case}.nii.gz", predictions)
    write_json(folder.result_file, {**COST, "predictions": "validation"})
    judge_run(folder, workspace.raw / "labelsTr_dense")
    return output, workspace.raw / "labelsTr_dense", job.definition["validation"]


def test_the_command_writes_tables_and_a_picture(judged, capsys):
    output, references, cases = judged
    line = ["errors", str(output), "--row", "stock", "--references", str(references), "--group", f"one={cases[0]}"]
    assert cli.main(line) == 0
    (table,) = (output / "errors").glob("*.md")
    text = table.read_text()
    assert f"| all ({len(cases)}) |" in text
    assert "| one (1) |" in text
    assert "1.000" in text
    assert table.with_suffix(".png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--row", "nobody"], "has no row 'nobody'"),
        (["--row", "mine"], "no training of row 'mine' is judged yet"),
        (["--row", "stock", "--group", "ED"], "expected --group NAME=REGEX"),
        (["--row", "stock", "--group", "ED=nothing"], "no case matches nothing"),
    ],
)
def test_mistakes(judged, capsys, options, message):
    output, references, _ = judged
    assert cli.main(["errors", str(output), "--references", str(references), *options]) == 1
    assert message in capsys.readouterr().err
    assert json.loads((output / "plan.json").read_text())
