"""The content of an exported model: what plain nnU-Net predicts with and ``-pretrained_weights`` takes, no more."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scribble_conversion.console import UserError

KEPT_ENTRIES = ("network_weights", "inference_allowed_mirroring_axes")
FOLD_FILES = (
    "progress.png",
    "validation/summary.json",
    "validation/dense_evaluation.json",
    "validation/dense_evaluation.csv",
)
"""Beside the checkpoints; nnU-Net's zip export insists on the first two."""
CROSS_VALIDATION = "crossval_results_folds_"
CROSS_VALIDATION_FILES = ("summary.json", "postprocessing.pkl", "postprocessing.json", "dataset.json")


def plain_plans(plans: Mapping[str, Any]) -> dict[str, Any]:
    """The plans without the settings of PCLMix, which say nothing to plain nnU-Net."""
    configurations = {
        name: {key: value for key, value in configuration.items() if key != "pclmix"}
        for name, configuration in plans["configurations"].items()
    }
    kept = {key: value for key, value in plans.items() if key != "pclmix"}
    return {**kept, "configurations": configurations}


def plain_checkpoint(content: Mapping[str, Any], trainer: str) -> dict[str, Any]:
    """A checkpoint for prediction and fine-tuning; the state to continue the training from stays behind.

    Args:
        content: what the training saved.
        trainer: the trainer whose network nnU-Net is to build.

    Returns:
        The very same ``network_weights``, and what nnU-Net needs to use them.

    Raises:
        KeyError: an entry that every checkpoint of nnU-Net has is missing.
    """
    init_args = content["init_args"]
    return {
        **{key: content[key] for key in KEPT_ENTRIES},
        "init_args": {**init_args, "plans": plain_plans(init_args["plans"])},
        "trainer_name": trainer,
    }


def write_model(source: Path, folder: Path, folds: Sequence[str], checkpoints: Sequence[str], trainer: str) -> None:
    """Write an exported model.

    Args:
        source: results folder of the training, ``TRAINER__PLANS__CONFIGURATION``.
        folder: where the model goes; must not exist.
        folds: numbers, or ``all``.
        checkpoints: files that each of the folds has.
        trainer: as in ``plain_checkpoint``.

    Raises:
        UserError: a file of the training cannot be read.
    """
    folder.mkdir()
    _write_plans(source, folder)
    read_json(source / "dataset.json")  # without it nnU-Net does not predict
    _copy(source, folder, ["dataset.json", "dataset_fingerprint.json"])
    for fold in folds:
        origin, target = source / f"fold_{fold}", folder / f"fold_{fold}"
        target.mkdir()
        _copy(origin, target, FOLD_FILES)
        for name in checkpoints:
            _write_checkpoint(origin / name, target / name, trainer)
    for origin in sorted(source.glob(f"{CROSS_VALIDATION}*")):
        if set(origin.name.removeprefix(CROSS_VALIDATION).split("_")) <= set(folds):
            target = folder / origin.name
            target.mkdir()
            _copy(origin, target, CROSS_VALIDATION_FILES)
            if (origin / "plans.json").is_file():
                _write_plans(origin, target)


def check_model(folder: Path, folds: Sequence[str], checkpoints: Sequence[str], trainer: str) -> None:
    """Let nnU-Net's own predictor load an exported model, each checkpoint strictly.

    Raises:
        UserError: nnU-Net does not find the trainer, or its network is not the one these weights are for.
    """
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    for name in checkpoints:
        for fold in folds:
            with refused_by_nnunet(f"{name} of fold {fold} with {trainer}"):
                predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False)
                predictor.initialize_from_trained_model_folder(str(folder), (fold,), name)


@contextmanager
def refused_by_nnunet(what: str) -> Iterator[None]:
    """Make a ``UserError`` of nnU-Net's words where it does not find a trainer or cannot use a checkpoint."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0].rstrip(":")
        raise UserError(f"nnU-Net cannot use {what}: {reason}") from error


def can_be_continued(folder: Path) -> bool:
    """Whether a results folder holds what a training is continued from, and no exported model; not where damaged."""
    return any(map(_has_optimiser, folder.glob("fold_*/*.pth")))


def _has_optimiser(file: Path) -> bool:
    try:
        return "optimizer_state" in read_checkpoint(file)
    except UserError:
        return False


def read_json(path: Path) -> dict[str, Any]:
    """Read one of nnU-Net's JSON files.

    Raises:
        UserError: it is not there, or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; is {path.parent} the folder that you meant?") from error
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}") from error


def read_plans(path: Path) -> dict[str, Any]:
    """Read nnU-Net's plans.

    Raises:
        UserError: they are not there, or no plans.
    """
    plans = read_json(path)
    configurations = plans.get("configurations") if isinstance(plans, dict) else None
    if not isinstance(configurations, dict) or not all(isinstance(each, dict) for each in configurations.values()):
        raise UserError(f"{path} holds no plans of nnU-Net; is that the file that you meant?")
    return plans


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of a training.

    Raises:
        UserError: it is none, or not whole.
    """
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=False)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"{path} is no whole checkpoint of nnU-Net") from error
    if not isinstance(content, dict) or "network_weights" not in content:
        raise UserError(f"{path} is no whole checkpoint of nnU-Net")
    return content


def _write_plans(source: Path, folder: Path) -> None:
    plans = plain_plans(read_plans(source / "plans.json"))
    (folder / "plans.json").write_text(json.dumps(plans, indent=4) + "\n", encoding="utf-8")


def _write_checkpoint(source: Path, target: Path, trainer: str) -> None:
    from nnunetv2_pclmix.checkpoint import write_at_once

    try:
        plain = plain_checkpoint(read_checkpoint(source), trainer)
    except (KeyError, TypeError) as error:
        raise UserError(f"{source} is no whole checkpoint of nnU-Net") from error
    write_at_once(plain, target)


def _copy(source: Path, folder: Path, names: Sequence[str]) -> None:
    for name in names:
        if (source / name).is_file():
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, folder / name)
