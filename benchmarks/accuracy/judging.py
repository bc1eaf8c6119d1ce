"""Dense judging of finished trainings, at once or later, on another machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nnunetv2.paths import nnUNet_raw
from tqdm import tqdm

from benchmarks.accuracy import fingerprint
from benchmarks.accuracy.store import JUDGED, RunFolder, write_json
from nnunetv2_pclmix.evaluation import DenseEvaluation, evaluate_folder
from nnunetv2_pclmix.judge import DENSE_FOLDER
from scribble_conversion.console import UserError


def find_references(given: Path | None, dataset_name: str) -> Path | None:
    """The folder of dense labels: the one given, or ``labelsTr_dense`` of the raw dataset, or None.

    Raises:
        UserError: the folder given does not exist.
    """
    if given is not None:
        if not given.is_dir():
            raise UserError(f"the folder of references {given} does not exist; name labelsTr_dense with --references")
        return given.resolve()
    if not nnUNet_raw.is_set():
        return None
    default = Path(nnUNet_raw.get()) / dataset_name / DENSE_FOLDER
    return default.resolve() if default.is_dir() else None


def evaluate_run(folder: RunFolder, predictions: Path, references: Path) -> DenseEvaluation:
    """Scores of predictions of a run's validation cases.

    Args:
        folder: the run's.
        predictions: where they are, its own or others of the same cases.
        references: dense labels.

    Raises:
        UserError: predictions are missing, or a reference is missing or does not fit.
    """
    definition = folder.definition()
    ending = definition["dataset_json"]["file_ending"]
    missing = [case for case in definition["validation"] if not (predictions / (case + ending)).is_file()]
    if missing:
        raise UserError(f"{predictions} lacks the prediction of {missing[0]}; remove {folder.path} and run again")
    return evaluate_folder(
        predictions, references, definition["dataset_json"]["labels"], file_ending=ending, progress=False
    )


def judge_run(folder: RunFolder, references: Path) -> None:
    """Judge a run's predictions and write ``dense_evaluation.json`` and ``.csv`` into its folder.

    Raises:
        UserError: predictions are missing, or a reference is missing or does not fit.
    """
    result = evaluate_run(folder, folder.predictions(), references)
    folder.judging_file.unlink(missing_ok=True)
    result.write(folder.path)
    write_json(folder.judging_file, {"references": str(references), "code": fingerprint.of_judging()})
    folder.failure_file.unlink(missing_ok=True)


def judge_all(folders: Iterable[RunFolder], references: Path, again: bool = False) -> dict[str, Any]:
    """Judge what is trained and not judged yet.

    Args:
        folders: runs, in any state.
        references: dense labels.
        again: judge also what is judged already.

    Returns:
        How many were judged and how many are not trained yet.
    """
    unique = {folder.path: folder for folder in folders}
    trained = [f for f in unique.values() if f.result_file.is_file() and (again or f.state() != JUDGED)]
    for folder in tqdm(trained, desc="judging", unit="run"):
        judge_run(folder, references)
    return {"judged": len(trained), "untrained": sum(not f.result_file.is_file() for f in unique.values())}
