"""Finding how an array that somebody saved without its geometry lies in the image it came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product
from typing import TypeVar

import numpy as np
import numpy.typing as npt

SAMPLES = 4096
"""Pixels of a slice that are looked at while orientations and slices are compared."""
TIE = 1e-6
"""A correlation this much below the best is as good as the best."""

Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True)
class Orientation:
    """One way to turn a 3D array without interpolation.

    Attributes:
        axes: axis k of the turned array is axis ``axes[k]`` of the array.
        flips: which axes of the turned array run backwards.
    """

    axes: tuple[int, ...] = (0, 1, 2)
    flips: tuple[bool, ...] = (False, False, False)

    @property
    def is_identity(self) -> bool:
        """Whether it leaves everything where it is."""
        return self == Orientation()

    def turned(self, array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """A turned view of ``array``; what is written into the view lands in the array."""
        return array.transpose(self.axes)[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]

    def turned_back(self, array: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
        """The array of which ``array`` is the turned view."""
        original = np.empty([array.shape[self.axes.index(axis)] for axis in range(array.ndim)], array.dtype)
        self.turned(original)[...] = array
        return original


def correlation(stored: npt.NDArray[np.generic], original: npt.NDArray[np.generic]) -> float:
    """Pearson correlation of an array with the one it may have been made of by clipping and a linear scale.

    Whoever clipped the intensities left the others on a line. So that line is fitted to the voxels that are neither at
    the lowest nor at the highest stored value, and the original is clipped to what it says of these two values (but
    never within the range that the fitted voxels have). An exact copy then has 1 however much was clipped, without any
    knowledge of the percentile.

    Args:
        stored: any shape.
        original: same shape.

    Returns:
        -1 to 1; 0 where one of them is constant; NaN where both are.
    """
    left = stored.astype(np.float64).ravel()
    right = original.astype(np.float64).ravel()
    inside = (left > left.min()) & (left < left.max())
    if inside.any():
        right = right.clip(*_clipping(left, left[inside], right[inside]))
    left -= left.mean()
    right -= right.mean()
    lengths = float(np.linalg.norm(left)), float(np.linalg.norm(right))
    if not all(lengths):
        return 0.0 if any(lengths) else float("nan")
    return float(left @ right / (lengths[0] * lengths[1]))


def _clipping(
    stored: npt.NDArray[np.float64], inside: npt.NDArray[np.float64], original: npt.NDArray[np.float64]
) -> tuple[float, float]:
    """The original intensities that the lowest and the highest of the values ``stored`` stand for.

    Args:
        stored: all stored values.
        inside: those of them between the extremes.
        original: the original intensities of the latter.
    """
    centred = inside - inside.mean()
    variance = float(centred @ centred)
    slope = float(centred @ original) / variance if variance else 0.0
    low, high = original.mean() + slope * (np.array([stored.min(), stored.max()]) - inside.mean())
    return min(float(low), float(original.min())), max(float(high), float(original.max()))


def slice_correlations(stack: npt.NDArray[np.generic], image: npt.NDArray[np.generic]) -> npt.NDArray[np.float64]:
    """The correlation of each slice (first axis) with the image's slice at the same place; NaN where both are blank."""
    return np.array([correlation(left, right) for left, right in zip(stack, image, strict=True)])


def find_orientation(stack: npt.NDArray[np.generic], image: npt.NDArray[np.generic]) -> Orientation | None:
    """Find how to turn ``image`` so that it is most like ``stack``, slice by slice.

    Args:
        stack: 3D.
        image: 3D.

    Returns:
        The best of the 48 orientations, among those that give the stack's shape; the identity where it is as good.
        None where no orientation gives the stack's shape.
    """
    scores = {}
    for orientation in _orientations():
        turned = orientation.turned(image)
        if turned.shape == stack.shape:
            each = slice_correlations(_thinned(stack), _thinned(turned))
            scores[orientation] = float(np.nanmean(each)) if np.isfinite(each).any() else 0.0
    if not scores:
        return None
    best = max(scores, key=lambda orientation: scores[orientation])
    return Orientation() if scores.get(Orientation(), -1.0) >= scores[best] - TIE else best


def most_alike(stack: npt.NDArray[np.generic], image: npt.NDArray[np.generic]) -> list[int]:
    """For each slice of ``stack``, which slice of ``image`` it is most like.

    Its own place is preferred where another is as good, so repeated slices are no disorder.
    """
    left, right = _thinned(stack), _thinned(image)
    places = []
    for place, one in enumerate(left):
        alike = np.nan_to_num([correlation(one, other) for other in right], nan=1.0)
        places.append(place if alike[place] >= alike.max() - TIE else int(alike.argmax()))
    return places


def _orientations() -> Iterator[Orientation]:
    """All 48, the identity first."""
    for axes in permutations(range(3)):
        for flips in product((False, True), repeat=3):
            yield Orientation(axes, flips)


def _thinned(stack: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Every slice, with about ``SAMPLES`` of its pixels."""
    step = max(1, round(float(np.sqrt(stack.shape[1] * stack.shape[2] / SAMPLES))))
    return stack[:, ::step, ::step]
