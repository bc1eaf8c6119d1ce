"""Colours that colour-blind readers can tell apart, light enough for a dark image."""

from __future__ import annotations

# Okabe and Ito's palette, the first one for the background as elsewhere in this project, then Tol's light one.
PALETTE = (
    "#009E73",
    "#E69F00",
    "#56B4E9",
    "#CC79A7",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#EE8866",
    "#BBCC33",
    "#99DDFF",
    "#FFAABB",
    "#AAAA00",
    "#DDDDDD",
)


def colour_of(value: int) -> str:
    """The colour of a class; the palette starts again, background left out, where there are more classes."""
    if value < len(PALETTE):
        return PALETTE[value]
    return PALETTE[1 + (value - 1) % (len(PALETTE) - 1)]


def as_rgb(colour: str) -> tuple[int, int, int]:
    """``#RRGGBB`` as three numbers of 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
