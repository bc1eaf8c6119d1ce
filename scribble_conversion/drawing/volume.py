"""The scribbles of a volume, slice by slice."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from scribble_conversion.drawing.background import body_of
from scribble_conversion.drawing.hand import Hand
from scribble_conversion.drawing.slices import Pen, scribble_slice

SAME_SPACING = 1.01
"""Spacings that differ by less than this factor are the same."""


@dataclass(frozen=True)
class Plan:
    """Which slices of a volume are scribbled, and how.

    Attributes:
        pen: how much is drawn in a slice.
        every: every how many-th slice is scribbled.
        empty_slices: whether slices without any structure get a background stroke.
        axis: the array axis across the slices; None for the one ``slice_axis`` finds.
    """

    pen: Pen = field(default_factory=Pen)
    every: int = 1
    empty_slices: bool = True
    axis: int | None = None


def slice_axis(shape: tuple[int, ...], spacing: tuple[float, ...]) -> int:
    """Find the axis across the slices of a volume: the one of the largest spacing, the first of several.

    Args:
        shape: voxels per axis, array order (z, y, x).
        spacing: mm per axis, same order.

    Returns:
        The array axis; an axis of a single voxel is taken before all others, as a flat image has one.
    """
    if min(shape) == 1:
        return shape.index(1)
    return next(axis for axis, size in enumerate(spacing) if size * SAME_SPACING >= max(spacing))


def scribble_volume(
    labels: npt.NDArray[np.uint8],
    image: npt.NDArray[np.floating],
    spacing: tuple[float, ...],
    unlabelled: int,
    plan: Plan,
    rng: np.random.Generator,
) -> npt.NDArray[np.uint8]:
    """Scribble a volume.

    Args:
        labels: (z, y, x) classes, 0 is background.
        image: (z, y, x) intensities; free background strokes begin where it is not dark.
        spacing: (z, y, x) in mm.
        unlabelled: the value of voxels without a stroke; no class.
        plan: which slices, and how.
        rng: source of the randomness.

    Returns:
        (z, y, x) classes where there is a stroke, ``unlabelled`` elsewhere.
    """
    axis = slice_axis(labels.shape, spacing) if plan.axis is None else plan.axis
    planes = np.moveaxis(labels, axis, 0)
    bodies = body_of(np.moveaxis(image, axis, 0))
    scribbles = np.full(planes.shape, unlabelled, dtype=np.uint8)
    hand = Hand.draw(rng)
    chosen = _annotated(planes, plan, rng)
    for index, slice_rng in enumerate(
        np.random.default_rng(seed) for seed in rng.integers(2**63, size=(len(planes), 2))
    ):
        if chosen[index]:
            scribbles[index] = scribble_slice(planes[index], bodies[index], unlabelled, plan.pen, hand, slice_rng)
    return np.moveaxis(scribbles, 0, axis)


def _annotated(planes: npt.NDArray[np.uint8], plan: Plan, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Which slices are scribbled, (slices,); of the ways to take every k-th, one that meets the most classes."""
    number = len(planes)
    classes = [set(np.unique(plane)) for plane in planes]
    met = [len(set().union(*classes[start :: plan.every])) for start in range(min(plan.every, number))]
    start = int(rng.choice(np.flatnonzero(np.array(met) == max(met))))
    chosen = (np.arange(number) - start) % plan.every == 0
    if not plan.empty_slices and (planes > 0).any():
        chosen &= (planes > 0).any(axis=(1, 2))
    return chosen
