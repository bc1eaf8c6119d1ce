"""Label maps to draw on."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from scipy import ndimage

UNLABELLED = 9


def blobs(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Random regions of up to four classes, of any smoothness; not every class need occur, background may be absent."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(0, 5))
    bounds = np.quantile(noise, np.sort(rng.random(rng.integers(1, 4))))
    return np.digitize(noise, bounds).astype(np.uint8)


@st.composite
def label_maps(draw: st.DrawFn) -> np.ndarray:
    """Slices of all kinds: random regions, one voxel, one class everywhere, a ring, nothing; labels with gaps, too."""
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    kind = draw(st.sampled_from(["blobs", "blobs", "blobs", "voxel", "full", "ring", "empty"]))
    labels = np.zeros(shape, dtype=np.uint8)
    if kind == "blobs":
        labels = blobs(draw(st.integers(0, 10**6)), shape)
    elif kind == "voxel":
        labels[draw(st.integers(0, shape[0] - 1)), draw(st.integers(0, shape[1] - 1))] = 1
    elif kind == "full":
        labels[:] = 2
    elif kind == "ring":
        away = np.hypot(*(np.indices(shape) - np.array(shape).reshape(2, 1, 1) / 2))
        labels[(away > 0.2 * min(shape)) & (away < 0.4 * min(shape))] = 3
    return np.array([0, 1, 4, 7], dtype=np.uint8)[labels] if draw(st.booleans()) else labels


def heart() -> np.ndarray:
    """A slice with a crescent (1), a ring (2) around a disc (3), 120 x 100."""
    rows, columns = np.indices((120, 100))
    away = np.hypot(rows - 60, columns - 58)
    labels = np.zeros((120, 100), dtype=np.uint8)
    labels[np.hypot((rows - 58) / 1.3, columns - 40) < 22] = 1
    labels[away < 22] = 2
    labels[away < 14] = 3
    return labels
