"""Figures and files of a table, from made-up scores."""

import json
import math

import numpy as np
import pytest
import torch

from benchmarks.accuracy import cli
from benchmarks.accuracy.curves import Curve, read_curve
from benchmarks.accuracy.store import RunFolder, write_json
from benchmarks.accuracy.summary import RowRuns, paired_difference, summarise
from tests.benchmarks.conftest import COST, made_up_scores

LABELS = {"background": 0, "RV": 1, "LV": 2, "ignore": 3}


def _row(name, runs):
    return RowRuns(name, {key: None if scores is None else (scores, COST) for key, scores in runs.items()})


def test_means_are_over_cases_of_the_seeds_averages():
    scores = [
        {"a": {"RV": {"dice": d, "hd95_mm": 10 * d}}, "b": {"RV": {"dice": 0.5, "hd95_mm": 5.0}}} for d in (0.6, 0.8)
    ]
    (row,) = summarise([_row("x", {(1, 0): scores[0], (2, 0): scores[1]})], "x")
    assert row.structures["dice"]["RV"].mean == pytest.approx(0.6)  # of 0.7 and 0.5
    assert row.structures["dice"]["RV"].std == pytest.approx(0.1)
    assert row.overall["hd95_mm"].mean == pytest.approx(6)
    assert row.by_seed["dice"] == pytest.approx([0.55, 0.65])
    assert (row.cases, row.seeds, row.asked) == (2, (1, 2), 2)
    assert row.cost == COST


def test_folds_are_pooled_and_a_seed_without_one_of_them_does_not_count():
    first, second = made_up_scores(3, 0.8, 5), {f"other{k}": v for k, v in made_up_scores(4, 0.6, 9).items()}
    runs = {(1, 0): first, (1, 1): second, (2, 0): first, (2, 1): None}
    (row,) = summarise([_row("x", runs)], "x")
    assert (row.cases, row.seeds, row.asked) == (7, (1,), 2)


def test_a_structure_in_neither_volume_is_left_out():
    scores = {"a": {"RV": {"dice": None, "hd95_mm": None}, "LV": {"dice": 0.9, "hd95_mm": 1.0}}}
    (row,) = summarise([_row("x", {(1, 0): scores})], "x")
    assert math.isnan(row.structures["dice"]["RV"].mean)
    assert row.overall["dice"].mean == pytest.approx(0.9)


def test_a_structure_that_one_seed_invents_counts_in_that_seed_alone():
    def scores(*of_rv):
        return {
            case: {"LV": {"dice": 0.8, "hd95_mm": 1.0}, "RV": {"dice": rv, "hd95_mm": 1.0}}
            for case, rv in zip("abc", of_rv, strict=True)
        }

    first, second, neither = scores(None, 0.0, 0.9), scores(0.0, None, 0.9), scores(None, None, 0.9)
    stock = _row("stock", {(1, 0): neither, (2, 0): neither})
    _, mine = summarise([stock, _row("mine", {(1, 0): first, (2, 0): second})], "stock")
    assert mine.by_seed["dice"] == pytest.approx([0.625, 0.625])
    assert mine.overall["dice"].mean == pytest.approx(0.625)
    assert mine.structures["dice"]["RV"].mean == pytest.approx(0.45)
    single = [summarise([stock, _row("mine", {(1, 0): s})], "stock")[1].difference["dice"] for s in (first, second)]
    assert [d.mean for d in single] == pytest.approx([-0.4 / 3] * 2)
    assert mine.difference["dice"].mean == pytest.approx(-0.4 / 3)


def test_the_difference_is_paired():
    rng = np.random.default_rng(1)
    hardness = rng.normal(0.6, 0.2, 40)  # far larger than the difference
    gain = rng.normal(0.05, 0.02, 40)
    d = paired_difference((hardness + gain)[None], hardness[None])
    assert d.mean == pytest.approx(gain.mean())
    assert 0.04 < d.low < d.mean < d.high < 0.06
    half = 1.96 * gain.std() / math.sqrt(40)
    assert (d.high - d.low) / 2 == pytest.approx(half, rel=0.1)
    assert math.isnan(paired_difference(np.ones((1, 1)), np.zeros((1, 1))).low)


def test_rows_are_compared_over_the_cases_they_share():
    base, mine = made_up_scores(6, 0.5, 9), made_up_scores(4, 0.7, 5)
    stock, row = summarise([_row("stock", {(1, 0): base}), _row("mine", {(1, 0): mine})], "stock")
    assert not stock.difference
    assert row.difference["dice"].cases == 4
    assert row.difference["hd95_mm"].high < 0


def test_rows_are_compared_over_the_seeds_they_share():
    base, good = made_up_scores(6, 0.6, 9), made_up_scores(6, 0.8, 5)
    rows = [_row("stock", {(1, 0): base, (2, 0): None}), _row("mine", {(1, 0): base, (2, 0): good})]
    _, mine = summarise(rows, "stock")
    assert mine.seeds == (1, 2)
    assert mine.difference["dice"].mean == 0
    _, other = summarise([rows[0], _row("mine", {(1, 0): None, (2, 0): good})], "stock")
    assert other.seeds == (2,)
    assert not other.difference


@pytest.fixture
def output(tmp_path):
    """An output folder with a plan, two judged runs of two rows and one run missing."""
    rows = [{"name": name} for name in ("stock", "mine", "late")]
    table = {"name": "main table", "rows": ["stock", "mine", "late"], "epochs": 2, "iterations": 10}
    table |= {"seeds": [1, 2], "baseline": "stock"}
    grid = {"name": "made up", "dataset": "1", "plans": "p", "configuration": "2d", "rows": rows, "tables": [table]}
    grid["folds"] = [{"validation": "81-100", "training": ""}]
    jobs = []
    for row, dice in (("stock", 0.5), ("mine", 0.7), ("late", None)):
        for seed in (1, 2):
            run = f"{row}{seed}-abc"
            jobs.append({"table": "main table", "row": row, "fold": 0, "seed": seed, "run": run})
            if dice is None:
                continue
            folder = RunFolder(tmp_path / "runs" / run)
            write_json(folder.definition_file, {"device": "cpu", "trainer": "nnUNetTrainer"})
            write_json(folder.result_file, {**COST, "machine": "abacus"})
            write_json(folder.scores_file, {"cases": made_up_scores(8, dice + seed / 100, 30 - 20 * dice, seed=seed)})
    labels = {"labels": LABELS, "file_ending": ".nii.gz"}
    write_json(tmp_path / "plan.json", {"grid": grid, "dataset_name": "D", "dataset_json": labels, "jobs": jobs})
    return tmp_path


def test_markdown_json_and_plot(output, capsys):
    assert cli.main(["table", str(output)]) == 0
    assert "2 of 6 trainings are not judged yet" in capsys.readouterr().out
    text = (output / "main_table.md").read_text()
    lines = {line.split(" | ")[0].strip("| "): line for line in text.split("## HD95")[0].splitlines() if "|" in line}
    assert "| 2/2 |" in lines["mine"]
    assert "| +0.200 [+0.200, +0.200] |" in lines["mine"]
    assert lines["stock"].endswith("| - |")
    assert lines["late"] == "| late | 0/2 | - | - | - | - | - |"
    assert "| stock | 20 | 80 | 160 | 1.5 | 1.00 |" in text
    assert "abacus (cpu)" in text
    rows = {row["name"]: row for row in json.loads((output / "main_table.json").read_text())["rows"]}
    assert rows["mine"]["difference"]["dice"]["mean"] == pytest.approx(0.2)
    assert len(rows["stock"]["by_seed"]["hd95_mm"]) == 2
    assert (output / "main_table.png").read_bytes().startswith(b"\x89PNG")


def test_curves_of_the_trainings_at_hand(output, capsys):
    assert cli.main(["table", str(output)]) == 0
    picture = output / "main_table_curves.png"
    assert not picture.exists()  # no checkpoint at hand
    assert "main_table.md (.json, .png)" in capsys.readouterr().out
    for run, log in (
        ("stock1-abc", {"mean_fg_dice": [np.float32(0.25), np.float32(0.5)]}),
        (
            "mine1-abc",
            {"mean_fg_dice": [0.5, 0.75], "pclmix_pseudo_label_shares": [[0.9, 0.06, 0.04], [0.8, 0.1, 0.1]]},
        ),
    ):
        folder = RunFolder(output / "runs" / run)
        write_json(
            folder.definition_file, {**folder.definition(), "iterations": 10, "dataset_json": {"labels": LABELS}}
        )
        checkpoint = folder.results / "D" / "fold_0" / "checkpoint_final.pth"
        checkpoint.parent.mkdir(parents=True)
        torch.save({"logging": log}, checkpoint)
    stock, mine = (read_curve(RunFolder(output / "runs" / f"{row}1-abc"), row) for row in ("stock", "mine"))
    assert stock == Curve("stock", [10, 20], [0.25, 0.5], {})
    assert mine == Curve("mine", [10, 20], [0.5, 0.75], {"RV": [0.06, 0.1], "LV": [0.04, 0.1]})
    assert cli.main(["table", str(output)]) == 0
    assert "main_table.md (.json, .png, _curves.png)" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_pictures_of_what_is_no_longer_judged_go(output, capsys):
    assert cli.main(["table", str(output)]) == 0
    (output / "main_table_curves.png").touch()
    for folder in (output / "runs").iterdir():
        RunFolder(folder).scores_file.unlink()
    capsys.readouterr()
    assert cli.main(["table", str(output)]) == 0
    assert f"Written: {output / 'main_table.md'} (.json)\n" in capsys.readouterr().out
    assert not list(output.glob("*.png"))


def test_code_that_changed_between_runs_is_told(output):
    (output / "runs" / "mine2-abc").rename(output / "runs" / "mine2-def")
    assert cli.main(["table", str(output)]) == 0
    assert "| mine | 1/2 |" in (output / "main_table.md").read_text()
    assert cli.main(["table", str(output), "--any-code"]) == 0
    text = (output / "main_table.md").read_text()
    assert "| mine | 2/2 |" in text
    assert "made by different versions of the code" in text
    for run in ("stock1", "stock2", "mine1"):
        (output / "runs" / f"{run}-abc").rename(output / "runs" / f"{run}-def")
    assert cli.main(["table", str(output), "--any-code"]) == 0
    text = (output / "main_table.md").read_text()
    assert "made by different versions" not in text
    assert "were made by other code than the plan's" in text


def test_precision_and_other_judging_are_told(output):
    assert cli.main(["table", str(output)]) == 0
    text = (output / "main_table.md").read_text()
    assert "per training, float32, last checkpoint" in text
    assert "Not all judged" not in text
    folder = RunFolder(output / "runs" / "mine1-abc")
    write_json(folder.judging_file, {"references": "here", "code": "abc"})
    write_json(folder.definition_file, {**folder.definition(), "precision": "bfloat16"})
    assert cli.main(["table", str(output)]) == 0
    text = (output / "main_table.md").read_text()
    assert "per training, bfloat16 and float32, last checkpoint" in text
    assert "Not all judged with the same code and references" in text


def test_rows_of_several_tables_and_folds_have_to_be_chosen(output, capsys):
    plan = json.loads((output / "plan.json").read_text())
    other = [{**job, "table": "other", "run": f"{job['row']}{3 - job['seed']}-abc"} for job in plan["jobs"]]
    command = ["errors", str(output), "--row", "mine", "--references", str(output)]

    def says(*options, jobs):
        write_json(output / "plan.json", {**plan, "jobs": jobs})
        assert cli.main([*command, *options]) == 1
        return capsys.readouterr().err

    assert "row 'mine' is in the tables main table, other; choose with --table" in says(
        "--seed", "1", jobs=plan["jobs"] + other
    )
    folds = [{**job, "fold": job["seed"] - 1, "seed": 1} for job in plan["jobs"]]
    assert "row 'mine' is in the folds 0, 1; choose with --fold" in says(jobs=folds)
    assert "has no seed '7' of row 'mine'; it has 1, 2" in says("--seed", "7", jobs=plan["jobs"])
    assert "has no table 'x' of row 'mine'; it has main table" in says("--table", "x", jobs=plan["jobs"])
    assert "--group ED=[ is no regular expression" in says("--group", "ED=[", jobs=plan["jobs"])


def test_a_folder_without_a_plan(tmp_path, capsys):
    assert cli.main(["table", str(tmp_path)]) == 1
    assert "holds no plan.json; make it with: plan GRID" in capsys.readouterr().err
