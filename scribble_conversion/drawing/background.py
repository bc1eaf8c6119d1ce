"""Strokes in the background: around the structures, and elsewhere in the image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.measure import block_reduce, find_contours

from scribble_conversion.drawing.curves import (
    STEP,
    Curve,
    Mask,
    resample,
    runs_within,
    slow_noise,
    smooth,
    values_at,
)
from scribble_conversion.drawing.hand import Hand

CLEARANCE = 2.0
"""Distance, in pixels, that background strokes keep from the structures where there is room."""
SHORTEST = 4
"""Points; shorter rests of a curve, at the edges of the image, are not drawn."""
_CANDIDATES = 6
_FINE = 48.0
"""Distance from the structures, in pixels, beyond which a curve around them is found on blocks of pixels instead."""


def curves_around(away: npt.NDArray[np.float64], hand: Hand, rng: np.random.Generator) -> list[Curve]:
    """Curves around the structures of a slice.

    Args:
        away: (rows, columns) distance to the nearest structure, in pixels; 0 in structures, of which there has to be
            one pixel at least.
        hand: who draws.
        rng: source of the randomness.

    Returns:
        One curve per group of structures that lie together; none where the structures leave no room.
    """
    foreground = away == 0
    radius = np.sqrt(foreground.sum() / np.pi)
    distance = CLEARANCE + 1 + hand.distance * rng.uniform(0.8, 1.2) * min(radius, 0.25 * max(foreground.shape))
    block = int(np.ceil(distance / _FINE))  # or time would grow with the third power of an image's side
    margin = int(np.ceil(4 * distance / block)) + 2
    blocks = np.pad(block_reduce(foreground, block, np.max), margin)
    rounded = ndimage.gaussian_filter(ndimage.distance_transform_edt(~blocks), 0.6 * distance / block)
    slope = np.stack(np.gradient(rounded))
    corner = margin * block - (block - 1) / 2  # of the image in the coordinates of the curves
    allowed = away >= CLEARANCE
    curves: list[Curve] = []
    for contour in sorted(find_contours(rounded, distance / block), key=len, reverse=True):
        if not _runs_around(contour):  # the rim of a hole
            continue
        curve = _once_and_more_around(block * contour, hand, rng)
        progress = np.linspace(0, 1, len(curve))
        wander = 0.35 * slow_noise(len(curve), 0.15 * STEP * block * len(contour), rng)
        outward = np.column_stack([values_at(part, curve / block) for part in slope])
        outward /= np.maximum(np.hypot(*outward.T), 0.3)[:, None]
        curve = curve + outward * (distance * (hand.drift * progress**2 + wander))[:, None]
        curves += [run for run in runs_within(smooth(curve, 0.6 * distance) - corner, allowed) if len(run) >= SHORTEST]
    return curves


def free_curves(allowed: Mask, preferred: Mask, number: int, length: float, rng: np.random.Generator) -> list[Curve]:
    """Curves drawn freely somewhere in the background.

    Args:
        allowed: where they may go.
        preferred: where they should begin, such as the body; anywhere if it and ``allowed`` have nothing in common.
        number: how many.
        length: about how long, in pixels; they are shorter where there is no room.
        rng: source of the randomness.

    Returns:
        ``number`` curves; none if nothing is allowed.
    """
    starts = np.argwhere(allowed & preferred)
    if not len(starts):
        starts = np.argwhere(allowed)
    if not len(starts):
        return []
    curves = []
    for _ in range(number):
        wanted = length * rng.uniform(0.6, 1.4)
        candidates = [_wander(rng.choice(starts).astype(np.float64), wanted, allowed, rng) for _ in range(_CANDIDATES)]
        curves.append(max(candidates, key=len))
    return curves


def body_of(image: npt.NDArray[np.floating]) -> Mask:
    """Where an image shows something rather than air: brighter than a fifth of its range, holes filled slice-wise.

    Args:
        image: intensities, (slices, rows, columns).

    Returns:
        Same shape.
    """
    low, high = np.percentile(image, [1, 99])
    bright = image > low + 0.2 * (high - low)
    closed = ndimage.binary_closing(bright, np.ones((1, 5, 5), dtype=bool))
    return np.stack([ndimage.binary_fill_holes(plane) for plane in closed])


def _wander(start: Curve, length: float, allowed: Mask, rng: np.random.Generator) -> Curve:
    """A bending line through ``start`` that ends where it is long enough or would leave ``allowed``."""
    number = max(2, int(length / STEP))
    bend = rng.normal(0, 0.8) / length + 3 / length * slow_noise(number, length / 2.5, rng)
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(bend) * STEP
    steps = STEP * np.column_stack([np.sin(heading), np.cos(heading)])
    line = np.cumsum(steps, axis=0)
    line += start - line[number // 2]
    runs = runs_within(line, allowed)
    through = [run for run in runs if np.hypot(*(run - start).T).min() <= 2 * STEP]
    return through[0] if through else start[None]


def _once_and_more_around(closed: Curve, hand: Hand, rng: np.random.Generator) -> Curve:
    """A closed curve followed for the hand's number of turns from a random place on, either way round."""
    even = resample(closed)[:-1]
    turns = max(0.6, hand.turns + rng.normal(0, 0.12))
    start = int(rng.integers(len(even)))
    places = (start + rng.choice([-1, 1]) * np.arange(int(turns * len(even)))) % len(even)
    return even[places]


def _runs_around(contour: Curve) -> bool:
    """Whether a contour of ``find_contours`` has the lower values inside; it runs the other way around higher ones."""
    (rows, columns), (next_rows, next_columns) = contour[:-1].T, contour[1:].T
    return float(np.sum(columns * next_rows - next_columns * rows)) < 0
