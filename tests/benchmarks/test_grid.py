"""Grid files: those shipped, and one clear sentence for every mistake."""

from pathlib import Path

import pytest

from benchmarks.accuracy import cli
from benchmarks.accuracy.grid import read_grid
from nnunetv2_pclmix.config import config_from_plans
from scribble_conversion.console import UserError

GRIDS = Path(cli.__file__).parent / "grids"


@pytest.mark.parametrize(
    ("name", "steps", "judged"),
    [
        ("sieve", {1200}, "81-100"),
        ("patch", {1200}, "81-100"),
        ("mini", {1200, 3000}, "81-100"),
        ("other_fold", {2500}, "21-40"),
        ("full", {20000}, "81-100"),
    ],
)
def test_the_grids_shipped_are_valid(name, steps, judged):
    grid = read_grid(GRIDS / f"{name}.toml")
    assert grid.name == name
    assert {table.steps for table in grid.tables} == steps
    trainers = {row.name: (row.trainer, row.labels) for row in grid.rows}
    assert trainers["partial CE"] == ("nnUNetTrainerPartialCE", "scribbles")
    assert trainers["fully supervised"] == ("nnUNetTrainer", "dense")
    assert trainers["fully supervised without mirroring"] == ("nnUNetTrainerNoMirroring", "dense")
    default = config_from_plans({}, {})
    for row in grid.rows:
        config = config_from_plans({"pclmix": row.pclmix}, {})
        if row.pclmix:
            assert config != default, f"{row.name} changes nothing"
    assert all(fold.validation == judged for fold in grid.folds)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("hippocampus", ("stock nnU-Net", "stock without mirroring", "PCLMix default")),
        (
            "hippocampus_patch",
            (
                "patches around labelled voxels",
                "PCLMix default",
                "mirroring",
                "mirrored patches around labelled voxels",
            ),
        ),
    ],
)
def test_the_grids_of_the_hippocampus_are_valid(name, rows):
    grid = read_grid(GRIDS / f"{name}.toml")
    (table,), (fold,) = grid.tables, grid.folds
    assert (grid.name, table.steps, table.rows) == (name, 500, rows)
    assert len(set(fold.validation.split(","))) == 12


def test_changes_and_choices(write_grid):
    tables = [{"name": n, "baseline": "stock", "epochs": 9, "iterations": 9, "seeds": [1]} for n in ("a", "b")]
    file = write_grid(tables=tables)
    grid = read_grid(file, {"dataset": "5", "seeds": [3, 4], "only_tables": ["b"], "only_rows": ["mine"], "epochs": 2})
    assert grid.dataset == "5"
    assert [(t.name, t.rows, t.seeds, t.steps) for t in grid.tables] == [("b", ("stock", "mine"), (3, 4), 18)]


def test_rows_of_another_file_come_first(write_grid, tmp_path):
    write_grid("rows.json", rows=[{"name": "first", "trainer": "nnUNetTrainer"}])
    assert [row.name for row in read_grid(write_grid(include="rows.json")).rows] == ["first", "stock", "mine"]


TABLE = {"name": "main", "baseline": "stock", "epochs": 1, "iterations": 2, "seeds": [1]}
ROW = {"name": "stock", "trainer": "nnUNetTrainer"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"plans": None}, "grid 'phantom' lacks the entry plans"),
        ({"plan": "x"}, "grid 'phantom' has the unknown entry plan; known are name, dataset"),
        ({"folds": []}, r"has no fold; add \[\[folds\]\]"),
        ({"rows": [ROW, ROW]}, "there are two rows called 'stock'"),
        ({"rows": [{**ROW, "trainer": "nnUNet"}]}, "trainer of row 'stock': expected nnUNetTrainer, .* got 'nnUNet'"),
        ({"rows": [{**ROW, "labels": "full"}]}, "expected scribbles or dense, got 'full'"),
        ({"rows": [{**ROW, "pclmix": {"seed": 1}}]}, "pclmix settings, which nnUNetTrainer does not read"),
        ({"rows": ["stock"]}, "expected a table of entries for a row, got 'stock'"),
        ({"tables": ["main"]}, "grid.json: expected a table of entries for a table, got 'main'"),
        (
            {"tables": TABLE},
            r"grid.json: expected tables as a list of tables, in TOML \[\[tables\]\] and not \[tables\]",
        ),
        ({"rows": ROW}, "grid.json: expected rows as a list of tables"),
        ({"folds": {"validation": "3"}}, "grid.json: expected folds as a list of tables"),
        ({"folds": [{"validation": 5}]}, 'grid.json: expected validation of a fold as text like "81-100,5", got 5'),
        ({"folds": [{"validation": "3", "training": [1, 2]}]}, r"expected training of a fold as text .*, got \[1, 2\]"),
        ({"tables": [{**TABLE, "baseline": "stok"}]}, "baseline 'stok' is none of its rows"),
        ({"tables": [{**TABLE, "rows": ["stock", "yours"]}]}, "has no row 'yours'; its rows are stock, mine"),
        ({"tables": [{**TABLE, "epochs": 0}]}, "expected a positive number of epochs, got 0"),
        ({"tables": [{**TABLE, "seeds": []}]}, "expected seeds of 0 or more"),
        ({"tables": [{**TABLE, "seeds": [1, 1]}]}, "names a seed twice"),
    ],
)
def test_mistakes_in_a_grid(write_grid, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        read_grid(write_grid(**changes))


def test_rows_of_another_file_that_are_no_list(write_grid):
    write_grid("rows.json", rows=ROW)
    with pytest.raises(UserError, match=r"rows\.json: expected rows as a list of tables"):
        read_grid(write_grid(include="rows.json"))


def test_one_bracket_instead_of_two(write_grid, tmp_path, capsys):
    text = 'name = "phantom"\ndataset = 511\nplans = "P"\nconfiguration = "2d"\n[tables]\nname = "main"\n'
    (tmp_path / "grid.toml").write_text(text)
    assert cli.main(["plan", str(tmp_path / "grid.toml")]) == 1
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'grid.toml'}: expected tables as a list of tables, in TOML [[tables]] and not [tables]\n"
    )


def test_mistakes_in_the_choice(write_grid):
    with pytest.raises(UserError, match="there is no row 'none'; there are stock, mine"):
        read_grid(write_grid(), {"only_rows": ["none"]})
    table = {"name": "main", "baseline": "stock", "epochs": 1, "iterations": 2, "seeds": [1], "rows": ["stock"]}
    with pytest.raises(UserError, match="there is no row in the chosen tables 'mine'; there are stock"):
        read_grid(write_grid(tables=[table]), {"only_rows": ["mine"]})
    for names in (["plan"], ["a b", "a_b"], ["a_curves", "a"]):
        with pytest.raises(UserError, match=f"the files of table '{names[0]}' would replace others"):
            read_grid(write_grid(tables=[{**table, "name": name} for name in names]))
    with pytest.raises(UserError, match="there is no table 'none'; there are main"):
        read_grid(write_grid(), {"only_tables": ["none"]})


def test_a_file_that_cannot_be_read(tmp_path, capsys):
    (tmp_path / "broken.toml").write_text("name = ")
    assert cli.main(["plan", str(tmp_path / "broken.toml")]) == 1
    assert cli.main(["plan", str(tmp_path / "absent.toml")]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert "broken.toml is no TOML" in first
    assert "absent.toml cannot be read: No such file" in second
