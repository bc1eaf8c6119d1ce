"""The scribbles of a volume, slice by slice."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from scribble_conversion.drawing.background import body_of
from scribble_conversion.drawing.hand import Hand
from scribble_conversion.drawing.slices import Pen, scribble_slice


@dataclass(frozen=True)
class Plan:
    """Which slices of a volume are scribbled, and how.

    Attributes:
        pen: how much is drawn in a slice.
        every: every how many-th slice is scribbled.
        empty_slices: whether slices without any structure get a background stroke.
    """

    pen: Pen = field(default_factory=Pen)
    every: int = 1
    empty_slices: bool = True


def scribble_volume(
    labels: npt.NDArray[np.uint8],
    image: npt.NDArray[np.floating],
    axis: int,
    unlabelled: int,
    plan: Plan,
    rng: np.random.Generator,
) -> npt.NDArray[np.uint8]:
    """Scribble a volume.

    Args:
        labels: (z, y, x) classes, 0 is background; where it is ``unlabelled`` nothing is drawn.
        image: (z, y, x) intensities; free background strokes begin where it is not dark.
        axis: the array axis across the slices.
        unlabelled: the value of voxels without a stroke; no class.
        plan: which slices, and how.
        rng: source of the randomness.

    Returns:
        (z, y, x) classes where there is a stroke, ``unlabelled`` elsewhere.
    """
    planes = np.moveaxis(labels, axis, 0)
    bodies = body_of(np.moveaxis(image, axis, 0))
    scribbles = np.full(planes.shape, unlabelled, dtype=np.uint8)
    hand = Hand.draw(rng)
    chosen = _annotated(planes, unlabelled, plan, rng)
    seeds = rng.integers(2**63, size=(len(planes), 2))  # one stream per slice: none depends on the slices before it
    for index in np.flatnonzero(chosen):
        slice_rng = np.random.default_rng(seeds[index])
        scribbles[index] = scribble_slice(planes[index], bodies[index], unlabelled, plan.pen, hand, slice_rng)
    return np.moveaxis(scribbles, 0, axis)


def _annotated(
    planes: npt.NDArray[np.uint8], unlabelled: int, plan: Plan, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Which slices are scribbled, (slices,); of the ways to take every k-th, one that meets the most structures."""
    number = len(planes)
    classes = [set(np.unique(plane).tolist()) - {unlabelled} for plane in planes]
    unions = [set().union(*classes[start :: plan.every]) for start in range(min(plan.every, number))]
    met = [(len(union - {0}), len(union)) for union in unions]
    start = int(rng.choice([start for start, each in enumerate(met) if each == max(met)]))
    chosen = (np.arange(number) - start) % plan.every == 0
    with_structure = np.array([bool(found - {0}) for found in classes])
    if not plan.empty_slices and with_structure.any():
        chosen &= with_structure
    return chosen
