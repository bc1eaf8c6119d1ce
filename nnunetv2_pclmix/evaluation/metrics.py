"""Dice and the 95th percentile Hausdorff distance of one structure, computed by MONAI."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PERCENTILE = 95.0

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class StructureScores:
    """How well one structure was found in one case.

    Attributes:
        dice: Dice coefficient in 0..1; NaN where the structure is in neither volume.
        hd95_mm: symmetric 95th percentile Hausdorff distance in the unit of the spacing (millimetres); NaN where the
            structure is in neither volume, the length of the image's diagonal where it is in only one of them.
        hd95_voxels: the same with a spacing of one along every axis.
        predicted_voxels: size of the predicted structure.
        reference_voxels: size of the reference structure.
    """

    dice: float
    hd95_mm: float
    hd95_voxels: float
    predicted_voxels: int
    reference_voxels: int

    @property
    def empty_in_both(self) -> bool:
        """Neither volume has the structure: nothing to judge."""
        return self.predicted_voxels == 0 and self.reference_voxels == 0

    @property
    def missed(self) -> bool:
        """The reference has the structure, the prediction does not."""
        return self.predicted_voxels == 0 and self.reference_voxels > 0

    @property
    def invented(self) -> bool:
        """The prediction has the structure, the reference does not."""
        return self.predicted_voxels > 0 and self.reference_voxels == 0


def structure_scores(prediction: BoolArray, reference: BoolArray, spacing: Sequence[float]) -> StructureScores:
    """Judge one predicted structure against its reference.

    The distance is the larger of the two directed 95th percentiles over surface voxels, as MONAI and "Metrics
    Reloaded" define it; tools that take one percentile over both directions together (MedPy) give slightly smaller
    values. Surfaces are those of the whole volume, not of its slices; a volume of one slice is judged as that slice,
    in which else every voxel would lie on the surface.

    Empty structures:
        * In neither volume: there is nothing to judge, all scores are NaN and stay out of every mean (nnU-Net does
          the same). Counting it as a perfect 1.0 would reward datasets in which a structure is rare.
        * In only one of them: Dice is 0, and the distance, which is undefined, is set to the diagonal of the image,
          the largest distance that could have occurred. This is what challenges do (BraTS: 374 mm, the diagonal of
          its 240 x 240 x 155 mm images). Leaving the case out instead would give the best distance to a model that
          predicts nothing where it is unsure.

    Args:
        prediction: boolean array of two or three dimensions.
        reference: boolean array of the same shape.
        spacing: millimetres per voxel along each axis of the arrays.

    Returns:
        The scores.

    Raises:
        ValueError: the shapes differ, or the spacing has another number of axes.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"expected two arrays of one shape, got {prediction.shape} and {reference.shape}")
    if len(spacing) != prediction.ndim:
        raise ValueError(f"expected a spacing of {prediction.ndim} values, got {tuple(spacing)}")
    flat = [axis for axis, size in enumerate(prediction.shape) if size == 1][: max(0, prediction.ndim - 2)]
    prediction, reference = np.squeeze(prediction, tuple(flat)), np.squeeze(reference, tuple(flat))
    spacing = [step for axis, step in enumerate(spacing) if axis not in flat]
    n_predicted, n_reference = int(prediction.sum()), int(reference.sum())
    if n_predicted == 0 and n_reference == 0:
        return StructureScores(math.nan, math.nan, math.nan, 0, 0)
    if n_predicted == 0 or n_reference == 0:
        return StructureScores(
            dice=0.0,
            hd95_mm=_diagonal(prediction.shape, spacing),
            hd95_voxels=_diagonal(prediction.shape, [1.0] * prediction.ndim),
            predicted_voxels=n_predicted,
            reference_voxels=n_reference,
        )
    box = _union_box(prediction, reference)
    prediction, reference = prediction[box], reference[box]
    return StructureScores(
        dice=_monai_dice(prediction, reference),
        hd95_mm=_monai_hd95(prediction, reference, spacing),
        hd95_voxels=_monai_hd95(prediction, reference, [1.0] * prediction.ndim),
        predicted_voxels=n_predicted,
        reference_voxels=n_reference,
    )


def _diagonal(shape: Sequence[int], spacing: Sequence[float]) -> float:
    return math.sqrt(sum((size * step) ** 2 for size, step in zip(shape, spacing, strict=True)))


def _union_box(first: BoolArray, second: BoolArray) -> tuple[slice, ...]:
    """Bounding box of what is set in either array; surfaces at its border stay surfaces, so distances do not change."""
    union = first | second
    box = []
    for axis in range(union.ndim):
        filled = np.flatnonzero(union.any(axis=tuple(other for other in range(union.ndim) if other != axis)))
        box.append(slice(int(filled[0]), int(filled[-1]) + 1))
    return tuple(box)


def _monai_dice(prediction: BoolArray, reference: BoolArray) -> float:
    import torch
    from monai.metrics import compute_dice

    pair = [torch.from_numpy(np.ascontiguousarray(mask))[None, None].double() for mask in (prediction, reference)]
    return float(compute_dice(pair[0], pair[1], include_background=True))


def _monai_hd95(prediction: BoolArray, reference: BoolArray, spacing: Sequence[float]) -> float:
    from monai.metrics import compute_hausdorff_distance

    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", FutureWarning
        )  # MONAI 1.5 and 1.6 warn of an argument that they pass themselves
        distance = compute_hausdorff_distance(
            prediction[None, None],
            reference[None, None],
            include_background=True,
            percentile=PERCENTILE,
            spacing=[float(step) for step in spacing],
        )
    return float(distance)
