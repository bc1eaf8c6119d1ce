"""Fit a trained network's last biases to the strokes of the cases that its fold held out.

Writes checkpoint_calibrated.pth beside the checkpoint: the same network but for one number per class, a plain nnU-Net
checkpoint to predict with (-chk checkpoint_calibrated.pth) or to export. The offsets are left at zero where, tried on
held-out patients that they do not come from, they do not improve the Dice of the labelled voxels. Dense references are
not looked at. Predictions of these same cases from the calibrated checkpoint have seen their strokes: judge it on
others.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunetv2_pclmix.folders import dataset_folder
from nnunetv2_pclmix.plain_model import read_checkpoint, read_json, read_plans
from nnunetv2_pclmix.trained_model import (
    CALIBRATED,
    CALIBRATION_REPORT,
    FINAL,
    add_model_arguments,
    finished_folds,
    trained_folder,
)
from scribble_conversion.console import UserError
from scribble_conversion.recorded import known_patients
from scribble_conversion.source import name_some

if TYPE_CHECKING:
    import torch

    from nnunetv2_pclmix.calibration import Calibration, HeldOut


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``nnUNetv2_pclmix calibrate``."""
    add_model_arguments(parser)
    parser.add_argument("-chk", "--checkpoint", default=FINAL, metavar="FILE", help=f"default: {FINAL}")
    parser.add_argument("-device", default="cuda", choices=("cuda", "cpu", "mps"), help="default: cuda")


def run(args: argparse.Namespace) -> int:
    """Run ``nnUNetv2_pclmix calibrate``."""
    import torch

    if args.checkpoint == CALIBRATED:
        raise UserError(f"{CALIBRATED} is what this command writes; name the checkpoint to calibrate after -chk")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError("there is no CUDA device; add -device cpu")
    if args.device == "mps" and not torch.backends.mps.is_available():
        raise UserError("there is no Apple GPU; add -device cpu")
    source = trained_folder(args)
    folds = finished_folds(source, args.folds, [args.checkpoint])
    for fold in [fold for fold in folds if not fold.isdigit()]:
        if args.folds or len(folds) == 1:
            raise UserError(f"fold {fold} holds no cases out, so there are no strokes to calibrate with; see -f")
        print(f"Left out: fold {fold} holds no cases out")
        folds.remove(fold)
    cases = {fold: _held_out(source, fold) for fold in folds}
    for fold in folds:
        _calibrate_fold(source, fold, args.checkpoint, cases[fold], torch.device(args.device))
    print(f"Predict with it: nnUNetv2_predict ... -chk {CALIBRATED}")
    return 0


def _preprocessed(source: Path) -> Path:
    return dataset_folder("nnUNet_preprocessed", source.parent.name)


def _held_out(source: Path, fold: str) -> list[str]:
    """The cases of which a fold has not been trained with any.

    Raises:
        UserError: nnU-Net's splits do not say, or name some of them on both sides.
    """
    file = _preprocessed(source) / "splits_final.json"
    if not file.is_file():
        raise UserError(f"{file} does not exist, so nobody can tell which cases were held out; restore the training's")
    splits: Any = read_json(file)
    if not isinstance(splits, list) or not all(
        isinstance(split, dict) and all(isinstance(split.get(part), list) for part in ("train", "val"))
        for split in splits
    ):
        raise UserError(f"{file} holds no splits of nnU-Net; restore the training's")
    if int(fold) >= len(splits):
        raise UserError(f"{file} has {len(splits)} folds, none for fold_{fold}; choose folds with -f")
    held_out = sorted(splits[int(fold)]["val"])
    seen = sorted(set(held_out) & set(splits[int(fold)]["train"]))
    if seen:
        raise UserError(f"{file} trains fold {fold} with {name_some(seen)}, which it also holds out; correct it")
    return held_out


def _calibrate_fold(source: Path, fold: str, checkpoint: str, cases: Sequence[str], device: torch.device) -> None:
    """Calibrate one fold and write what comes of it.

    Raises:
        UserError: too few cases have labelled voxels, none of them background, a file is damaged, or the network has no
            biases to move.
    """
    import numpy as np

    from nnunetv2_pclmix.calibration import calibrate
    from nnunetv2_pclmix.checkpoint import write_at_once
    from nnunetv2_pclmix.held_out import (
        channel_names,
        labelled_voxels,
        load_predictor,
        predict_cases,
        predicted_members,
    )

    folder = source / f"fold_{fold}"
    read_json(source / "dataset.json")  # nnU-Net would end in a traceback
    read_plans(source / "plans.json")
    content = read_checkpoint(folder / checkpoint)
    bias = _last_bias(content, folder / checkpoint)
    predictor = load_predictor(source, fold, checkpoint, device)
    now = _dataset_now(source)
    if any(name in now and now[name] != predictor.dataset_json.get(name) for name in ("labels", "regions_class_order")):
        raise UserError(
            f"{_preprocessed(source) / 'dataset.json'} declares other labels than {source / 'dataset.json'} of the "
            "training; restore the labels of the training, or train anew"
        )
    labels = predictor.label_manager
    channels = channel_names(predictor.dataset_json, labels)
    rng = np.random.default_rng(0)
    voxels: dict[str, HeldOut] = {}
    for case in predict_cases(predictor, source, _preprocessed(source), cases):
        held_out = labelled_voxels(case, labels, rng)
        if held_out is not None:
            voxels[case.name] = held_out
    if len(voxels) < 2:
        raise UserError(f"fold {fold} holds out {len(voxels)} cases with labelled voxels, two are needed")
    exclusive = not labels.has_regions
    if exclusive and not any(case.members[:, 0].any() for case in voxels.values()):
        raise UserError(
            f"fold {fold} holds out no stroke of the background, against which the structures are weighed; scribble "
            "some in the cases that it holds out"
        )
    first = int(exclusive)  # behind background
    known, _ = known_patients([predictor.dataset_json, now], list(voxels))
    patients = [known.get(name, name) for name in voxels]  # else each its own patient's
    if len(set(patients)) == 1:
        print(f"fold {fold} holds out cases of a single patient, so each has offsets from the others of that patient")
    predict = partial(predicted_members, labels=labels)
    result = calibrate(list(voxels.values()), predict, exclusive=exclusive, first_structure=first, patients=patients)
    weights = content["network_weights"]
    if result.helps:
        content["network_weights"] = {**weights, bias: weights[bias] + result.offsets.to(weights[bias])}
    report = {
        "checkpoint": checkpoint,
        "cases": list(voxels),
        "offsets": dict(zip(channels, result.offsets.tolist(), strict=True)),
        "dice_on_labelled_voxels": {
            name: {"before": _number(before), "after": _number(after)}
            for name, before, after in list(zip(channels, result.before, result.after, strict=True))[first:]
        },
        "helps": result.helps,
    }
    try:
        (folder / CALIBRATION_REPORT).unlink(missing_ok=True)  # it would tell of other weights
        write_at_once(content, folder / CALIBRATED)
        (folder / CALIBRATION_REPORT).write_text(json.dumps(report, indent=4) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder} cannot be written to: {error}") from error
    print(_told(fold, channels, result, first))
    print(f"Written: {folder / CALIBRATED}")


def _dataset_now(source: Path) -> Mapping[str, Any]:
    """The ``dataset.json`` beside the preprocessed cases, some of which may be newer than the training."""
    file = _preprocessed(source) / "dataset.json"
    content: Any = read_json(file) if file.is_file() else {}
    return content if isinstance(content, dict) else {}


def _last_bias(content: dict[str, Any], file: Path) -> str:
    """The entry of ``network_weights`` that is added to the logits of the full resolution."""
    found = [re.fullmatch(r"decoder\.seg_layers\.(\d+)\.bias", name) for name in content["network_weights"]]
    layers = [int(match[1]) for match in found if match]
    if not layers:
        raise UserError(f"the network in {file} has no decoder.seg_layers with biases, which calibration moves")
    return f"decoder.seg_layers.{max(layers)}.bias"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _told(fold: str, channels: Sequence[str], result: Calibration, first: int) -> str:
    lines = [f"fold {fold}, Dice on labelled voxels of held-out cases, each with offsets from others:"]
    width = max(len(name) for name in channels)
    for channel, name in enumerate(channels):
        dice = f"   Dice {result.before[channel]:.3f} -> {result.after[channel]:.3f}" if channel >= first else ""
        lines.append(f"  {name:{width}}   offset {float(result.offsets[channel]):+6.2f}{dice}")
    if not result.helps:
        lines.append("  They do not help, so the checkpoint is left as it is.")
    return "\n".join(lines)
