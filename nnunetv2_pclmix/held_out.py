"""What a trained network says of the labelled voxels of cases that its fold held out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.utilities.label_handling.label_handling import LabelManager, convert_labelmap_to_one_hot
from torch import Tensor
from tqdm import tqdm

from nnunetv2_pclmix.calibration import HeldOut
from nnunetv2_pclmix.plain_model import refused_by_nnunet
from nnunetv2_pclmix.trained_model import name_parts
from scribble_conversion.console import UserError

MOST_VOXELS = 50_000
"""Of one case; densely labelled ones have millions, whose likelihood a sample tells well enough."""


class Case(NamedTuple):
    """A predicted case.

    Attributes:
        name: the case's.
        logits: (C, *grid) on the grid of the preprocessed image, as nnU-Net's predictor gives them.
        labels: (*grid) of the case, negative outside of the image.
        properties: what nnU-Net noted while preprocessing, to find the way back to the image file.
    """

    name: str
    logits: Tensor
    labels: Tensor
    properties: dict[str, Any]


def load_predictor(model: Path, fold: str, checkpoint: str, device: torch.device) -> nnUNetPredictor:
    """nnU-Net's predictor with one fold's network.

    Args:
        model: results folder of the training.
        fold: a number.
        checkpoint: file name in the fold's folder.
        device: where to predict.

    Raises:
        UserError: nnU-Net does not find the trainer, or cannot use the checkpoint.
    """
    predictor = nnUNetPredictor(device=device, perform_everything_on_device=device.type == "cuda", allow_tqdm=False)
    with refused_by_nnunet(str(model / f"fold_{fold}" / checkpoint)):
        predictor.initialize_from_trained_model_folder(str(model), (fold,), checkpoint)
    return predictor


def predict_cases(predictor: nnUNetPredictor, model: Path, preprocessed: Path, names: Sequence[str]) -> Iterator[Case]:
    """Predict preprocessed cases one by one, as nnU-Net's validation does.

    Args:
        predictor: from ``load_predictor``.
        model: results folder of the training, beside which a cascade's earlier stage lies.
        preprocessed: the dataset's folder with the preprocessed images.
        names: of the cases.

    Raises:
        UserError: a case is missing, or what the earlier stage of a cascade predicted for it.
    """
    configuration = predictor.configuration_manager
    folder = preprocessed / configuration.data_identifier
    previous = _previous_stage(model, configuration.previous_stage_name)
    try:
        dataset = infer_dataset_class(str(folder))(str(folder), list(names), previous)
    except (FileNotFoundError, AssertionError) as error:
        raise UserError(f"{folder} holds no preprocessed cases; preprocess the dataset again") from error
    for name in tqdm(names, desc="predicting", unit="case"):
        try:
            data, segmentation, earlier, properties = dataset.load_case(name)
        except (FileNotFoundError, RuntimeError) as error:
            where = folder if previous is None else f"{folder} or {previous}"
            raise UserError(f"{where} lacks {name}, which was held out; preprocess the dataset again") from error
        image = np.array(data[:])
        if previous is not None:
            foreground = predictor.label_manager.foreground_labels
            image = np.vstack((image, convert_labelmap_to_one_hot(np.array(earlier[:]), foreground, image.dtype)))
        logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(image))
        yield Case(name, logits, torch.from_numpy(np.array(segmentation[:])[0].astype(np.int64)), properties)


def labelled_voxels(case: Case, labels: LabelManager, rng: np.random.Generator) -> HeldOut | None:
    """What calibration needs of a case; None where nothing of it is labelled.

    Args:
        case: predicted.
        labels: nnU-Net's for the dataset.
        rng: chooses voxels where more than ``MOST_VOXELS`` are labelled.
    """
    chosen = _labelled(case.labels, labels.ignore_label, rng)
    if not len(chosen):
        return None
    logits = case.logits.flatten(1)[:, chosen].T.double()
    return HeldOut(logits, _members(case.labels.flatten()[chosen], labels))


def predicted_members(logits: Tensor, labels: LabelManager) -> Tensor:
    """(N, C) logits -> (N, C) bool, which channels apply to the labels that nnU-Net makes of them."""
    return _members(labels.convert_logits_to_segmentation(logits.T), labels)


def _previous_stage(model: Path, stage: str | None) -> str | None:
    """Where nnU-Net keeps what an earlier stage of a cascade predicted for this one."""
    if stage is None:
        return None
    trainer, plans, configuration = name_parts(model)
    return str(model.with_name(f"{trainer}__{plans}__{stage}") / "predicted_next_stage" / configuration)


def _labelled(truth: Tensor, ignore_label: int | None, rng: np.random.Generator) -> Tensor:
    """Positions of labelled voxels in the flattened case; outside of the image there are none."""
    labelled = truth >= 0
    if ignore_label is not None:
        labelled &= truth != ignore_label
    positions = labelled.flatten().nonzero()[:, 0]
    if len(positions) > MOST_VOXELS:
        positions = positions[torch.from_numpy(rng.choice(len(positions), MOST_VOXELS, replace=False))]
    return positions


def _members(truth: Tensor, labels: LabelManager) -> Tensor:
    """(N,) labels -> (N, C) bool, which channels apply."""
    channels = labels.foreground_regions if labels.has_regions else labels.all_labels
    return torch.stack([torch.isin(truth, torch.as_tensor(np.atleast_1d(channel))) for channel in channels], 1)


def channel_names(dataset_json: dict[str, Any], labels: LabelManager) -> list[str]:
    """Names of the network's channels, from dataset.json."""
    kept = [name for name in dataset_json["labels"] if name != "ignore"]
    if labels.has_regions:
        return [name for name in kept if np.any(np.atleast_1d(dataset_json["labels"][name]) != 0)]
    return sorted(kept, key=lambda name: int(np.atleast_1d(dataset_json["labels"][name])[0]))
