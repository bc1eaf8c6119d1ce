"""Whether the voxels that nobody labelled are told from background."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from scribble_conversion.checking.coverage import Scribbled
from scribble_conversion.checking.finding import Finding, counted
from scribble_conversion.checking.strokes import Stroke
from scribble_conversion.source import name_some

FEW_UNLABELLED = 0.5
"""A smaller share of unlabelled voxels than this is suspicious."""
STROKE_SHARE = 0.02
"""Strokes cover less of an image."""
STROKE_PIXELS_WIDE = 5.0
"""Strokes are narrower, most of them."""
STROKE_ELONGATION = 3.0
"""Strokes are longer than wide by this factor, most of them."""


def check_unlabelled(
    cases: Sequence[Scribbled], ignore: int | None, strokes: Mapping[str, Sequence[Stroke]] | None = None
) -> Iterator[Finding]:
    """Look for labels that know no unlabelled voxels although they look like scribbles.

    Args:
        cases: the cases that should be scribbled.
        ignore: the integer of unlabelled voxels, None where none is declared.
        strokes: the strokes of each case; None where they were not measured, then the share of the structures decides.
    """
    if ignore is not None:
        yield from _check_share([case for case in cases if case.facts.voxels[ignore] > 0], ignore)
    full = [case for case in cases if ignore is None or case.facts.voxels[ignore] == 0]
    if not full:
        return
    drawn = [case for case in full if _looks_drawn(case, strokes)]
    names = tuple(case.identifier for case in full)
    if len(full) == len(cases):
        what = "dataset.json declares no ignore label" if ignore is None else "no voxel is unlabelled"
        if 2 * len(drawn) > len(full):
            yield Finding(
                "error",
                "unlabelled",
                f"{what}, but the structures look like strokes: unlabelled voxels seem to be stored as 0, "
                "as background",
                "give them the highest integer, declared as ignore; converting the scribbles again does so",
            )
        else:
            yield Finding(
                "warning",
                "unlabelled",
                f"{what}, so these are dense labels rather than scribbles",
                "if they are scribbles, store unlabelled voxels as the highest integer, declared as ignore",
            )
        return
    if drawn:
        names = tuple(case.identifier for case in drawn)
        yield Finding(
            "error",
            "unlabelled",
            f"{counted(len(drawn), 'case')} without unlabelled voxels, but with structures like strokes "
            f"({name_some(names)}): unlabelled voxels seem to be stored as 0, as background",
            f"store them as {ignore}",
            names,
        )
    dense = tuple(case.identifier for case in full if case not in drawn)
    if dense:
        yield Finding(
            "warning",
            "unlabelled",
            f"{counted(len(dense), 'case')} without unlabelled voxels ({name_some(dense)}), "
            "dense labels among scribbles",
            'if that is meant, write "scribbles": {"supervision": {"CASE": "dense", ...}} into dataset.json',
            dense,
        )


def _check_share(cases: Sequence[Scribbled], ignore: int) -> Iterator[Finding]:
    """Are most voxels unlabelled, as scribbles leave them?"""
    total = sum(sum(case.facts.voxels) for case in cases)
    unlabelled = sum(case.facts.voxels[ignore] for case in cases)
    if total and unlabelled < FEW_UNLABELLED * total:
        yield Finding(
            "warning",
            "unlabelled",
            f"only {100 * unlabelled / total:.2f} % of the voxels are unlabelled, while scribbles leave most so",
            "check which value in the files means unlabelled",
        )


def _looks_drawn(case: Scribbled, strokes: Mapping[str, Sequence[Stroke]] | None) -> bool:
    """Whether the structures are few, thin and long."""
    voxels = case.facts.voxels
    structures = sum(voxels[1:])
    if not 0 < structures < STROKE_SHARE * sum(voxels):
        return False
    if strokes is None:
        return True
    measured = strokes[case.identifier]
    weights = np.array([stroke.voxels for stroke in measured])
    widths = np.array([stroke.pixels_wide for stroke in measured])
    elongations = np.array([stroke.length / stroke.width for stroke in measured])
    narrow, long = widths <= STROKE_PIXELS_WIDE, elongations >= STROKE_ELONGATION
    return bool(weights[narrow].sum() > weights.sum() / 2 and weights[long].sum() > weights.sum() / 2)
