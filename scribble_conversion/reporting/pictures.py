"""Slices and strokes as PNG, outlines as SVG paths."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from PIL import Image
from skimage.measure import block_reduce, find_contours

from scribble_conversion.reporting.colours import as_rgb

_DARK, _BRIGHT = 1.0, 99.5
"""Percentiles of a volume that are shown black and white."""


def window(volume: npt.NDArray[np.floating], box: list[int] | None) -> tuple[float, float]:
    """The grey values to show black and white.

    Args:
        volume: grey values, slices first.
        box: left, top, right and bottom of what matters in every slice; None for everything.
    """
    if box is not None:
        left, top, right, bottom = box
        volume = volume[:, top:bottom, left:right]
    low, high = np.percentile(volume, (_DARK, _BRIGHT))
    return float(low), float(high)


def reduction(shape: tuple[int, ...], longest: int) -> int:
    """By which whole number a picture has to shrink so that no side is longer than ``longest``."""
    return max(1, -(-max(shape) // longest))


def grey_png(plane: npt.NDArray[np.floating], limits: tuple[float, float], factor: int) -> str:
    """A slice as PNG in base64.

    Args:
        plane: grey values, shape (H, W).
        limits: those shown black and white.
        factor: blocks of so many pixels become one, their mean.
    """
    low, high = limits
    if factor > 1:
        plane = block_reduce(plane, factor, np.mean, cval=low)
    grey = np.clip((plane - low) / max(high - low, 1e-9), 0, 1)
    return _encode(Image.fromarray(np.rint(255 * grey).astype(np.uint8), "L"))


def mask_png(mask: npt.NDArray[np.bool_], colour: str, factor: int) -> str:
    """Strokes as PNG in base64: one colour, the rest transparent; shrinking loses none of them."""
    if factor > 1:
        mask = block_reduce(mask, factor, np.max)
    picture = Image.fromarray(mask.astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, *as_rgb(colour)])
    return _encode(picture, transparency=0, bits=1)


def outline(mask: npt.NDArray[np.bool_], factor: int) -> str:
    """The outline of a mask as an SVG path; pixel (y, x) covers the square from (x, y) to (x + 1, y + 1).

    Args:
        mask: shape (H, W).
        factor: blocks of so many pixels are in it if one of them is, so that nothing is lost.
    """
    if factor > 1:
        mask = block_reduce(mask, factor, np.max)
    parts = []
    # One pixel of padding, less the half by which the middle of a pixel lies off its corner.
    for contour in find_contours(np.pad(mask, 1).astype(np.float32), 0.5):
        corners = contour[:-1]
        step, next_step = corners - np.roll(corners, 1, 0), np.roll(corners, -1, 0) - corners
        turning = np.abs(step[:, 0] * next_step[:, 1] - step[:, 1] * next_step[:, 0]) > 1e-6
        points = [f"{factor * (x - 0.5):g} {factor * (y - 0.5):g}" for y, x in corners[turning]]
        parts.append("M" + "L".join(points) + "Z")
    return "".join(parts)


def _encode(picture: Image.Image, **options: int) -> str:
    stream = io.BytesIO()
    picture.save(stream, "PNG", optimize=True, **options)
    return base64.b64encode(stream.getvalue()).decode("ascii")
