"""Turn a trained model into one for plain nnU-Net, to share with machines without this package.

The weights stay as they are, bit for bit, and so do the predictions. The exported model is for prediction and for
-pretrained_weights; a training is continued (--c) from the original. The model that a cascade needs before it is
exported with it. A training is never replaced, whatever the options.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_pclmix.plain_model import can_be_continued, check_model, read_plans, write_model
from nnunetv2_pclmix.small_plans import resolve_configuration
from nnunetv2_pclmix.trained_model import (
    FINAL,
    TRAINER,
    add_model_arguments,
    finished_folds,
    name_parts,
    trained_folder,
)
from scribble_conversion.console import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``nnUNetv2_pclmix export``."""
    add_model_arguments(parser)
    parser.add_argument(
        "-chk", "--checkpoints", nargs="+", default=[FINAL], metavar="FILE", help=f"checkpoints (default: {FINAL})"
    )
    parser.add_argument(
        "--trainer",
        default="nnUNetTrainer",
        metavar="NAME",
        help="trainer of nnU-Net that the exported model names (default: nnUNetTrainer)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="the exported model (default: beside the trained one, nnUNetTrainer__PLANS__CONFIGURATION)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an exported model")


@dataclass(frozen=True)
class Export:
    """One model to export: from ``source`` to ``target``, ``folds`` being numbers or ``all``.

    ``cure`` is what to do where something is in the way.
    """

    source: Path
    target: Path
    folds: list[str]
    checkpoints: list[str]
    cure: str = "name another folder with -o"


def run(args: argparse.Namespace) -> int:
    """Run ``nnUNetv2_pclmix export``."""
    if not args.trainer.isidentifier() or "__" in args.trainer or args.trainer.startswith(TRAINER):
        raise UserError(f"expected a trainer of nnU-Net's own after --trainer, got {args.trainer}")
    source = trained_folder(args)
    _, plans, configuration = name_parts(source)
    name = f"{args.trainer}__{plans}__{configuration}"
    target = (args.output or source.with_name(name)).absolute()
    if target.is_symlink():
        target = target.resolve()  # else the link itself would be replaced
    exports = [Export(source, target, finished_folds(source, args.folds, args.checkpoints), args.checkpoints)]
    for stage in _previous_stages(source, configuration):
        earlier = source.with_name(f"{name_parts(source)[0]}__{plans}__{stage}")
        if not earlier.is_dir():
            print(f"Not exported: {configuration} predicts from {stage}, of which there is no {earlier.name}")
            continue
        place = target.with_name(f"{args.trainer}__{plans}__{stage}")
        if place.resolve() == target.resolve():
            raise UserError(f"{target} is where {stage} goes, from which {configuration} predicts; {exports[0].cure}")
        checkpoints = _checkpoints_of_earlier(earlier, args.checkpoints)
        folds = finished_folds(earlier, args.folds, checkpoints)
        cure = "name a folder with another parent with -o, because earlier stages go beside it by their names"
        exports.append(Export(earlier, place, folds, checkpoints, cure))
    for export in exports:
        _check_target(export, overwrite=args.overwrite)

    try:
        _write(exports, args.trainer, overwrite=args.overwrite)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error}") from error
    for export in exports:
        print(f"Written: {export.target}, fold {' '.join(export.folds)}, {' '.join(export.checkpoints)}")
    options = f"-m {shlex.quote(str(target))} -f {' '.join(exports[0].folds)} -chk {args.checkpoints[0]}"
    print(f"Predict with it: nnUNetv2_predict_from_modelfolder -i IMAGES -o PREDICTIONS {options}")
    return 0


def _previous_stages(source: Path, configuration: str) -> list[str]:
    """The configurations whose predictions a cascade takes as input."""
    plans = read_plans(source / "plans.json")
    stages: list[str] = []
    following = resolve_configuration(plans, configuration).get("previous_stage")
    while following and following not in stages:
        stages.append(following)
        following = resolve_configuration(plans, following).get("previous_stage")
    return stages


def _checkpoints_of_earlier(source: Path, wanted: Sequence[str]) -> list[str]:
    """Those of an earlier stage: the same where it has them, else what its training ends with."""
    folds = list(source.glob("fold_*"))
    return list(wanted) if all(any((fold / name).is_file() for fold in folds) for name in wanted) else [FINAL]


def _check_target(export: Export, *, overwrite: bool) -> None:
    """See that nothing of the user's is lost.

    Raises:
        UserError: something is in the way.
    """
    target, source, cure = export.target.resolve(), export.source.resolve(), export.cure
    if target == source or source in target.parents:
        raise UserError(f"{export.target} lies in the training itself; {cure}")
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    kept = UserError(f"{export.target} is a training, which is never replaced; {cure}")
    if any(target.glob("fold_*/training_log_*.txt")):
        raise kept
    if not (target / "plans.json").is_file() or not any(target.glob("fold_*")):
        raise UserError(f"{export.target} exists and is no exported model; {cure}")
    if not overwrite:
        raise UserError(f"{export.target} exists; add --overwrite to replace it, or {cure}")
    if can_be_continued(target):  # without a log: installed from nnU-Net's zip
        raise kept


def _write(exports: Sequence[Export], trainer: str, *, overwrite: bool) -> None:
    """Write all models beside where they go, let nnU-Net load them, and only then put them in place.

    Raises:
        UserError: nnU-Net cannot use them, or something has come in the way meanwhile.
    """
    parent = exports[0].target.parent
    parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".export_", dir=parent))
    try:
        for number, export in enumerate(exports):
            write_model(export.source, work / str(number), export.folds, export.checkpoints, trainer)
            check_model(work / str(number), export.folds, export.checkpoints, trainer)
        for export in exports:  # once more: a training may have begun there
            _check_target(export, overwrite=overwrite)
        for number, export in enumerate(exports):
            _put_in_place(work / str(number), export.target, work / f"replaced_{number}")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _put_in_place(model: Path, target: Path, replaced: Path) -> None:
    try:
        if target.exists():
            target.replace(replaced)
        model.replace(target)
    except BaseException:
        if replaced.exists() and not target.exists():
            replaced.replace(target)
        raise
