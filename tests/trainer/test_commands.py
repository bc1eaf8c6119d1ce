"""nnU-Net's own commands, installed, in processes of their own: train, kill, continue, validate, find best, predict."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import CONFIGURATION, DATASET, DATASET_ID, PLANS, Workspace

pytestmark = pytest.mark.slow
TRAINER = "nnUNetTrainerPCLMix_5epochs"


def _command(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture
def environment(workspace: Workspace, tmp_path: Path) -> dict[str, str]:
    """The environment of a user's shell; the epochs are cut short by a ``sitecustomize`` of the test's own."""
    short = tmp_path / "short"
    short.mkdir()
    (short / "sitecustomize.py").write_text(
        "import nnunetv2.training.nnUNetTrainer.nnUNetTrainer as module\n"
        "start = module.nnUNetTrainer.on_train_start\n"
        "def on_train_start(self):\n"
        "    self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 4, 1\n"
        "    start(self)\n"
        "module.nnUNetTrainer.on_train_start = on_train_start\n"
    )
    path = os.pathsep.join(filter(None, [str(short), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "nnUNet_results": str(tmp_path / "results"), "nnUNet_n_proc_DA": "1"}


def _run(environment: dict[str, str], name: str, *arguments: str) -> str:
    done = subprocess.run(
        [_command(name), *arguments], env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_train_kill_continue_validate_find_best_and_predict(environment, workspace, tmp_path):
    arguments = [str(DATASET_ID), CONFIGURATION, "0", "-tr", TRAINER, "-p", PLANS, "-device", "cpu"]
    results = Path(environment["nnUNet_results"]) / DATASET / f"{TRAINER}__{PLANS}__{CONFIGURATION}"
    training = subprocess.Popen(
        [_command("nnUNetv2_train"), *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not (results / "fold_0" / "checkpoint_best.pth").exists():
        assert training.poll() is None, "the training ended by itself"
        assert time.monotonic() < deadline, "no checkpoint within five minutes"
        time.sleep(0.2)
    os.killpg(training.pid, signal.SIGKILL)
    training.wait()
    assert not (results / "fold_0" / "checkpoint_final.pth").exists()

    _run(environment, "nnUNetv2_train", *arguments, "--c", "--npz")
    assert (results / "fold_0" / "checkpoint_final.pth").exists()
    logs = [path.read_text() for path in sorted((results / "fold_0").glob("training_log_*.txt"))]
    assert "Epoch 0" in logs[0]
    assert "Epoch 0" not in logs[-1]
    assert "Dense evaluation against" in logs[-1]

    validation = results / "fold_0" / "validation"
    dense = json.loads((validation / "dense_evaluation.json").read_text())
    assert dense
    (validation / "summary.json").unlink()
    _run(environment, "nnUNetv2_train", *arguments, "--val", "--npz")
    assert (validation / "summary.json").exists()

    found = ["-tr", TRAINER, "-p", PLANS, "-c", CONFIGURATION, "-f", "0"]
    _run(environment, "nnUNetv2_find_best_configuration", str(DATASET_ID), *found)
    predicted = tmp_path / "predicted"
    images = ["-i", str(workspace.raw / "imagesTs"), "-o", str(predicted)]
    _run(environment, "nnUNetv2_predict", *images, "-d", str(DATASET_ID), *found, "-device", "cpu")
    references = ["--references", str(workspace.raw / "labelsTs")]
    table = _run(environment, "nnUNetv2_pclmix", "evaluate", "--predictions", str(predicted), *references)
    assert "HD95" in table
