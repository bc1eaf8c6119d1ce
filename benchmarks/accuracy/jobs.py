"""From a grid to the trainings it needs: one per row, length, fold and seed, each defined completely."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.accuracy import fingerprint
from benchmarks.accuracy.dataset import Preprocessed, dense_twin, open_preprocessed, patients_of_fold
from benchmarks.accuracy.grid import Grid, Row
from benchmarks.accuracy.store import RunFolder, read_json, write_json
from nnunetv2_pclmix.config import config_from_plans
from scribble_conversion.console import UserError

PLAN_FILE = "plan.json"


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        table, row, fold, seed: where its scores belong; fold counts the grid's folds.
        definition: everything that defines it, as ``train.py`` reads it.
        run: name of its folder: hashes of its settings and of the code.
    """

    table: str
    row: str
    fold: int
    seed: int
    definition: Mapping[str, Any]
    run: str

    @property
    def label(self) -> str:
        """For bars and messages."""
        return f"{self.row}, seed {self.seed}" + (f", fold {self.fold}" if self.fold else "")


def make_jobs(grid: Grid, device: str) -> list[Job]:
    """Every training of a grid, all rows of a table with its first seed before any with the second.

    Args:
        grid: what to compare.
        device: ``cpu``, ``cuda`` or ``mps``; trainings on different devices are different trainings.

    Returns:
        The jobs. Tables that need the same training name the same run.

    Raises:
        UserError: data are missing or do not fit the grid, or a row's settings are wrong, or the device does not
            train in the grid's precision.
    """
    if grid.precision != "float32" and device != "cpu":
        raise UserError(f"{grid.precision} is for the CPU; on {device} nnU-Net chooses by itself, leave precision out")
    scribbles = open_preprocessed(grid.dataset, grid.plans, grid.configuration)
    folds = [patients_of_fold(fold, scribbles.cases, scribbles.dataset_json) for fold in grid.folds]
    _require_disjoint([validation for _, validation in folds])
    used = sorted({case for sides in folds for side in sides for case in side})
    needed = [grid.row(name) for table in grid.tables for name in table.rows]
    for row in needed:
        _resolved_pclmix(row, 0)
    datasets = {"scribbles": scribbles}
    dense = [row.name for row in needed if row.labels == "dense"]
    if dense:
        if grid.dense_dataset is None:
            raise UserError(f"row '{dense[0]}' trains with dense labels; name their dataset with --dense-dataset")
        try:
            datasets["dense"] = dense_twin(scribbles, grid.dense_dataset, used)
        except UserError as error:
            raise UserError(f"row '{dense[0]}' trains with dense labels, but {error}; or choose --rows") from error
    jobs = []
    for table in grid.tables:
        for seed in table.seeds:
            for index, (training, validation) in enumerate(folds):
                for row in map(grid.row, table.rows):
                    length = (table.epochs, table.iterations, grid.validation_iterations)
                    definition = _definition(
                        row, datasets[row.labels], training, validation, length, seed, device, grid.precision
                    )
                    jobs.append(Job(table.name, row.name, index, seed, definition, definition["run"]))
    return jobs


def _definition(
    row: Row,
    dataset: Preprocessed,
    training: Sequence[str],
    validation: Sequence[str],
    length: tuple[int, int, int],
    seed: int,
    device: str,
    precision: str,
) -> dict[str, Any]:
    plans = dict(dataset.plans)
    settings = {
        "trainer": row.trainer,
        "labels": row.labels,
        "plans": {key: value for key, value in plans.items() if key != "plans_name"},
        "pclmix": _resolved_pclmix(row, seed),
        "dataset_json": dataset.dataset_json,
        "data": dataset.digest([*training, *validation]),
        "training": list(training),
        "validation": list(validation),
        "epochs": length[0],
        "iterations": length[1],
        "validation_iterations": length[2],
        "seed": seed,
        "device": device,
    }
    if precision != "float32":  # else left out: trainings from before there was a choice still count
        settings["precision"] = precision
    run = f"{fingerprint.of_settings(settings)}-{fingerprint.of_code(row.trainer)}"
    if row.trainer == "nnUNetTrainerPCLMix":
        plans["pclmix"] = {**row.pclmix, "seed": seed}
    return {**settings, "run": run, "row": row.name, "configuration": dataset.configuration, "plans": plans}


def _resolved_pclmix(row: Row, seed: int) -> dict[str, Any] | None:
    """All hyper-parameters of a row, so that changed defaults make another training; None for other trainers."""
    if row.trainer != "nnUNetTrainerPCLMix":
        return None
    try:
        config = config_from_plans({"pclmix": {**row.pclmix, "seed": seed}}, {})
    except (TypeError, ValueError) as error:
        raise UserError(f"row '{row.name}': {error}") from error
    return {key: value for key, value in dataclasses.asdict(config).items() if key != "preset"}


def _require_disjoint(validations: Sequence[Sequence[str]]) -> None:
    seen: set[str] = set()
    for cases in validations:
        again = sorted(seen.intersection(cases))
        if again:
            raise UserError(f"two folds validate with {again[0]}; every case may be validated with once")
        seen.update(cases)


# ------------------------------------------------------------------------------------------------ folders of runs


def write_plan(output: Path, grid: Grid, jobs: Sequence[Job]) -> None:
    """Write what ``judge`` and ``table`` need to know, without the preprocessed data."""
    entries = [{key: getattr(job, key) for key in ("table", "row", "fold", "seed", "run")} for job in jobs]
    labels = jobs[0].definition["dataset_json"]
    kept = {key: labels[key] for key in ("labels", "file_ending")}
    dataset = jobs[0].definition["plans"]["dataset_name"]
    for job in jobs:
        if job.definition["labels"] == "scribbles":
            dataset = job.definition["plans"]["dataset_name"]
    write_json(
        output / PLAN_FILE,
        {"grid": dataclasses.asdict(grid), "dataset_name": dataset, "dataset_json": kept, "jobs": entries},
    )


def read_plan(output: Path) -> dict[str, Any]:
    """What ``write_plan`` wrote.

    Raises:
        UserError: there is none.
    """
    if not (output / PLAN_FILE).is_file():
        raise UserError(f"{output} holds no {PLAN_FILE}; make it with: plan GRID --output {output}")
    return read_json(output / PLAN_FILE)


def run_folder(output: Path, run: str, any_code: bool = False) -> RunFolder:
    """The folder of a run.

    Args:
        output: where all runs are.
        run: its name.
        any_code: take a finished run with the same settings that other code made, where this one is not finished.
    """
    folder = RunFolder(output / "runs" / run)
    if any_code and not folder.result_file.is_file():
        settings = run.split("-")[0]
        others = [RunFolder(path) for path in (output / "runs").glob(f"{settings}-*")]
        finished = [other for other in others if other.result_file.is_file()]
        if finished:
            return max(finished, key=lambda other: other.result_file.stat().st_mtime)
    return folder
