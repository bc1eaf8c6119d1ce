"""A grid on the phantom dataset, and runs made up without any training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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
