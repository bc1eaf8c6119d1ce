"""A phantom dataset, converted, planned and preprocessed by the commands a user types, once for all tests."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nnunetv2_pclmix

DATASET_ID = 511
DATASET = f"Dataset{DATASET_ID}_Phantom"
CONFIGURATION = "2d_small"
PLANS = "nnUNetPlansSmall"
FINAL = "checkpoint_final.pth"
TRAINED = f"nnUNetTrainerPCLMix__{PLANS}__{CONFIGURATION}"
CHOICE = ["-d", str(DATASET_ID), "-c", CONFIGURATION, "-p", PLANS]


@dataclass
class Workspace:
    """nnU-Net's folders with the preprocessed phantom dataset in them."""

    root: Path
    phantoms: Path

    @property
    def preprocessed(self) -> Path:
        return self.root / "preprocessed" / DATASET

    @property
    def raw(self) -> Path:
        return self.root / "raw" / DATASET

    def plans(self) -> dict[str, Any]:
        return json.loads((self.preprocessed / f"{PLANS}.json").read_text())

    def dataset_json(self) -> dict[str, Any]:
        return json.loads((self.raw / "dataset.json").read_text())


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import plan_and_preprocess_entry

    from nnunetv2_pclmix.cli import main as pclmix
    from nnunetv2_pclmix.phantom.__main__ import main as phantom
    from scribble_conversion.cli import main as convert

    root = tmp_path_factory.mktemp("nnunet")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("raw", "preprocessed", "results"):
            (root / name).mkdir()
            patch.setenv(f"nnUNet_{name}", str(root / name))
        patch.setenv("nnUNet_n_proc_DA", "1")  # nnU-Net's planner does not take 0
        patch.setenv("nnUNet_def_n_proc", "1")
        patch.setenv("nnUNet_compile", "f")
        phantoms = root / "phantoms"
        assert phantom(["--output", str(phantoms), "--patients", "4", "--seed", "1"]) == 0
        source = ["--images", str(phantoms), "--scribbles", str(phantoms / "acdc_scribbles.zip")]
        splits = root / "splits.json"
        splits.write_text(json.dumps([{"train": ["patient001", "patient002"], "val": ["patient003"]}]))
        arguments = ["acdc", *source, "-d", str(DATASET_ID), "-n", "Phantom", "-np", "1", "--test-patients", "4"]
        assert convert([*arguments, "--split", str(splits)]) == 0
        patch.setattr(
            "sys.argv", ["nnUNetv2_plan_and_preprocess", "-d", str(DATASET_ID), "-c", "2d", "-np", "1", "-npfp", "1"]
        )
        plan_and_preprocess_entry()
        small = ["--patch-size", "64", "64", "--batch-size", "4", "--features", "8", "16", "32", "32"]
        assert pclmix(["small_plans", "-d", str(DATASET_ID), *small]) == 0
        patch.setenv("nnUNet_n_proc_DA", "0")
        yield Workspace(root, phantoms)


@pytest.fixture
def make_trainer(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes a short trainer on the phantom dataset, with results in a folder of the test's own."""
    from nnunetv2_pclmix.trainer import nnUNetTrainerPCLMix

    torch.set_num_threads(1)
    monkeypatch.setenv("nnUNet_results", str(tmp_path))
    monkeypatch.setattr("nnunetv2.training.logging.nnunet_logger.MetaLogger.plot_progress_png", lambda *_: None)

    def make(
        trainer: type = nnUNetTrainerPCLMix,
        epochs: int = 1,
        iterations: int = 2,
        pclmix: dict | None = None,
        change_dataset: dict | None = None,
        continue_training: bool = False,
        device: torch.device = torch.device("cpu"),  # noqa: B008
    ) -> Any:
        plans = {**workspace.plans(), "pclmix": pclmix or {}, "continue_training": continue_training}
        dataset = {**workspace.dataset_json(), **(change_dataset or {})}
        made = trainer(plans, CONFIGURATION, 0, dataset, device)
        made.num_epochs, made.num_iterations_per_epoch, made.num_val_iterations_per_epoch = epochs, iterations, 1
        return made

    return make


@pytest.fixture(scope="session")
def trained_once(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training with settings of its own, in folders nobody writes to."""
    from nnunetv2_pclmix.trainer import nnUNetTrainerPCLMix

    results = tmp_path_factory.mktemp("trained")
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("nnUNet_results", str(results))
        patch.setattr("nnunetv2.training.logging.nnunet_logger.MetaLogger.plot_progress_png", lambda *_: None)
        plans = {**workspace.plans(), "pclmix": {"seed": 1, "mirroring": True}, "continue_training": False}
        plans["configurations"][CONFIGURATION]["pclmix"] = {"queue_length": 5}
        trainer = nnUNetTrainerPCLMix(plans, CONFIGURATION, 0, workspace.dataset_json(), torch.device("cpu"))
        trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 1, 2, 1
        trainer.run_training()
        with torch.no_grad():  # as if it had learned to tell classes apart
            trainer.network.decoder.seg_layers[-1].weight.normal_(generator=torch.Generator().manual_seed(0))
        trainer.save_checkpoint(str(Path(trainer.output_folder) / FINAL))
    model = results / DATASET / TRAINED
    fold = model / "fold_0"
    (fold / "validation").mkdir(exist_ok=True)
    (fold / "validation" / "summary.json").write_text("{}")
    (fold / "progress.png").write_bytes(b"curves")
    for name in ("crossval_results_folds_0", "crossval_results_folds_0_1"):
        (model / name).mkdir()
        (model / name / "postprocessing.pkl").write_bytes(b"found")
        shutil.copyfile(model / "plans.json", model / name / "plans.json")
    return model


@pytest.fixture
def trained(trained_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the trained folder in ``nnUNet_results``."""
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    monkeypatch.setenv("nnUNet_extTrainer", str(Path(nnunetv2_pclmix.__file__).parent / "ext_trainer"))
    folder = tmp_path / "results" / DATASET / TRAINED
    shutil.copytree(trained_once, folder)
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


os.environ.setdefault("OMP_NUM_THREADS", "1")
