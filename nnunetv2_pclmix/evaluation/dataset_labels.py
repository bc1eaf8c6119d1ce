"""Label names and file ending from nnU-Net's ``dataset.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from nnunetv2_pclmix.evaluation.case import LabelValue, label_integers
from scribble_conversion.console import UserError


@dataclass(frozen=True)
class DatasetLabels:
    """What an evaluation needs of a ``dataset.json``.

    Attributes:
        labels: names and integers as they stand there, background and ignore included.
        file_ending: ending of the dataset's files.
    """

    labels: dict[str, LabelValue]
    file_ending: str


def find_dataset_json(references: Path, predictions: Path) -> Path:
    """Look for ``dataset.json`` beside the references, in the dataset's folder, and beside the predictions.

    Raises:
        UserError: it is in none of these places.
    """
    places = (place.absolute() for place in (references, predictions))
    for folder in (each for place in places for each in (place, place.parent)):
        if (candidate := folder / "dataset.json").is_file():
            return candidate
    raise UserError(f"no dataset.json in or above {references} or {predictions}; name it with --dataset-json")


def read_dataset_labels(dataset_json: Path) -> DatasetLabels:
    """Read the labels and the file ending.

    Raises:
        UserError: the file is missing, is no JSON, or lacks one of them in nnU-Net's form.
    """
    try:
        content = json.loads(dataset_json.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{dataset_json} cannot be read as JSON") from error
    if not isinstance(content, dict) or not isinstance(content.get("labels"), dict) or "file_ending" not in content:
        raise UserError(f"{dataset_json} lacks nnU-Net's 'labels' or 'file_ending'")
    labels, ending = content["labels"], content["file_ending"]
    try:
        known = all(map(label_integers, labels.values()))
    except (TypeError, ValueError):
        known = False
    if not known or not isinstance(ending, str):
        raise UserError(
            f'{dataset_json} has to declare labels like {{"background": 0, "tumour": 1}} and a file_ending; correct it'
        )
    return DatasetLabels(labels, ending)
