"""Where the errors of a training lie: by place along the organ, by distance from it, by group of cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from nnunetv2_pclmix.evaluation.case import LabelValue, label_integers

PLACES = ("wide third", "middle third", "narrow third", "beyond")
"""Thirds of the slices that hold a structure, from the end with the larger area (a heart's base), and all others."""

BANDS_MM = (5.0, 20.0, 60.0)
"""Distances from the nearest structure that divide the false positives."""


@dataclass(frozen=True)
class CaseErrors:
    """Errors of one case.

    Attributes:
        name: the case's.
        overlap, predicted, truth: (structures, places) voxels in both, in the prediction, in the reference.
        far: (bands + 1,) voxels of false foreground by distance from the nearest structure of the reference.
        worst_slice: index of the slice with most wrong voxels.
    """

    name: str
    overlap: NDArray[np.int64]
    predicted: NDArray[np.int64]
    truth: NDArray[np.int64]
    far: NDArray[np.int64]
    worst_slice: int


def places_of_slices(foreground: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Index into ``PLACES`` of every slice along the first axis.

    Args:
        foreground: (slices, rows, columns), all structures of the reference.
    """
    area = foreground.sum((1, 2))
    held = np.flatnonzero(area)
    places = np.full(len(area), PLACES.index("beyond"))
    if len(held):
        first, last = held[0], held[-1] + 1
        thirds = np.arange(last - first) * 3 // (last - first)
        half = max(1, (last - first) // 3)
        if area[first : first + half].sum() < area[last - half : last].sum():
            thirds = thirds[::-1]
        places[first:last] = thirds
    return places


def case_errors(
    name: str,
    prediction: NDArray[np.integer],
    reference: NDArray[np.integer],
    structures: Mapping[str, LabelValue],
    spacing: Sequence[float],
) -> CaseErrors:
    """Count the errors of one case.

    Args:
        name: the case's.
        prediction: (slices, rows, columns) labels.
        reference: dense labels of the same shape.
        structures: names and integers.
        spacing: millimetres per voxel along the axes.
    """
    places = places_of_slices(reference > 0)
    in_place = places == np.arange(len(PLACES))[:, None]  # (places, slices)
    counts = []
    for value in structures.values():
        inside, true = (np.isin(labels, label_integers(value)) for labels in (prediction, reference))
        counts.append([mask.sum((1, 2)) @ in_place.T for mask in (inside & true, inside, true)])
    overlap, predicted, truth = np.moveaxis(np.asarray(counts, dtype=np.int64), 1, 0)
    false = (prediction > 0) & (reference == 0)
    far = np.zeros(len(BANDS_MM) + 1, dtype=np.int64)
    if false.any():
        distance = (
            distance_transform_edt(reference == 0, sampling=spacing)
            if (reference > 0).any()
            else np.full(reference.shape, np.inf)
        )
        far = np.bincount(np.searchsorted(BANDS_MM, distance[false]), minlength=len(far))
    worst = int((prediction != reference).sum((1, 2)).argmax())
    return CaseErrors(name, overlap, predicted, truth, far, worst)


def pooled_dice(errors: Sequence[CaseErrors]) -> NDArray[np.float64]:
    """(structures, places) Dice of all cases' voxels together; NaN where there is nothing."""
    overlap, predicted, truth = (sum(getattr(e, what) for e in errors) for what in ("overlap", "predicted", "truth"))
    with np.errstate(invalid="ignore"):
        return 2 * overlap / np.where(predicted + truth > 0, predicted + truth, np.nan)


def describe(errors: Mapping[str, Sequence[CaseErrors]], structures: Sequence[str]) -> str:
    """Two Markdown tables: Dice by structure and place, and false foreground by distance.

    Args:
        errors: cases by group, for instance ``all``, ``ED``, ``ES``.
        structures: names in the order of the counts.
    """
    lines = [f"| cases | structure | {' | '.join(PLACES)} |", "|---|---|" + "---|" * len(PLACES)]
    for group, cases in errors.items():
        dice = pooled_dice(cases)
        sizes = [sum(int(e.predicted[k, -1]) for e in cases) for k in range(len(structures))]
        for name, row, size in zip(structures, dice, sizes, strict=True):
            shown = [f"{value:.3f}" for value in row[:-1]] + [f"{size} voxels predicted"]
            lines.append(f"| {group} ({len(cases)}) | {name} | {' | '.join(shown)} |")
    edges = ("0", *(f"{edge:g}" for edge in BANDS_MM))
    bands = [f"{low} to {high} mm" for low, high in pairwise(edges)] + [f"above {edges[-1]} mm"]
    lines += ["", f"| cases | false foreground | {' | '.join(bands)} |", "|---|---|" + "---|" * len(bands)]
    for group, cases in errors.items():
        far = np.sum([e.far for e in cases], axis=0)
        lines.append(f"| {group} ({len(cases)}) | {far.sum()} voxels | {' | '.join(map(str, far))} |")
    return "\n".join(lines) + "\n"
