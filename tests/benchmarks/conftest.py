"""A grid on the phantom dataset, and runs made up without any training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.accuracy.grid import read_grid
from benchmarks.accuracy.jobs import make_jobs
from benchmarks.accuracy.store import RunFolder, write_json
from benchmarks.accuracy.trainers import make_trainer

STRUCTURES = ("RV", "LV")
COST = {"steps": 20, "patches": 80, "images": 160, "training_seconds": 90.0, "peak_bytes": 2**30}


def made_up_scores(cases: int, dice: float, hd95: float, spread: float = 0.05, seed: int = 0) -> dict[str, Any]:
    """Scores as ``dense_evaluation.json`` holds them, around the means given."""
    rng = np.random.default_rng(seed)
    return {
        f"case{i:02d}": {
            s: {"dice": dice + spread * rng.standard_normal(), "hd95_mm": hd95 + rng.standard_normal()}
            for s in STRUCTURES
        }
        for i in range(cases)
    }


@pytest.fixture
def write_grid(tmp_path: Path) -> Callable[..., Path]:
    """Writes a valid grid for the phantom dataset, with entries changed or, where None, removed."""

    def write(name: str = "grid.json", **changes: Any) -> Path:
        content = {
            "name": "phantom",
            "dataset": 511,
            "plans": "nnUNetPlansSmall",
            "configuration": "2d_small",
            "validation_iterations": 1,
            "folds": [{"validation": "3"}],
            "rows": [
                {"name": "stock", "trainer": "nnUNetTrainer"},
                {"name": "mine", "trainer": "nnUNetTrainerPCLMix", "pclmix": {"queue_length": 5}},
            ],
            "tables": [{"name": "main", "baseline": "stock", "epochs": 1, "iterations": 2, "seeds": [1]}],
            **changes,
        }
        file = tmp_path / name
        file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
        return file

    return write


ROWS = [
    {"name": "stock", "trainer": "nnUNetTrainer"},
    {"name": "mine", "trainer": "nnUNetTrainerPCLMix"},
    {"name": "taught", "trainer": "nnUNetTrainerPCLMix", "pclmix": {"teacher_decay": 0.9}},
    {"name": "partial CE", "trainer": "nnUNetTrainerPartialCE"},
    {"name": "without mirroring", "trainer": "nnUNetTrainerNoMirroring"},
]


@pytest.fixture
def trainer_of(workspace, write_grid, tmp_path, monkeypatch):
    """Makes the trainer of a row in a run folder of the test's own."""
    torch.set_num_threads(1)
    monkeypatch.setattr("nnunetv2.training.logging.nnunet_logger.MetaLogger.plot_progress_png", lambda *_: None)

    def make(row="stock", epochs=1, seed=1, folder="run", **changes):
        table = {"name": "main", "baseline": "stock", "epochs": epochs, "iterations": 2, "seeds": [seed]}
        grid = read_grid(write_grid(rows=ROWS, tables=[table], **changes))
        job = next(j for j in make_jobs(grid, "cpu") if j.row == row)
        run = RunFolder(tmp_path / folder)
        write_json(run.definition_file, job.definition)
        monkeypatch.setenv("nnUNet_results", str(run.results))
        return make_trainer(run.definition()), run

    return make
