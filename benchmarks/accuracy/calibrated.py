"""Finished trainings, calibrated: as ``nnUNetv2_pclmix calibrate``, but each case with offsets from other patients."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.export_prediction import export_prediction_from_logits
from tqdm import tqdm

from benchmarks.accuracy.dataset import patients_of
from benchmarks.accuracy.judging import evaluate_run
from benchmarks.accuracy.store import RunFolder
from benchmarks.accuracy.summary import METRICS, RowRuns, RowSummary, summarise
from benchmarks.accuracy.table import DIGITS, difference_cell, head, line, spread_cell
from benchmarks.accuracy.trainers import at_hand
from nnunetv2_pclmix.calibration import HeldOut, crossed_offsets
from nnunetv2_pclmix.folders import dataset_folder
from nnunetv2_pclmix.held_out import labelled_voxels, load_predictor, predict_cases
from scribble_conversion.console import UserError

FOLDER = "calibrated"


def judge_calibrated(folders: Sequence[tuple[int, RunFolder]], references: Path) -> str:
    """Predict the validation cases again with calibrated networks, and judge both predictions densely.

    No case is judged by offsets that strokes of its patient had a part in (where all are one patient's: its own
    strokes). Predictions and ``dense_evaluation.json`` go into ``calibrated`` in the run's folder; how the run itself
    was judged stays as it is.

    Args:
        folders: seed and folder of judged trainings of one row.
        references: dense labels of the cases.

    Returns:
        A Markdown table: each seed as trained and calibrated, and the paired difference.

    Raises:
        UserError: a checkpoint, a prediction or a reference is missing.
    """
    summaries: list[RowSummary] = []
    for seed, folder in folders:
        predict_calibrated(folder)
        target = folder.path / FOLDER
        calibrated = evaluate_run(folder, target, references)
        calibrated.write(target)
        # not what is stored, which may have been judged with other references
        scores = {"as trained": evaluate_run(folder, folder.predictions(), references), "calibrated": calibrated}
        result = folder.result()
        rows = [RowRuns(name, {(seed, 0): (its.to_dict()["cases"], result)}) for name, its in scores.items()]
        summaries += summarise(rows, "as trained")
    return _table(summaries)


def predict_calibrated(folder: RunFolder) -> None:
    """Write the crossed predictions of a training into its folder.

    Raises:
        UserError: its checkpoint is missing, nnU-Net does not know its trainer, or fewer than two cases have labelled
            voxels.
    """
    checkpoint = folder.last_checkpoint
    if checkpoint is None:
        raise UserError(f"{folder.path} has no checkpoint_final.pth; finish the training first")
    definition = folder.definition()
    if definition["trainer"] == "nnUNetTrainerPartialCE":
        raise UserError("nnUNetTrainerPartialCE is this instrument's own, which nnU-Net's predictor does not find")
    model = checkpoint.parent.parent
    predictor = load_predictor(model, "0", checkpoint.name, at_hand(definition["device"]))
    labels, rng = predictor.label_manager, np.random.default_rng(0)
    preprocessed = dataset_folder("nnUNet_preprocessed", predictor.plans_manager.dataset_name)
    names: list[str] = []
    properties: list[dict[str, Any]] = []
    voxels: list[HeldOut] = []
    target = folder.path / FOLDER
    with tempfile.TemporaryDirectory(dir=folder.path) as scratch:
        for case in predict_cases(predictor, model, preprocessed, definition["validation"]):
            held_out = labelled_voxels(case, labels, rng)
            if held_out is None:
                raise UserError(f"case {case.name} has no labelled voxels; calibration is judged with scribbled ones")
            names.append(case.name)
            properties.append(case.properties)
            voxels.append(held_out)
            torch.save(case.logits, Path(scratch) / case.name)
        if len(voxels) < 2:
            raise UserError(f"{folder.path} has a single validation case, calibration needs others")
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        patients = patients_of(names, definition["dataset_json"])
        crossed = crossed_offsets(voxels, exclusive=not labels.has_regions, patients=patients)
        for name, of_case, offsets in zip(tqdm(names, desc="writing", unit="case"), properties, crossed, strict=True):
            logits = torch.load(Path(scratch) / name).float()
            export_prediction_from_logits(
                logits + offsets.float().view(-1, *[1] * (logits.ndim - 1)),
                of_case,
                predictor.configuration_manager,
                predictor.plans_manager,
                predictor.dataset_json,
                str(target / name),
            )


def _table(rows: Sequence[RowSummary]) -> str:
    structures = list(rows[0].structures["dice"])
    lines = head("", "seed", *structures, "mean Dice", "mean HD95 mm", "Dice against as trained", "HD95 mm, likewise")
    for row in rows:
        cells = [spread_cell(row.structures["dice"][name], DIGITS["dice"]) for name in structures]
        cells += [spread_cell(row.overall[metric], DIGITS[metric]) for metric in METRICS]
        for metric in METRICS:
            difference = row.difference.get(metric)
            cells.append(difference_cell(difference, DIGITS[metric]) if difference else "")
        lines.append(line(row.name, str(row.seeds[0]), *cells))
    return "\n".join(lines)
