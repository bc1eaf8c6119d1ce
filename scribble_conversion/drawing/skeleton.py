"""Paths along the skeleton of a structure."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.graph import MCP_Geometric
from skimage.measure import euler_number
from skimage.morphology import skeletonize

from scribble_conversion.drawing.curves import Curve, Mask

NEIGHBOURS = np.ones((3, 3), dtype=bool)
"""Pixels that touch at a corner are connected."""
MOST_PATHS = 8
LARGEST_GAP = 0.06
"""Of a whole skeleton; a ring is opened by twice so much at most."""
_TRIES = 12


def skeleton_of(mask: Mask) -> Mask:
    """Centre lines of a mask, one pixel wide; at least one pixel per connected component."""
    return np.asarray(skeletonize(np.pad(mask, 1)))[1:-1, 1:-1]


def number_of_holes(mask: Mask) -> int:
    """How many holes a mask has, over all of its components (8-connected)."""
    return int(ndimage.label(mask, NEIGHBOURS)[1]) - int(euler_number(np.pad(mask, 1), connectivity=2))


def steps_from(skeleton: Mask, start: tuple[int, int]) -> tuple[np.ndarray, MCP_Geometric]:
    """Measure along a skeleton.

    Args:
        skeleton: the pixels that may be walked on.
        start: one of them.

    Returns:
        (rows, columns) distance from the start in pixels, infinite where there is no way, and what traces ways back.
    """
    walker = MCP_Geometric(np.where(skeleton, 1.0, -1.0))
    distances, _ = walker.find_costs([start])
    return distances, walker


def longest_path(skeleton: Mask) -> Curve:
    """The longest of the shortest ways between two pixels of a connected skeleton, (n, 2), as good as surely."""
    first = tuple(np.argwhere(skeleton)[0])
    distances, _ = steps_from(skeleton, first)
    start = _farthest(distances)
    distances, walker = steps_from(skeleton, start)
    return np.asarray(walker.traceback(_farthest(distances)), dtype=np.float64)


def paths_over(skeleton: Mask, gap: float, rng: np.random.Generator) -> list[Curve]:
    """Paths that run over a whole skeleton, the long ones first; twigs are left out.

    Rings are opened at random places, as a hand does that goes around and does not quite meet where it began.

    Args:
        skeleton: of one connected structure.
        gap: how far, in pixels, ends of neighbouring paths stay apart.
        rng: source of the randomness.

    Returns:
        At least one path.
    """
    rest = _open_rings(skeleton, gap, rng)
    paths: list[Curve] = []
    while len(paths) < MOST_PATHS:
        components, number = ndimage.label(rest, NEIGHBOURS)
        if not number:
            break
        largest = components == 1 + np.argmax(np.bincount(components.ravel())[1:])
        path = longest_path(largest)
        if paths and len(path) < max(2 * gap, 0.2 * len(paths[0]), 4):
            break
        paths.append(path)
        taken = np.zeros_like(rest)
        taken[tuple(path.astype(int).T)] = True
        rest &= ndimage.distance_transform_edt(~taken) > gap
    return paths


def _open_rings(skeleton: Mask, gap: float, rng: np.random.Generator) -> Mask:
    """Cut every ring of a skeleton; most rings are cut once, some twice or three times."""
    opened = skeleton.copy()
    rows, columns = np.indices(skeleton.shape)
    gap = min(gap, LARGEST_GAP * np.count_nonzero(skeleton))
    spare = int(rng.integers(0, 3))
    for _ in range(_TRIES):
        holes = number_of_holes(opened)
        if not number_of_holes(skeleton) or (not holes and not spare):
            break
        spare -= not holes
        row, column = rng.choice(np.argwhere(opened))
        cut = opened & (np.hypot(rows - row, columns - column) > gap * rng.uniform(0.5, 2.5))
        if cut.any() and (not holes or number_of_holes(cut) < holes):
            opened = cut
    return opened


def _farthest(distances: np.ndarray) -> tuple[int, int]:
    reachable = np.where(np.isfinite(distances), distances, -1)
    row, column = np.unravel_index(int(reachable.argmax()), distances.shape)
    return int(row), int(column)
