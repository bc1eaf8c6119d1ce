"""Dice and HD95 from their definitions, in plain loops; shares no code with the package or with MONAI."""

from __future__ import annotations

import itertools
import math

import numpy as np


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    first = {tuple(voxel) for voxel in np.argwhere(prediction)}
    second = {tuple(voxel) for voxel in np.argwhere(reference)}
    return 2 * len(first & second) / (len(first) + len(second))


def surface(mask: np.ndarray) -> list[tuple[int, ...]]:
    """Voxels of the mask with a face neighbour outside the mask or outside the image."""
    found = []
    for voxel in itertools.product(*(range(size) for size in mask.shape)):
        if not mask[voxel]:
            continue
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            neighbour = list(voxel)
            neighbour[axis] += step
            if not 0 <= neighbour[axis] < mask.shape[axis] or not mask[tuple(neighbour)]:
                found.append(voxel)
                break
    return found


def percentile(values: list[float], percent: float) -> float:
    """Linear interpolation between the two nearest ranks."""
    ordered = sorted(values)
    position = (len(ordered) - 1) * percent / 100
    lower = math.floor(position)
    upper = min(lower + 1, len(ordered) - 1)
    return ordered[lower] + (position - lower) * (ordered[upper] - ordered[lower])


def hd95(prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, ...]) -> float:
    first, second = surface(prediction), surface(reference)

    def distance(a: tuple[int, ...], b: tuple[int, ...]) -> float:
        return math.sqrt(sum(((i - j) * step) ** 2 for i, j, step in zip(a, b, spacing, strict=True)))

    there = [min(distance(a, b) for b in second) for a in first]
    back = [min(distance(b, a) for a in first) for b in second]
    return max(percentile(there, 95), percentile(back, 95))
