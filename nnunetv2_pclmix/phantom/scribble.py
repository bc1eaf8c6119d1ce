"""Scribbles on a phantom heart: thin curvy strokes in the manner of the public ACDC scribbles.

There, the right ventricle carries a loop, the myocardium most of a ring, the left ventricle a spiral and the
background a stroke that runs around the heart once and wanders off; nothing far from the heart is ever labelled.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from nnunetv2_pclmix.phantom.anatomy import BACKGROUND, LV, MYO, RV, UNLABELLED, Contours, Floats, Labels

STROKE_WIDTH_PX = 1.3
"""Width of a stroke in pixels."""


def _tremor(rng: np.random.Generator, n: int, scale: float) -> Floats:
    """Smooth random deviation of a hand: a few sine waves along the stroke."""
    along = np.linspace(0.0, 1.0, n)
    orders = np.arange(1, 7)
    amplitudes = rng.normal(0.0, scale, 6) / np.sqrt(orders)
    phases = rng.uniform(0.0, 2 * np.pi, 6)
    return (amplitudes[:, None] * np.sin(2 * np.pi * orders[:, None] * along + phases[:, None])).sum(axis=0)


def rv_stroke(lines: Contours, rng: np.random.Generator, n: int = 400) -> tuple[Floats, Floats]:
    """A loop inside the crescent: along its outer third and back along its inner third, not always closed."""
    span = rng.uniform(0.5, 0.7) * lines.rv_half_span
    out = lines.rv_angle + np.linspace(-span, span, n // 2)
    angle = np.concatenate([out, out[::-1]])
    depth = np.concatenate([np.full(n // 2, rng.uniform(0.6, 0.75)), np.full(n // 2, rng.uniform(0.25, 0.45))])
    depth = np.clip(depth + _tremor(rng, n, 0.03), 0.1, 0.9)
    epi, outer = lines.radius(lines.epi, angle), lines.radius(lines.outer, angle)
    kept = slice(0, int(n * rng.uniform(0.5, 0.95)))
    return (epi + depth * (outer - epi))[kept], angle[kept]


def myo_stroke(lines: Contours, rng: np.random.Generator, n: int = 500) -> tuple[Floats, Floats]:
    """Most of a ring along the middle of the wall."""
    angle = rng.uniform(-np.pi, np.pi) + np.linspace(0.0, 2 * np.pi * rng.uniform(0.4, 0.9), n)
    depth = np.clip(0.5 + _tremor(rng, n, 0.06), 0.2, 0.8)
    endo, epi = lines.radius(lines.endo, angle), lines.radius(lines.epi, angle)
    return endo + depth * (epi - endo), angle


def lv_stroke(lines: Contours, rng: np.random.Generator, n: int = 400) -> tuple[Floats, Floats]:
    """A spiral in the cavity."""
    turns = rng.uniform(0.8, 1.5) * rng.choice([-1.0, 1.0])
    angle = rng.uniform(-np.pi, np.pi) + np.linspace(0.0, 2 * np.pi * turns, n)
    depth = np.linspace(rng.uniform(0.45, 0.65), rng.uniform(0.05, 0.25), n)
    return lines.radius(lines.endo, angle) * np.clip(depth + _tremor(rng, n, 0.03), 0.0, 0.85), angle


def background_stroke(lines: Contours, rng: np.random.Generator, n: int = 1200) -> tuple[Floats, Floats]:
    """Around the heart and a little away from it, drifting outwards in the manner of a spiral."""
    turns = rng.uniform(0.5, 0.95) * rng.choice([-1.0, 1.0])
    angle = rng.uniform(-np.pi, np.pi) + np.linspace(0.0, 2 * np.pi * turns, n)
    near, far = rng.uniform(5.0, 9.0), rng.uniform(12.0, 38.0)
    margin = near + (far - near) * np.linspace(0.0, 1.0, n) ** 1.5 + _tremor(rng, n, 0.8)
    # A hand does not follow the notches of the outline: take the largest radius in a window, then smooth it.
    samples = len(lines.angles)
    window = max(1, samples // 12)
    padded = np.concatenate([lines.outer[-window:], lines.outer, lines.outer[:window]])
    widest = np.lib.stride_tricks.sliding_window_view(padded, 2 * window + 1).max(axis=1)
    padded = np.concatenate([widest[-window:], widest, widest[:window]])
    hull = np.convolve(padded, np.full(2 * window + 1, 1.0 / (2 * window + 1)), mode="valid")
    return lines.radius(hull, angle) + np.maximum(margin, 3.0), angle


def scribble(
    lines: Contours, label: Labels, x: Floats, y: Floats, spacing: float, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """Scribbles of one slice.

    Args:
        lines: Contours of the slice.
        label: Dense label of the slice, shape (H, W); no stroke leaves its structure.
        x: x coordinate of every pixel centre in mm, shape (H, W).
        y: y coordinate, shape (H, W).
        spacing: Size of a pixel in mm.
        rng: Source of all randomness.

    Returns:
        0 background, 1 RV, 2 MYO, 3 LV, 4 unlabelled, shape (H, W), uint16.
    """
    strokes = {
        BACKGROUND: background_stroke(lines, rng),
        RV: rv_stroke(lines, rng),
        MYO: myo_stroke(lines, rng),
        LV: lv_stroke(lines, rng),
    }
    pixels = np.stack([x.ravel(), y.ravel()], axis=1)
    reach = 0.5 * STROKE_WIDTH_PX * spacing
    result = np.full(label.shape, UNLABELLED, np.uint16)
    for value, (radius, angle) in strokes.items():
        if not (label == value).any():
            continue
        line = np.stack([lines.centre[0] + radius * np.cos(angle), lines.centre[1] + radius * np.sin(angle)], axis=1)
        near = KDTree(line).query(pixels, distance_upper_bound=reach)[0] <= reach
        result[near.reshape(label.shape) & (label == value)] = value
    return result
