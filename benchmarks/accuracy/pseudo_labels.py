"""How good the pseudo-labels are that a trained network and the strokes make together, under other hyper-parameters.

The objective that made the training's pseudo-labels makes some again, from whole images, and dense labels judge them.
So whether a correction of the pseudo-labels does what it should is known in minutes; whether the network learns more
from them, only a training tells.
"""

from __future__ import annotations

import copy
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch import Tensor
from tqdm import tqdm

from benchmarks.accuracy.store import RunFolder
from benchmarks.accuracy.trainers import at_hand, make_trainer
from nnunetv2_pclmix.closed_world import Strokes
from nnunetv2_pclmix.config import config_from_plans
from nnunetv2_pclmix.dataloading.loader import structures_of_labels
from nnunetv2_pclmix.evaluation.case import label_integers
from nnunetv2_pclmix.evaluation.folder import structures_of
from nnunetv2_pclmix.evaluation.metrics import StructureScores, structure_scores
from nnunetv2_pclmix.evaluation.volume import read_labels
from nnunetv2_pclmix.trainer import nnUNetTrainerPCLMix
from scribble_conversion.console import UserError

PREDICTION = "prediction"


def judge_pseudo_labels(
    folder: RunFolder,
    references: Path,
    settings: Sequence[Mapping[str, Any]],
    cases: str = "validation",
    every: int = 1,
) -> str:
    """Judge a network's predictions, and the pseudo-labels that follow from them under each of several settings.

    Args:
        folder: a finished training with ``nnUNetTrainerPCLMix``, no cascade's second stage.
        references: dense labels of the cases.
        settings: hyper-parameters to override, by a preset too.
        cases: ``validation`` or ``training``.
        every: take each case of that many.

    Returns:
        A Markdown table: per structure mean Dice, and the median of the volumes over the true ones.

    Raises:
        UserError: the training is none of PCLMix, a hyper-parameter is unknown, or a reference is missing.
    """
    definition = folder.definition()
    if definition["trainer"] != nnUNetTrainerPCLMix.__name__:
        raise UserError(f"row '{definition['row']}' trains with {definition['trainer']}, which makes no pseudo-labels")
    structures, _ = structures_of(definition["dataset_json"]["labels"], None)
    names = [PREDICTION, *(json.dumps(dict(setting)) for setting in settings)]
    scores: dict[str, list[list[StructureScores]]] = {name: [] for name in names}
    chosen = definition[cases][::every]
    made = _labels(folder, definition, settings, chosen)
    for case, variants in tqdm(made, total=len(chosen), desc="judging", unit="case"):
        truth = read_labels(references / f"{case}{definition['dataset_json']['file_ending']}")
        for name, labels in zip(names, variants, strict=True):
            of_structures = [
                [np.isin(v, label_integers(s)) for v in (labels, truth.labels)] for s in structures.values()
            ]
            scores[name].append([structure_scores(found, true, truth.spacing) for found, true in of_structures])
    return _table(list(structures), scores)


def _labels(
    folder: RunFolder, definition: Mapping[str, Any], settings: Sequence[Mapping[str, Any]], cases: Sequence[str]
) -> Iterator[tuple[str, list[np.ndarray]]]:
    """For each case the predicted labels and those of each setting, on the grid of its files."""
    trained_with = definition["plans"]["pclmix"]
    try:
        configs = [config_from_plans({"pclmix": {**trained_with, **setting}}, {}) for setting in settings]
    except (TypeError, ValueError) as error:
        raise UserError(f"these are no hyper-parameters: {error}") from error
    trainer = _trained(folder, definition)
    objective = copy.copy(trainer.objective)
    space = objective.space
    predictor = nnUNetPredictor(device=trainer.device, perform_everything_on_device=trainer.device.type == "cuda")
    predictor.allow_tqdm = False
    predictor.manual_initialization(
        trainer.network,
        trainer.plans_manager,
        trainer.configuration_manager,
        None,
        trainer.dataset_json,
        type(trainer).__name__,
        trainer.inference_allowed_mirroring_axes,
    )
    structures = structures_of_labels(trainer.label_manager)
    dataset = trainer.dataset_class(trainer.preprocessed_dataset_folder, list(cases))
    in_2d = len(trainer.configuration_manager.patch_size) == 2

    def batch(volume: Tensor) -> Tensor:
        """(channels, *grid) -> (N, channels, *patch grid): slices where the network sees slices."""
        return volume.movedim(1, 0) if in_2d else volume[None]

    for case in cases:
        data, segmentation, _, properties = dataset.load_case(case)
        image, labels = (torch.from_numpy(np.array(each[:])) for each in (data, segmentation))
        logits = batch(predictor.predict_sliding_window_return_logits(image).float().to(trainer.device))
        image, scribbles = batch(image.to(trainer.device)), batch(labels.long().to(trainer.device))[:, 0]
        scribbles = torch.where(scribbles < 0, space.ignore_label, scribbles)
        strokes = _strokes(scribbles, space.ignore_label, structures)
        made = [space.labels_of_logits(logits)]
        for config in configs:
            objective.config = config
            made.append(objective.pseudo_labels(logits, logits, scribbles, None, strokes, image).labels[0])
        yield case, [_on_file_grid(space.members(labels).cpu(), in_2d, trainer, properties) for labels in made]


def _strokes(scribbles: Tensor, ignore_label: int, structures: Sequence[int | Sequence[int]]) -> Strokes:
    """What the loader would say of these whole images: (N, *grid) strokes."""
    annotated = (scribbles != ignore_label).flatten(1).any(1)
    integers = [torch.tensor(label_integers(s), device=scribbles.device) for s in structures]
    present = torch.stack([torch.isin(scribbles, values).flatten(1).any(1) for values in integers], 1)
    return Strokes(annotated, present | ~annotated[:, None])


def _on_file_grid(members: Tensor, in_2d: bool, trainer: Any, properties: Any) -> np.ndarray:
    """(N, channels, *patch grid) 0 or 1 -> labels on the grid of the image file, the way nnU-Net takes logits there."""
    channels = members.movedim(0, 1) if in_2d else members[0]
    return convert_predicted_logits_to_segmentation_with_correct_shape(
        2 * channels - 1,
        trainer.plans_manager,
        trainer.configuration_manager,
        trainer.label_manager,
        properties,
        num_threads_torch=torch.get_num_threads(),
    )


def _trained(folder: RunFolder, definition: Mapping[str, Any]) -> Any:
    """The trainer with its last weights, ready to predict."""
    checkpoint = folder.last_checkpoint
    if checkpoint is None:
        raise UserError(f"{folder.path} has no checkpoint_final.pth; finish the training first")
    # every trainer begins a log; compiled, the objective would keep the hyper-parameters that it was compiled with
    with (
        tempfile.TemporaryDirectory() as scratch,
        patch.dict(os.environ, nnUNet_compile="f", nnUNet_results=scratch),
    ):
        trainer = make_trainer({**definition, "device": at_hand(definition["device"]).type})
        if trainer.is_cascaded:
            raise UserError("the second stage of a cascade cannot be judged by its pseudo-labels")
        trainer.initialize()
        trainer.load_checkpoint(str(checkpoint))
    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    return trainer


def _table(structures: Sequence[str], scores: Mapping[str, Sequence[Sequence[StructureScores]]]) -> str:
    head = ["labels", *(f"{s} Dice" for s in structures), "mean Dice", *(f"{s} volume" for s in structures)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, of_cases in scores.items():
        dice = np.nanmean([[s.dice for s in case] for case in of_cases], 0)
        sizes = np.array([[(s.predicted_voxels, s.reference_voxels) for s in case] for case in of_cases], float)
        with np.errstate(divide="ignore", invalid="ignore"):
            volume = np.where(sizes[..., 1] > 0, sizes[..., 0] / sizes[..., 1], np.nan)
        cells = [f"{value:.3f}" for value in (*dice, dice.mean())] + [f"{v:.2f}" for v in np.nanmedian(volume, 0)]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return "\n".join(lines)
