"""Scribbles so thin that resampling to a common spacing may break them, judged before nnU-Net has a plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from scribble_conversion.checking.case import CaseFacts
from scribble_conversion.checking.finding import Finding, counted, size_text
from scribble_conversion.source import name_some

BREAKING_FACTOR = 1.5
"""A stroke is in danger where a voxel of the median spacing is wider than it by this factor."""
DANGEROUS_SHARE = 0.05
"""Of the scribbled voxels; fewer are not worth a warning."""


def check_widths(cases: Sequence[CaseFacts], values: Mapping[int, str]) -> Iterator[Finding]:
    """Compare the widths of the strokes with the spacing that nnU-Net will choose, the median over the cases."""
    measured = [case for case in cases if case.strokes and case.spacing is not None]
    if not measured:
        return
    pixels = {case.identifier: _pixel(case) for case in measured}
    target = float(np.median([_pixel(case) for case in cases if case.spacing is not None]))
    total = endangered = 0
    by_class = dict.fromkeys(values, 0)
    hit = []
    for case in measured:
        thin = [stroke for stroke in case.strokes if stroke.width * BREAKING_FACTOR < target]
        total += sum(stroke.voxels for stroke in case.strokes)
        endangered += sum(stroke.voxels for stroke in thin)
        for stroke in thin:
            by_class[stroke.value] += stroke.voxels
        if thin and pixels[case.identifier] * BREAKING_FACTOR < target:
            hit.append(case.identifier)
    if endangered <= DANGEROUS_SHARE * total or not hit:
        return
    names = name_some(values[value] for value, voxels in by_class.items() if voxels)
    spacings = sorted(pixels.values())
    yield Finding(
        "warning",
        "thin",
        f"{100 * endangered / total:.0f} % of the scribbled voxels lie in strokes ({names}) much thinner than the "
        f"median pixel of {size_text(target, 2)} mm (pixels of {size_text(spacings[0], 2)} to "
        f"{size_text(spacings[-1], 2)} mm), to which nnU-Net will resample {counted(len(hit), 'case')} "
        f"({name_some(hit)})",
        "scribble wider there, or check again after nnUNetv2_plan_experiment to see what is lost",
        tuple(hit),
    )


def _pixel(case: CaseFacts) -> float:
    """Side of a square pixel of the same area, mm."""
    assert case.spacing is not None
    sides = [side for index, side in enumerate(case.spacing) if index != case.axis]
    return float(np.sqrt(sides[0] * sides[1]))
