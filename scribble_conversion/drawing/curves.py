"""Curves in the plane: points (row, column) in pixels, on their way from one end of a stroke to the other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Curve = npt.NDArray[np.float64]
"""(n, 2) points, row and column in pixels; n is at least 1. Pixel centres have whole coordinates."""
Mask = npt.NDArray[np.bool_]
"""(rows, columns)."""

STEP = 0.5
"""Distance of neighbouring points of a resampled curve, in pixels."""


def arc_lengths(curve: Curve) -> npt.NDArray[np.float64]:
    """Distance of each point from the curve's start along the curve, (n,), in pixels."""
    return np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(curve, axis=0).T))])


def resample(curve: Curve, step: float = STEP) -> Curve:
    """Put points at equal distances of at most ``step`` pixels along a curve; both ends stay."""
    lengths = arc_lengths(curve)
    if lengths[-1] == 0:
        return curve[:1].copy()
    places = np.linspace(0, lengths[-1], int(np.ceil(lengths[-1] / step)) + 1)
    return np.column_stack([np.interp(places, lengths, curve[:, axis]) for axis in (0, 1)])


def smooth(curve: Curve, sigma: float) -> Curve:
    """Round a curve off: Gaussian along its arc, ``sigma`` in pixels; the ends stay about where they are."""
    even = resample(curve)
    if len(even) < 3:
        return even
    return ndimage.gaussian_filter1d(even, min(sigma / STEP, len(even) / 4), axis=0, mode="nearest")


def piece(curve: Curve, fraction: float, place: float) -> Curve:
    """One contiguous piece of a curve.

    Args:
        curve: the whole.
        fraction: length of the piece over that of the whole, above 0 to 1.
        place: where the piece lies, 0 (at the start) to 1 (at the end).

    Returns:
        The piece, resampled. Pieces at the same place are nested: the points of the shorter are points of the longer.
    """
    even = resample(curve)
    start = place * (1 - fraction) * (len(even) - 1)
    end = start + fraction * (len(even) - 1)
    return even[int(np.floor(start)) : int(np.ceil(end - 1e-9)) + 1]


def normals(curve: Curve) -> Curve:
    """Unit vectors across a curve, (n, 2), all on the same side of it; zero where it has no direction."""
    if len(curve) < 2:
        return np.zeros_like(curve)
    along = np.gradient(curve, axis=0)
    size = np.hypot(*along.T)
    across = np.column_stack([-along[:, 1], along[:, 0]])
    return across / np.where(size > 0, size, 1)[:, None]


def slow_noise(number: int, wavelength: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Smooth random numbers for the points of a resampled curve.

    Args:
        number: how many points.
        wavelength: over which distance, in pixels, the noise changes its sign or so.
        rng: source of the randomness.

    Returns:
        (number,) between -1 and 1.
    """
    knots = rng.uniform(-1, 1, int(number * STEP / wavelength) + 4)
    offset = rng.random()
    places = offset + np.arange(number) * STEP / wavelength
    weight = 0.5 - 0.5 * np.cos(np.pi * (places % 1))
    index = places.astype(int)
    return knots[index] * (1 - weight) + knots[index + 1] * weight


def values_at(array: npt.NDArray[np.float64], curve: Curve) -> npt.NDArray[np.float64]:
    """Linear interpolation of a (rows, columns) array at the points of a curve, (n,); outside as at the edge."""
    values: npt.NDArray[np.float64] = ndimage.map_coordinates(array, curve.T, order=1, mode="nearest")
    return values


def within(curve: Curve, mask: Mask) -> npt.NDArray[np.bool_]:
    """Whether the pixel under each point of a curve belongs to the mask, (n,); pixels outside the array do not."""
    pixels = np.floor(curve + 0.5).astype(int)
    rows, columns = np.clip(pixels, 0, np.array(mask.shape) - 1).T
    inside = np.all((pixels >= 0) & (pixels < mask.shape), axis=1)
    return np.asarray(inside & mask[rows, columns])


def runs_within(curve: Curve, mask: Mask) -> list[Curve]:
    """The parts of a curve, resampled, that lie in a mask, in their order; empty where it passes the mask by."""
    even = resample(curve)
    inside = within(even, mask)
    borders = np.flatnonzero(np.diff(inside)) + 1
    return [part for part, kept in zip(np.split(even, borders), np.split(inside, borders), strict=True) if kept[0]]


def longest_within(curve: Curve, mask: Mask) -> Curve | None:
    """The longest part of a curve that lies in a mask, None where none does."""
    return max(runs_within(curve, mask), key=len, default=None)
