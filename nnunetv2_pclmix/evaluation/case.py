"""Judging one case: every structure of one predicted label file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np

from nnunetv2_pclmix.evaluation.metrics import StructureScores, structure_scores
from nnunetv2_pclmix.evaluation.volume import LabelVolume, check_same_geometry, read_labels
from scribble_conversion.console import UserError

LabelValue: TypeAlias = "int | Sequence[int]"
"""A label's integer, or a region's several integers."""

MOST_IGNORED = 0.5
"""Share of ignored voxels above which a reference is no dense label file but scribbles."""


@dataclass(frozen=True)
class CaseScores:
    """Scores of one case.

    Attributes:
        name: the case's name, the file name without its ending.
        structures: scores by structure name.
        ignored_voxels: voxels left out because the reference gives them the ignore label.
    """

    name: str
    structures: dict[str, StructureScores]
    ignored_voxels: int


def label_integers(value: LabelValue) -> tuple[int, ...]:
    """The integers a label or region stands for."""
    parts = value if isinstance(value, (list, tuple)) else [value]  # text, too, as nnU-Net takes it
    return tuple(map(int, parts))


def judge_case(
    name: str, prediction: Path, reference: Path, structures: Mapping[str, LabelValue], ignore_label: int | None
) -> CaseScores:
    """Compare one predicted label file with its dense reference.

    Args:
        name: how the case is called in the result.
        prediction: predicted label file.
        reference: dense reference label file on the same grid.
        structures: foreground structures and their integers.
        ignore_label: integer of voxels that are not judged.

    Returns:
        The scores of every structure.

    Raises:
        UserError: a file cannot be read, the grids differ, a file holds a label nobody named, or the reference is
            ignored for the most part and therefore not dense.
    """
    predicted, truth = read_labels(prediction), read_labels(reference)
    check_same_geometry(predicted, truth)
    known = {0, *(part for value in structures.values() for part in label_integers(value))}
    if ignore_label is not None:
        known.add(ignore_label)
    for volume in (predicted, truth):
        _check_values(volume, known)

    judged = np.ones(truth.labels.shape, dtype=bool) if ignore_label is None else truth.labels != ignore_label
    ignored = int(judged.size - judged.sum())
    if ignored > MOST_IGNORED * judged.size:
        raise UserError(
            f"{reference} gives {100 * ignored / judged.size:.0f} % of its voxels the ignore label {ignore_label}: "
            "these are scribbles; name the folder with the dense labels as references"
        )
    scores = {}
    for structure, value in structures.items():
        integers = label_integers(value)
        scores[structure] = structure_scores(
            np.isin(predicted.labels, integers) & judged, np.isin(truth.labels, integers) & judged, truth.spacing
        )
    return CaseScores(name, scores, ignored)


def _check_values(volume: LabelVolume, known: set[int]) -> None:
    unknown = sorted({int(value) for value in np.unique(volume.labels)} - known)
    if unknown:
        raise UserError(f"{volume.path} holds the labels {unknown}; only {sorted(known)} are known")
