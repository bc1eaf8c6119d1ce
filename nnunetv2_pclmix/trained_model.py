"""Which trained model a command is about, and which of its folds are finished."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from nnunetv2_pclmix.folders import dataset_folder
from scribble_conversion.console import UserError

TRAINER = "nnUNetTrainerPCLMix"
FINAL = "checkpoint_final.pth"
CALIBRATED = "checkpoint_calibrated.pth"
CALIBRATION_REPORT = "calibration.json"
"""Beside it: what calibration made of it."""


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a training, as nnU-Net's own commands call them."""
    parser.add_argument("-d", "--dataset", metavar="ID", help="dataset, by number, name or folder")
    parser.add_argument("-c", "--configuration", help="configuration that was trained")
    parser.add_argument("-p", "--plans", default="nnUNetPlans", help="plans (default: nnUNetPlans)")
    parser.add_argument("-tr", dest="trained", default=TRAINER, metavar="TRAINER", help=f"default: {TRAINER}")
    parser.add_argument(
        "--model-folder",
        type=Path,
        metavar="DIR",
        help="the trained TRAINER__PLANS__CONFIGURATION itself, for -d and -c",
    )
    parser.add_argument("-f", "--folds", nargs="+", metavar="FOLD", help="default: all that are finished")


def trained_folder(args: argparse.Namespace) -> Path:
    """The results folder that the options name.

    Raises:
        UserError: they name none or two, or there is no such training.
    """
    if args.model_folder is not None:
        if args.dataset or args.configuration:
            raise UserError("expected either --model-folder or -d and -c, got both")
        # without .., because names of folders count, and without following links, for the same reason
        folder = Path(os.path.abspath(args.model_folder))  # noqa: PTH100
    elif args.dataset and args.configuration:
        name = f"{args.trained}__{args.plans}__{args.configuration}"
        folder = dataset_folder("nnUNet_results", args.dataset).absolute() / name
    else:
        raise UserError("expected -d and -c, or --model-folder, to name the trained model")
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist; there is no such training")
    return folder


def remove_calibration(fold: Path) -> None:
    """Remove from a fold's folder what was calibrated of an earlier training, or it would pass for this one's."""
    for name in (CALIBRATED, CALIBRATION_REPORT):
        (fold / name).unlink(missing_ok=True)


def name_parts(folder: Path) -> list[str]:
    """Trainer, plans and configuration of a results folder.

    Raises:
        UserError: it is not named as nnU-Net does.
    """
    parts = folder.name.split("__")
    if len(parts) != 3:
        raise UserError(f"expected a folder named TRAINER__PLANS__CONFIGURATION, as nnU-Net does, got {folder.name}")
    return parts


def finished_folds(source: Path, wanted: Sequence[str] | None, checkpoints: Sequence[str]) -> list[str]:
    """The folds, numbers or ``all``, that have all of the checkpoints; which others there are is printed.

    Raises:
        UserError: a checkpoint is named by a path, a wanted fold lacks one, or none has all of them.
    """
    for name in checkpoints:
        if Path(name).name != name:
            raise UserError(f"expected the name of a file in the folders of the folds after -chk, got {name}")
    folders = [path.name.removeprefix("fold_") for path in source.glob("fold_*") if path.is_dir()]
    present = sorted(name for name in folders if name == "all" or name.isdigit())
    missing = {
        fold: [name for name in checkpoints if not (source / f"fold_{fold}" / name).is_file()]
        for fold in (wanted or present)
    }
    if wanted:
        for fold, names in missing.items():
            if names:
                raise UserError(f"{source / f'fold_{fold}'} has no {names[0]}; see -f and -chk")
        return list(missing)
    complete = [fold for fold, names in missing.items() if not names]
    if not complete:
        raise UserError(f"no fold of {source} has {' and '.join(checkpoints)}; is the training finished? See -chk")
    for fold in present:
        if fold not in complete:
            print(f"Left out: fold {fold} has no {missing[fold][0]}")
    return complete
