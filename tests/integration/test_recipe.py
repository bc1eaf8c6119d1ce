"""nnU-Net's own integration tests with this trainer, on real hippocampi, where they are at hand beside the checkout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.recipe import CONFIGURATIONS, DATA, TRAINER, main

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the hippocampi are not in {DATA}")
CHECKOUT = Path(__file__).parents[2]


def _run(work: Path, *arguments: str) -> str:
    """The recipe in a process of its own, which forks and so must not have used torch before."""
    command = [sys.executable, "-m", "tests.integration.recipe", "--work", str(work), *arguments]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return done.stdout


@pytest.mark.slow
@needs_data
def test_every_configuration_and_every_command(tmp_path: Path) -> None:
    said = _run(tmp_path, "--cases", "4", "--folds", "0", "1", "--datasets", "998", "996")
    assert "All done" in said
    trained = sorted((tmp_path / "nnUNet_results").iterdir())
    assert [results.name[:10] for results in trained] == ["Dataset996", "Dataset998"]
    for results in trained:
        for configuration in CONFIGURATIONS:
            for trainer in (TRAINER, "nnUNetTrainer"):
                model = results / f"{trainer}__nnUNetPlans__{configuration}"
                assert all((model / f"fold_{fold}" / "checkpoint_final.pth").is_file() for fold in (0, 1))
        cascade = json.loads((results / f"{TRAINER}__nnUNetPlans__3d_cascade_fullres" / "plans.json").read_text())
        assert cascade["configurations"]["3d_cascade_fullres"]["previous_stage"] == "3d_lowres"


@pytest.mark.slow
@needs_data
def test_residual_encoder_plans_on_two_channels(tmp_path: Path) -> None:
    plans = ["--planner", "nnUNetPlannerResEncM", "--configurations", "2d", "3d_fullres"]
    said = _run(tmp_path, "--cases", "4", "--folds", "0", "1", "--datasets", "994", *plans)
    assert "All done" in said
    (trained,) = (tmp_path / "nnUNet_results").glob(f"*/{TRAINER}__*__3d_fullres")
    plan = json.loads((trained / "plans.json").read_text())["configurations"]["3d_fullres"]
    assert plan["architecture"]["network_class_name"].endswith("ResidualEncoderUNet")
    assert len(json.loads((trained / "dataset.json").read_text())["channel_names"]) == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--configurations", "3d_cascade_fullres"], "a cascade needs 3d_lowres"),
        (["--planner", "nnUNetPlannerResEncM"], "to the default plans only"),
    ],
)
def test_what_cannot_be_is_said_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    with pytest.raises(SystemExit):
        main(["--work", str(tmp_path), "--data", str(tmp_path), *arguments])
    assert expected in capsys.readouterr().err


def test_too_few_cases_end_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "data" / "labelsTr").mkdir(parents=True)
    assert main(["--work", str(tmp_path / "work"), "--data", str(tmp_path / "data"), "--cases", "1"]) == 1
    assert "FAILED: expected 2 cases" in capsys.readouterr().err
