"""Histograms as SVG, without a drawing library, so that the page stays small and sharp."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 260, 128
_LEFT, _RIGHT, _TOP, _BOTTOM = 6, 16, 22, 24
_BINS = 25
_TICKS = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10])
_OUTLIERS = 99.0
"""Percentile beyond which values are gathered in the last bar, so that a few do not squeeze all others."""


@dataclass(frozen=True)
class Bar:
    """One bar, in the coordinates of the drawing."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Histogram:
    """What a template needs to draw a histogram.

    Attributes:
        name: what is counted.
        colour: of the bars.
        bars: the bars that are not empty.
        ticks: place and text of each tick of the axis.
        median: place and text of the median; None where nothing was counted.
        axis: y of the axis.
        clipped: how many values lie beyond the axis, in its last bar.
    """

    name: str
    colour: str
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    median: tuple[float, str] | None
    axis: float
    clipped: int


def common_limit(groups: Sequence[Sequence[float]]) -> float:
    """Where the axis of histograms ends that are to be compared."""
    values = [np.percentile(group, _OUTLIERS) for group in groups if len(group)]
    return float(_TICKS.tick_values(0, max(values))[-1]) if values else 1.0


def histogram(name: str, colour: str, values: Sequence[float], limit: float, unit: str) -> Histogram:
    """Draw a histogram.

    Args:
        name: what is counted.
        colour: of the bars.
        values: what to count, not negative.
        limit: where the axis ends; larger values go into the last bar.
        unit: of the values.
    """
    axis, wide = HEIGHT - _BOTTOM, (WIDTH - _LEFT - _RIGHT) / _BINS
    array = np.asarray(values, dtype=np.float64)
    clipped = int(np.count_nonzero(array > limit))
    counts, edges = np.histogram(np.minimum(array, limit), bins=_BINS, range=(0, limit))
    tallest = max(int(counts.max()), 1)
    bars = []
    for index, count in enumerate(counts):
        if count:
            high = max(1.0, (axis - _TOP) * count / tallest)
            last = index == _BINS - 1 and clipped
            upper = "more" if last else f"{edges[index + 1]:.3g}"
            title = f"{count:,} of {edges[index]:.3g} to {upper} {unit}"
            bars.append(Bar(_LEFT + index * wide, axis - high, wide - 1, high, title))
    ticks = [tick for tick in _TICKS.tick_values(0, limit) if 0 <= tick <= limit * (1 + 1e-9)]
    scale = (WIDTH - _LEFT - _RIGHT) / limit
    median = float(np.median(array)) if array.size else None
    return Histogram(
        name=name,
        colour=colour,
        bars=tuple(bars),
        ticks=tuple((_LEFT + tick * scale, f"{tick:g}") for tick in ticks),
        median=None if median is None else (_LEFT + min(median, limit) * scale, f"median {median:.3g} {unit}"),
        axis=axis,
        clipped=clipped,
    )
