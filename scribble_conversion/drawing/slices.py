"""The scribbles of one slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from scribble_conversion.drawing.background import CLEARANCE, curves_around, free_curves
from scribble_conversion.drawing.curves import Curve, Mask, piece
from scribble_conversion.drawing.hand import Hand
from scribble_conversion.drawing.interior import border_curves, interior_curves
from scribble_conversion.drawing.raster import depth_of, draw
from scribble_conversion.drawing.skeleton import NEIGHBOURS

SPECK = 3
"""Components of fewer pixels get no stroke of their own unless they are the largest of their class in the slice."""
HOLE_DEPTH = 3.0
"""Background enclosed by structures gets a stroke of its own where it is at least so deep, in pixels."""


@dataclass(frozen=True)
class Pen:
    """How much is drawn.

    Attributes:
        fraction: length of each stroke over its full length, above 0 to 1.
        width: diameter of the pen in pixels.
        border: whether part of the inside of each structure's contour is drawn, too.
        elsewhere: how many background strokes are drawn away from the structures.
    """

    fraction: float = 1.0
    width: float = 1.3
    border: bool = False
    elsewhere: int = 1


def scribble_slice(
    labels: npt.NDArray[np.uint8], body: Mask, unlabelled: int, pen: Pen, hand: Hand, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Scribble one slice: every structure in it, and the background.

    What is drawn with a smaller ``fraction`` is part of what is drawn with a larger one and the same ``rng``.

    Args:
        labels: (rows, columns) classes, 0 is background; where it is ``unlabelled`` nothing is drawn.
        body: (rows, columns) where free background strokes should begin.
        unlabelled: the value of pixels without a stroke; no class.
        pen: how much is drawn.
        hand: who draws.
        rng: source of the randomness.

    Returns:
        (rows, columns) classes where there is a stroke, ``unlabelled`` elsewhere; every class of the slice occurs.
    """
    scribbles = np.full(labels.shape, unlabelled, dtype=np.uint8)
    for value in np.unique(labels[(labels > 0) & (labels != unlabelled)]):
        for window, component in _components(labels == value, SPECK):
            depth = depth_of(component)
            curves = interior_curves(component, depth, hand, rng)
            if pen.border:
                curves += border_curves(component, depth, rng)
            scribbles[window][_drawn(curves, component, depth, pen, rng)] = value
    background = labels == 0
    if background.any():
        depth = depth_of(background)
        curves = _background_curves(background, depth, body, pen, hand, rng)
        scribbles[_drawn(curves, background, depth, pen, rng)] = 0
    return scribbles


def _background_curves(
    background: Mask, depth: npt.NDArray[np.float64], body: Mask, pen: Pen, hand: Hand, rng: np.random.Generator
) -> list[Curve]:
    """Curves around the structures, in the holes between them, and elsewhere."""
    extent = sum(background.shape) / 2
    if background.all():
        return free_curves(background, body, 1 + pen.elsewhere, 0.5 * extent, rng)
    curves = curves_around(depth, hand, rng)
    holes = ndimage.binary_fill_holes(~background) & background
    for window, hole in _components(holes, SPECK):
        if depth[window][hole].max() >= HOLE_DEPTH:
            curves += [curve + _corner(window) for curve in interior_curves(hole, depth_of(hole), hand, rng)]
    away = (depth >= 3 * CLEARANCE) & background
    curves += free_curves(away, body, pen.elsewhere, 0.18 * extent, rng)
    if not curves:  # a corner left free by structures that fill the image
        window, component = max(_components(background, SPECK), key=lambda found: int(found[1].sum()))
        curves = [curve + _corner(window) for curve in interior_curves(component, depth_of(component), hand, rng)]
    return curves


def _components(mask: Mask, smallest: int) -> list[tuple[tuple[slice, slice], Mask]]:
    """The connected components of a mask, each in a window with a margin of one pixel; the largest always."""
    numbered, _ = ndimage.label(mask, NEIGHBOURS)
    sizes = np.bincount(numbered.ravel())
    sizes[0] = 0
    chosen = []
    for number, found in enumerate(ndimage.find_objects(numbered), start=1):
        if sizes[number] >= smallest or sizes[number] == sizes.max():
            window = tuple(slice(max(part.start - 1, 0), part.stop + 1) for part in found)
            chosen.append(((window[0], window[1]), numbered[window] == number))
    return chosen


def _corner(window: tuple[slice, slice]) -> npt.NDArray[np.float64]:
    return np.array([part.start for part in window], dtype=np.float64)


def _drawn(curves: list[Curve], mask: Mask, depth: npt.NDArray[np.float64], pen: Pen, rng: np.random.Generator) -> Mask:
    """Draw the wanted piece of each curve."""
    drawn = np.zeros_like(mask)
    for curve in curves:
        drawn |= draw(piece(curve, pen.fraction, rng.random()), pen.width, mask, depth)
    return drawn
