"""Strokes in the inside of a structure."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.measure import find_contours

from scribble_conversion.drawing.curves import (
    STEP,
    Curve,
    Mask,
    longest_within,
    normals,
    piece,
    resample,
    slow_noise,
    smooth,
    values_at,
    within,
)
from scribble_conversion.drawing.hand import Hand
from scribble_conversion.drawing.raster import depth_of
from scribble_conversion.drawing.skeleton import number_of_holes, paths_over, skeleton_of

THIN = 2.5
"""A structure nowhere deeper than this, in pixels, has room for a stroke along its middle only."""
LONG = 1.7
"""A structure is long rather than round if its centre line is so many times its thickness."""
SPECK_SHARE = 0.5
"""A hole less deep than this share of the structure's own depth is passed over."""

_STEPS_AT_ONCE = 64

Depth = npt.NDArray[np.float64]


def interior_curves(mask: Mask, depth: Depth, hand: Hand, rng: np.random.Generator) -> list[Curve]:
    """Curves for the inside of one connected structure.

    Args:
        mask: the structure, with a margin of at least one pixel where the slice has one.
        depth: ``depth_of(mask)``.
        hand: who draws.
        rng: source of the randomness.

    Returns:
        At least one curve; all of them stay in the structure.
    """
    outline = _without_specks(mask, depth)
    deepest = float(depth_of(outline).max())
    paths = paths_over(skeleton_of(outline), gap=max(1.5, 0.9 * deepest), rng=rng)
    spines = [_spine(path, mask, depth, rng) for path in paths]
    if deepest < THIN or number_of_holes(outline):
        return spines
    if len(paths[0]) + deepest > LONG * 2 * deepest:
        kind = hand.elongated_kind(rng)
        if kind == "spine":
            return spines
        if kind == "zigzag":
            return [_zigzag(spines[0], mask, rng)]
        return [_contour_loop(mask, depth, rng)]
    centre = np.array(np.unravel_index(int(depth.argmax()), depth.shape), dtype=np.float64)
    draw: dict[str, Callable[[], Curve]] = {
        "zigzag": lambda: _zigzag(_chord(centre, mask, rng), mask, rng),
        "spiral": lambda: _spiral(centre, mask, rng, turns=rng.uniform(1.1, 2.0), inner=rng.uniform(0.2, 0.45)),
        "loop": lambda: _spiral(centre, mask, rng, turns=rng.uniform(0.75, 1.15), inner=None),
        "line": lambda: _chord(centre, mask, rng),
    }
    return [draw[hand.compact_kind(rng)]()]


def border_curves(mask: Mask, depth: Depth, rng: np.random.Generator) -> list[Curve]:
    """A curve along part of the inside of one connected structure's contour; none where the structure is too thin."""
    if depth.max() < THIN:
        return []
    contours = find_contours(np.pad(depth, 1), min(1.6, 0.5 * float(depth.max())))
    contour = _rolled(max(contours, key=len) - 1, rng)
    part = piece(contour, rng.uniform(0.25, 0.5), rng.random())
    return [_held(smooth(part, 1.5), part, mask)]


def _without_specks(mask: Mask, depth: Depth) -> Mask:
    """A structure with its small holes filled, so that a speck inside a lump does not make it a ring."""
    filled = np.asarray(ndimage.binary_fill_holes(mask))
    if np.array_equal(filled, mask):
        return mask
    holes, _ = ndimage.label(filled & ~mask)
    widths = ndimage.maximum(depth_of(holes > 0), holes, np.arange(holes.max() + 1))
    return mask | np.append(False, np.asarray(widths)[1:] < SPECK_SHARE * depth.max())[holes]


def _spine(path: Curve, mask: Mask, depth: Depth, rng: np.random.Generator) -> Curve:
    """A path along the skeleton as a hand follows it: rounded, a little off the middle."""
    part = piece(path, rng.uniform(0.85, 1.0), rng.random())
    rounded = _held(smooth(part, 2.5), part, mask)
    room = np.maximum(values_at(depth, rounded) - 0.8, 0)
    swing = 0.45 * room * slow_noise(len(rounded), 9.0, rng)
    return _held(rounded + normals(rounded) * swing[:, None], rounded, mask)


def _zigzag(spine: Curve, mask: Mask, rng: np.random.Generator) -> Curve:
    """To and fro across a structure while going along its spine."""
    even = resample(spine)
    across = normals(even)
    left, right = _rays(even, across, mask), _rays(even, -across, mask)
    width = max(float(np.median(left + right)), 2.0)
    crossings = max(3, round(STEP * len(even) / (rng.uniform(0.22, 0.45) * width)))
    turning = np.linspace(0, len(even) - 1, crossings + 1).round().astype(int)
    side = np.where((np.arange(len(turning)) + rng.integers(2)) % 2, 1, -1)
    reach = rng.uniform(0.5, 0.8, len(turning)) * np.where(side > 0, left[turning], right[turning])
    corners = even[turning] + across[turning] * (side * reach)[:, None]
    line = smooth(corners, rng.uniform(0.5, 1.2))
    shake = 0.06 * width * slow_noise(len(line), 0.5 * width + 2, rng)
    return _held(line + normals(line) * shake[:, None], even, mask)


def _spiral(centre: Curve, mask: Mask, rng: np.random.Generator, turns: float, inner: float | None) -> Curve:
    """Around the centre of a round structure, inwards, or a loop where ``inner`` is None."""
    angles = np.arange(0, turns * 2 * np.pi, 0.1) * rng.choice([-1, 1]) + rng.uniform(0, 2 * np.pi)
    outward = np.column_stack([np.sin(angles), np.cos(angles)])
    outer = rng.uniform(0.5, 0.75)
    share = np.linspace(outer, outer * 0.85 if inner is None else inner, len(angles))
    share = share * (1 + 0.15 * slow_noise(len(angles), 8.0, rng))
    radii = _rays(np.broadcast_to(centre, outward.shape), outward, mask)
    curve = smooth(centre + outward * (share * radii)[:, None], 1.2)
    return _held(curve, centre[None], mask)


def _contour_loop(mask: Mask, depth: Depth, rng: np.random.Generator) -> Curve:
    """There and back through a long structure, along a line of equal depth."""
    level = rng.uniform(0.4, 0.65) * float(depth.max())
    contours = find_contours(np.pad(depth, 1), level)
    contour = smooth(_rolled(max(contours, key=len) - 1, rng), 1.5)
    curve = piece(contour, rng.uniform(0.65, 1.0), rng.random())
    curve = resample(curve)
    room = np.maximum(values_at(depth, curve) - 0.8, 0)
    swing = 0.35 * room * slow_noise(len(curve), 9.0, rng)
    return _held(curve + normals(curve) * swing[:, None], curve, mask)


def _chord(centre: Curve, mask: Mask, rng: np.random.Generator) -> Curve:
    """A line through the centre of a round structure, not quite straight."""
    angle = rng.uniform(0, 2 * np.pi)
    along = np.array([[np.sin(angle), np.cos(angle)]])
    there, back = (rng.uniform(0.6, 0.85) * _rays(centre[None], sign * along, mask)[0] for sign in (1, -1))
    line = resample(np.concatenate([centre + there * along, centre - back * along]))
    bend = 0.12 * (there + back) * slow_noise(len(line), 0.7 * (there + back) + 2, rng)
    return _held(line + normals(line) * bend[:, None], line, mask)


def _rays(points: Curve, directions: Curve, mask: Mask) -> npt.NDArray[np.float64]:
    """How far one can go from each point in its direction before leaving the mask, (n,), in pixels."""
    steps = np.arange(0, sum(mask.shape), STEP)
    reach = np.full(len(points), steps[-1])
    going = np.arange(len(points))
    for first in range(0, len(steps), _STEPS_AT_ONCE):  # all at once would take gigabytes in large pictures
        some = steps[first : first + _STEPS_AT_ONCE]
        way = points[going, None] + some[:, None] * directions[going, None]
        inside = within(way.reshape(-1, 2), mask).reshape(way.shape[:2])
        ends = ~inside.all(axis=1)
        reach[going[ends]] = some[inside[ends].argmin(axis=1)]
        going = going[~ends]
        if not len(going):
            break
    return reach


def _rolled(closed: Curve, rng: np.random.Generator) -> Curve:
    """A closed curve begun at a random place."""
    start = int(rng.integers(len(closed) - 1))
    return np.concatenate([np.roll(closed[:-1], -start, axis=0), closed[start : start + 1]])


def _held(curve: Curve, fallback: Curve, mask: Mask) -> Curve:
    """The longest part of ``curve`` in the mask, else that of ``fallback``, else some pixel of the mask."""
    for candidate in (curve, fallback):
        inside = longest_within(candidate, mask)
        if inside is not None:
            return inside
    return np.argwhere(mask)[:1].astype(np.float64)
