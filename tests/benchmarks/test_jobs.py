"""From a grid and a preprocessed dataset to trainings."""

import json
import shutil

import pytest

from benchmarks.accuracy import fingerprint
from benchmarks.accuracy.dataset import patient_of, patients_of, patients_of_fold
from benchmarks.accuracy.grid import Fold, read_grid
from benchmarks.accuracy.jobs import make_jobs
from scribble_conversion.console import UserError

CASES = ["patient001_frame01", "patient001_frame12", "patient002_frame01", "patient003_frame01"]


@pytest.fixture(autouse=True)
def _workspace(workspace):
    return workspace


def _jobs(write_grid, **changes):
    return make_jobs(read_grid(write_grid(**changes)), "cpu")


def test_folds_are_chosen_by_their_validation_patients():
    assert patients_of_fold(Fold("3"), CASES, {}) == (CASES[:3], CASES[3:])
    assert patients_of_fold(Fold("patient002", "1"), CASES, {}) == (CASES[:2], CASES[2:3])
    assert [patient_of(c) for c in ("patient021_frame01", "case_001", "control_01_f1", "x")] == [
        *("patient021", "case_001", "control_01", "x"),
    ]


@pytest.mark.parametrize(
    ("fold", "sentence"),
    [
        (Fold("9"), "no case belongs to the patients 9; .* validation = '9'"),
        (Fold("3", "2-3"), "patient003 is on both sides"),
        (Fold(""), "names no validation patients"),
        (Fold("1-3"), "nobody is left to train with"),
        (Fold("mary"), "'mary' is no patient or case here"),
    ],
)
def test_mistakes_in_folds(fold, sentence):
    with pytest.raises(UserError, match=sentence):
        patients_of_fold(fold, CASES, {})


def test_what_is_recorded_of_patients_comes_before_their_names():
    cases = ["site1_pat02_ED", "site1_pat02_ES", "site1_pat03_ED", "site2_f1", "site3_f1"]
    whose = ["site1_pat02", "site1_pat02", "site1_pat03", "site2_f1"]  # the last one as its own
    content = {"scribbles": {"patients": dict(zip(cases, whose, strict=False))}}
    assert patients_of(cases, content) == [*whose[:3], "site2", "site3"]
    assert patients_of_fold(Fold("site1_pat03"), cases, content) == ([*cases[:2], *cases[3:]], cases[2:3])


def test_a_job_holds_everything_that_defines_it(write_grid, workspace):
    stock, mine = _jobs(write_grid)
    assert {patient_of(c) for c in stock.definition["training"]} == {"patient001", "patient002"}
    assert {patient_of(c) for c in stock.definition["validation"]} == {"patient003"}
    assert "pclmix" not in stock.definition["plans"]
    assert mine.definition["plans"]["pclmix"] == {"queue_length": 5, "seed": 1}
    assert list(mine.definition["plans"]["configurations"]) == ["2d_small"]
    assert json.loads(json.dumps(mine.definition)) == mine.definition


def test_what_changes_a_run_and_what_does_not(write_grid, monkeypatch):
    tables = [{"name": "main", "baseline": "stock", "epochs": 1, "iterations": 2, "seeds": [1]}]
    rows = [{"name": "stock", "trainer": "nnUNetTrainer"}, {"name": "b", "trainer": "nnUNetTrainerPCLMix"}]
    stock, mine = (job.run for job in _jobs(write_grid))
    again = _jobs(write_grid, rows=[*rows[:1], {**rows[1], "pclmix": {"queue_length": 5}}])
    assert [job.run for job in again] == [stock, mine]  # another name is no other training
    spelled_out = _jobs(write_grid, rows=[*rows[:1], {**rows[1], "pclmix": {"queue_length": 5, "box_fraction": 0.2}}])
    assert spelled_out[1].run == mine  # nor is a default that is spelled out
    assert _jobs(write_grid, rows=rows)[1].run != mine
    for change in ({"epochs": 2}, {"iterations": 3}, {"seeds": [2]}):
        changed = [job.run for job in _jobs(write_grid, tables=[{**tables[0], **change}])]
        assert not {stock, mine} & set(changed)
    assert make_jobs(read_grid(write_grid()), "cuda")[0].run != stock
    assert _jobs(write_grid, precision="float32")[0].run == stock
    assert _jobs(write_grid, precision="bfloat16")[0].run != stock
    monkeypatch.setattr(fingerprint, "of_code", lambda trainer: "other")
    assert _jobs(write_grid)[0].run == f"{stock.split('-')[0]}-other"


def test_comments_are_no_code():
    source = 'def f(x):\n    """Doc."""\n    return x + 1  # one\n'
    assert fingerprint.bare_source(source) == fingerprint.bare_source("def f(x):\n\n    return (x+1)\n")
    assert fingerprint.bare_source(source) != fingerprint.bare_source("def f(x):\n    return x + 2\n")


def test_tables_share_runs_and_seeds_come_one_after_the_other(write_grid):
    table = {"baseline": "stock", "epochs": 1, "iterations": 2, "seeds": [1, 2]}
    jobs = _jobs(write_grid, tables=[{"name": "a", **table}, {"name": "b", **table, "rows": ["stock"]}])
    assert [(j.table, j.row, j.seed) for j in jobs] == [
        *(("a", "stock", 1), ("a", "mine", 1), ("a", "stock", 2), ("a", "mine", 2)),
        *(("b", "stock", 1), ("b", "stock", 2)),
    ]
    assert jobs[0].run == jobs[4].run


DENSE = {"name": "dense", "trainer": "nnUNetTrainer", "labels": "dense"}
STOCK = {"name": "stock", "trainer": "nnUNetTrainer"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dataset": 77}, "expected one dataset Dataset077_"),
        ({"plans": "nnUNetPlansHuge"}, "nnUNetPlansHuge.json does not exist; the plans there are nnUNetPlans, "),
        ({"configuration": "4d"}, "the plans have no configuration 4d"),
        ({"folds": [{"validation": "3"}, {"validation": "2-3"}]}, "two folds validate with patient003_frame"),
        ({"rows": [STOCK, DENSE]}, "row 'dense' trains with dense labels; name their dataset with --dense-dataset"),
        ({"rows": [STOCK, DENSE], "dense_dataset": 78}, "row 'dense' trains .* expected one dataset Dataset078_"),
        (
            {"rows": [STOCK, {"name": "m", "trainer": "nnUNetTrainerPCLMix", "pclmix": {"boxes": 1}}]},
            "row 'm': pclmix: unknown hyper-parameter boxes",
        ),
    ],
)
def test_mistakes_that_the_data_reveal(write_grid, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        _jobs(write_grid, **changes)


def test_precision_is_for_the_cpu_and_one_of_two(write_grid):
    with pytest.raises(UserError, match="bfloat16 is for the CPU; on cuda nnU-Net chooses by itself"):
        make_jobs(read_grid(write_grid(precision="bfloat16")), "cuda")
    with pytest.raises(UserError, match="precision of the grid 'phantom': expected float32 or bfloat16, got 'int8'"):
        read_grid(write_grid(precision="int8"))


@pytest.fixture
def twin(workspace):
    """A second dataset with the same preprocessed files."""
    folder = workspace.preprocessed.parent / "Dataset512_Dense"
    shutil.copytree(workspace.preprocessed, folder)
    yield folder
    shutil.rmtree(folder)


def test_dense_rows_train_the_same_network_on_the_second_dataset(write_grid, twin):
    (twin / "nnUNetPlansSmall.json").unlink()
    stock, dense = _jobs(write_grid, rows=[STOCK, DENSE], dense_dataset=512)
    assert dense.definition["plans"]["dataset_name"] == "Dataset512_Dense"
    assert dense.definition["plans"]["configurations"] == stock.definition["plans"]["configurations"]
    assert dense.definition["training"] == stock.definition["training"]
    assert dense.run != stock.run


def test_a_dense_dataset_with_other_images_or_cases_is_refused(write_grid, twin):
    data = twin / "nnUNetPlans_2d"
    cases = sorted(path.stem for path in data.glob("*.pkl"))
    shutil.copy(data / f"{cases[1]}.b2nd", data / f"{cases[0]}.b2nd")
    with pytest.raises(UserError, match=f"the image of {cases[0]} in .* is another than in"):
        _jobs(write_grid, rows=[STOCK, DENSE], dense_dataset=512)
    (data / f"{cases[0]}.pkl").unlink()
    with pytest.raises(UserError, match=f"lacks 1 of the 6 cases, {cases[0]} to begin with"):
        _jobs(write_grid, rows=[STOCK, DENSE], dense_dataset=512)


def test_other_labels_of_the_same_size_make_another_training(write_grid, twin):
    shutil.copy(twin / "nnUNetPlansSmall.json", twin / "nnUNetPlansOther.json")
    changes = {"rows": [STOCK], "dataset": 512, "plans": "nnUNetPlansOther"}
    before = _jobs(write_grid, **changes)[0]
    assert before.definition["plans"]["dataset_name"] == "Dataset512_Dense"  # though the plans are the other's
    file = next((twin / "nnUNetPlans_2d").glob("patient001*_seg.b2nd"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert _jobs(write_grid, **changes)[0].run != before.run


@pytest.mark.parametrize("missing", ["dataset.json", "nnUNetPlans_2d"])
def test_a_dense_dataset_that_is_not_preprocessed_is_told_with_the_cure(write_grid, twin, missing):
    (twin / missing).rename(twin / "elsewhere")
    with pytest.raises(UserError, match=f"{missing} does not exist: preprocess dataset 512 with the plans of"):
        _jobs(write_grid, rows=[STOCK, DENSE], dense_dataset=512)


def test_plans_without_a_dataset_json_beside_them_are_told_with_the_cure(write_grid, twin):
    (twin / "dataset.json").unlink()  # as nnUNetv2_move_plans_between_datasets leaves it
    with pytest.raises(UserError, match=r"Dataset512_Dense/dataset.json does not exist: copy the raw dataset's"):
        _jobs(write_grid, rows=[STOCK], dataset=512)
