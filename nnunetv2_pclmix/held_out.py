"""What a trained network says of the labelled voxels of cases that its fold held out."""

from __future__ import annotations

from collections.abc import Sequence
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
from nnunetv2_pclmix.trained_model import name_parts
from scribble_conversion.console import UserError

MOST_VOXELS = 50_000
"""Of one case; densely labelled ones have millions, whose likelihood a sample tells well enough."""


class LabelledVoxels(NamedTuple):
    """Predictions of held-out cases.

    Attributes:
        cases: by name, those that have labelled voxels.
        channels: names of the network's channels, from dataset.json.
        exclusive: whether they are classes, background first, or else regions.
    """

    cases: dict[str, HeldOut]
    channels: list[str]
    exclusive: bool


def predict_labelled_voxels(
    model: Path,
    preprocessed: Path,
    fold: str,
    checkpoint: str,
    cases: Sequence[str],
    device: torch.device,
    rng: np.random.Generator,
) -> LabelledVoxels:
    """Predict cases as nnU-Net's validation does, on the grid of the preprocessed images.

    Args:
        model: results folder of the training.
        preprocessed: the dataset's folder with the preprocessed images.
        fold: a number.
        checkpoint: file name in the fold's folder.
        cases: names.
        device: where to predict.
        rng: chooses voxels where a case has more labelled ones than ``MOST_VOXELS``.

    Raises:
        UserError: a preprocessed case is missing.
    """
    predictor = nnUNetPredictor(device=device, perform_everything_on_device=device.type == "cuda", allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), (fold,), checkpoint)
    labels: LabelManager = predictor.label_manager
    configuration = predictor.configuration_manager
    folder = preprocessed / configuration.data_identifier
    previous = _previous_stage(model, configuration.previous_stage_name)
    found: dict[str, HeldOut] = {}
    try:
        dataset = infer_dataset_class(str(folder))(str(folder), list(cases), previous)
        for case in tqdm(cases, desc=f"fold {fold}", unit="case"):
            data, segmentation, earlier, _ = dataset.load_case(case)
            image = np.array(data[:])
            if previous is not None:
                one_hot = convert_labelmap_to_one_hot(earlier[:], labels.foreground_labels, output_dtype=image.dtype)
                image = np.vstack((image, one_hot))
            truth = torch.from_numpy(np.array(segmentation[:])[0].astype(np.int64))
            chosen = _labelled(truth, labels.ignore_label, rng)
            if len(chosen):
                logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(image))
                of_voxels = logits.flatten(1)[:, chosen].T.double()
                found[case] = HeldOut(of_voxels, _members(truth.flatten()[chosen], labels))
    except (FileNotFoundError, AssertionError) as error:
        raise UserError(f"{folder} lacks held-out cases of fold {fold}; preprocess the dataset again") from error
    return LabelledVoxels(found, _names(predictor.dataset_json, labels), not labels.has_regions)


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


def _names(dataset_json: dict[str, Any], labels: LabelManager) -> list[str]:
    """Names of the channels."""
    kept = [name for name in dataset_json["labels"] if name != "ignore"]
    if labels.has_regions:
        return [name for name in kept if np.any(np.atleast_1d(dataset_json["labels"][name]) != 0)]
    return sorted(kept, key=lambda name: int(np.atleast_1d(dataset_json["labels"][name])[0]))
