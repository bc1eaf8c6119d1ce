"""From the codes of a source format to the integers nnU-Net trains on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from scribble_conversion.console import UserError

INTEGER_TOLERANCE = 1e-3
"""Label volumes saved as floats may be this far from an integer."""
LARGEST_DISTANCE = 0.5
"""How far from a code that the user declared a float may be at most."""
GAP_SHARE = 0.05
"""How far at most, as a share of the distance between that code and the next declared one."""
LARGEST_SPREAD = 0.1
"""How much the floats of one file that count as the same declared code may differ from each other at most."""
WIDEST_TABLE = 2**16
"""Codes that are further apart are not looked up in a table."""
SPREAD_SHARE = 0.01
"""How much at most, as a share of the distance between that code and the next declared one."""


def remap(
    array: npt.NDArray[np.generic], codes: Mapping[int, int], path: Path, explicit: bool = False
) -> npt.NDArray[np.uint8]:
    """Replace the codes of a label volume.

    Floats count as an integer within ``INTEGER_TOLERANCE``. Files that were rescaled on saving hold values like
    499.977 for 500; where the user declared the codes, such a value counts as the nearest one if both hold:

    - It is nearer than ``LARGEST_DISTANCE`` and than ``GAP_SHARE`` of the gap to the next declared code (500 beside
      600: 0.5; 2 beside 3: 0.05). Interpolation between two codes spreads its values over the whole gap, nine tenths of
      which are refused, so it cannot pass unless it moved the labels by less than a twentieth of a voxel, and then
      the nearest code is the right one.
    - All values in the file that count as this code differ by ``LARGEST_SPREAD`` and ``SPREAD_SHARE`` of that gap at
      most: rescaling gives every voxel of a code the same value, interpolation does not.

    What no rule on values can see is a blend that is another code itself, such as half of 0 and half of 2 for 1.

    Args:
        array: codes, any shape and real dtype.
        codes: code in the file to the integer (0..255) to write.
        path: the file it came from, for messages.
        explicit: whether the user declared the codes.

    Returns:
        The integers, same shape.

    Raises:
        UserError: if the volume holds a value that ``codes`` does not declare, NaN and fractions included.
    """
    if explicit and not np.issubdtype(array.dtype, np.integer):
        array = _snapped(array.astype(np.float64), codes, path)
    whole = as_integers(array, path)
    lowest, highest = min(codes), max(codes)
    outside = (whole < lowest) | (whole > highest)
    if outside.any():
        _refuse(np.unique(whole[outside]), codes, path, explicit)
    mapped = _looked_up(whole, codes)
    if (mapped < 0).any():
        _refuse(np.unique(whole[mapped < 0]), codes, path, explicit)
    return mapped.astype(np.uint8)


def _looked_up(whole: npt.NDArray[np.int64], codes: Mapping[int, int]) -> npt.NDArray[np.int16]:
    """What the codes stand for, -1 for those not declared; all lie between the lowest and the highest declared."""
    declared = np.array(sorted(codes), dtype=np.int64)
    values = np.array([codes[code] for code in sorted(codes)], dtype=np.int16)
    lowest, highest = int(declared[0]), int(declared[-1])
    if highest - lowest < WIDEST_TABLE:
        table = np.full(highest - lowest + 1, -1, dtype=np.int16)
        table[declared - lowest] = values
        return table[whole - lowest]
    places = np.searchsorted(declared, whole)
    return np.where(declared[places] == whole, values[places], np.int16(-1))


def as_integers(array: npt.NDArray[np.generic], path: Path) -> npt.NDArray[np.int64]:
    """Make integers of the values of a label volume.

    Args:
        array: any shape and real dtype.
        path: the file it came from, for messages.

    Raises:
        UserError: if it holds fractions or NaN.
    """
    if np.issubdtype(array.dtype, np.integer):
        return array.astype(np.int64)
    floats = array.astype(np.float64)
    fractions = ~(np.abs(floats - np.round(floats)) <= INTEGER_TOLERANCE)  # negated so that NaN counts, too
    if fractions.any():
        examples = ", ".join(f"{value:g}" for value in np.unique(floats[fractions])[:5])
        raise UserError(
            f"{path} holds values that are no integers ({examples}); "
            "labels have to be resampled with nearest neighbour, never interpolated"
        )
    return np.clip(np.round(floats), -(2**53), 2**53).astype(np.int64)


def _snapped(floats: npt.NDArray[np.float64], codes: Mapping[int, int], path: Path) -> npt.NDArray[np.float64]:
    """Put the values near a declared code onto it, as ``remap`` describes; leave the others as they are."""
    values, places = np.unique(floats, return_inverse=True)
    declared = np.array(sorted(codes), dtype=np.float64)
    gaps = np.diff(declared, prepend=-np.inf, append=np.inf)
    gap = np.minimum(gaps[:-1], gaps[1:])
    reach = np.minimum(LARGEST_DISTANCE, GAP_SHARE * gap)
    spread = np.minimum(LARGEST_SPREAD, SPREAD_SHARE * gap)
    nearest = np.searchsorted((declared[1:] + declared[:-1]) / 2, values)
    near = np.abs(values - declared[nearest]) < reach[nearest]
    for index, code in enumerate(declared):
        cluster = values[near & (nearest == index)]
        if cluster.size and np.ptp(cluster) > spread[index]:
            raise UserError(
                f"{path} holds values from {cluster[0]:g} to {cluster[-1]:g} around the label {code:g}, so it looks "
                "interpolated; labels have to be resampled with nearest neighbour"
            )
    return np.where(near, declared[nearest], values)[places].reshape(floats.shape)


def _refuse(values: npt.NDArray[np.int64], codes: Mapping[int, int], path: Path, explicit: bool) -> None:
    listed = ", ".join(str(value) for value in values[:5]) + (", …" if len(values) > 5 else "")
    declared = ", ".join(str(code) for code in sorted(codes))
    cure = "declare them in the label map or correct the file" if explicit else "correct the file"
    raise UserError(f"{path} holds the label values {listed}, expected only {declared}; {cure}")
