"""Which classes and slices the scribbles reach, and whether they are right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scribble_conversion.checking.finding import Finding, counted
from scribble_conversion.checking.labels import LabelFacts
from scribble_conversion.source import name_some

CONTRADICTION_SHARE = 0.01
"""A case is named when more of its scribbled voxels contradict its dense label."""
_WORST = 3


@dataclass(frozen=True)
class Scribbled:
    """A training case that teaches with scribbles, and what its label holds."""

    identifier: str
    facts: LabelFacts


def check_coverage(
    cases: Sequence[Scribbled],
    values: Mapping[int, str],
    ignore: int | None,
    dense_folder: str,
    dense_values: frozenset[int] = frozenset(),
) -> Iterator[Finding]:
    """Check all scribbles together.

    Args:
        cases: the scribbled cases.
        values: integer to name, ``ignore`` left out.
        ignore: the integer of unlabelled voxels, None where none is declared.
        dense_folder: what the folder of the dense references is called.
        dense_values: integers that other training cases teach with dense labels.
    """
    if not cases:
        return
    for value, name in values.items():
        yield from _check_class(cases, value, name, learned=value in dense_values)
    if ignore is not None:
        yield from _check_slices(cases, values)
    yield from _check_contradictions(cases, dense_folder)


def missing_pairs(cases: Sequence[Scribbled], values: Mapping[int, str]) -> tuple[list[tuple[str, str]], int]:
    """Structures that show in a slice with scribbles, by the dense label, but are not scribbled there.

    Classes that are nowhere scribbled in the case are left out; they are told of by the case.

    Returns:
        Per pair of slice and class the case's identifier and the pair in words; and how many pairs there could be.
    """
    missing: list[tuple[str, str]] = []
    possible = 0
    for case in cases:
        present = case.facts.present
        if present is None:
            continue
        for value, name in values.items():
            if value == 0 or case.facts.voxels[value] == 0:
                continue
            shows = present[:, value] & _touched(case, values)
            possible += int(np.count_nonzero(shows))
            missing += [
                (case.identifier, f"{case.identifier} slice {index + 1} {name}")
                for index in np.flatnonzero(shows & (case.facts.drawn[:, value] == 0))
            ]
    return missing, possible


def _check_class(cases: Sequence[Scribbled], value: int, name: str, learned: bool) -> Iterator[Finding]:
    """Is one class scribbled, in every case where it shows?"""
    without = [case for case in cases if case.facts.voxels[value] == 0]
    check = "background" if value == 0 else "class"
    if len(without) == len(cases) and not learned:
        consequence = (
            "so nothing tells the structures from what is around them" if value == 0 else "so it cannot be learned"
        )
        yield Finding(
            "error",
            check,
            f"{name} is never scribbled, {consequence}",
            "scribble it in some cases" if value == 0 else "scribble it in some cases, or take the label out",
        )
        return
    missed = [case.identifier for case in without if case.facts.present is None or case.facts.present[:, value].any()]
    if missed:
        yield Finding(
            "warning",
            check,
            f"{name} is not scribbled in {len(missed)} of {counted(len(cases), 'case')} ({name_some(missed)})",
            "scribble it there, if it shows",
            tuple(missed),
        )


def _check_slices(cases: Sequence[Scribbled], values: Mapping[int, str]) -> Iterator[Finding]:
    """Are there slices that the scribbles should reach?"""
    bare: list[str] = []
    gaps: list[str] = []
    bare_cases: set[str] = set()
    gap_cases: set[str] = set()
    foreground = [value for value in values if value != 0]
    for case in cases:
        touched = _touched(case, values)
        if case.facts.present is not None:
            found = np.flatnonzero(case.facts.present[:, foreground].any(axis=1) & ~touched)
            bare += [f"{case.identifier} slice {index + 1}" for index in found]
            bare_cases |= {case.identifier} if found.size else set()
        elif touched.any():
            first, last = np.flatnonzero(touched)[[0, -1]]
            found = first + np.flatnonzero(~touched[first:last])
            gaps += [f"{case.identifier} slice {index + 1}" for index in found]
            gap_cases |= {case.identifier} if found.size else set()
    if bare:
        yield Finding(
            "warning",
            "slices",
            f"{counted(len(bare), 'slice')} of {counted(len(bare_cases), 'case')} with structures, by the dense label, "
            f"without any scribble ({name_some(bare)})",
            "scribble them, if you can",
            tuple(sorted(bare_cases)),
        )
    if gaps:
        yield Finding(
            "warning",
            "slices",
            f"{counted(len(gaps), 'slice')} of {counted(len(gap_cases), 'case')} between scribbled ones without any "
            f"scribble ({name_some(gaps)})",
            "scribble them, if you can",
            tuple(sorted(gap_cases)),
        )
    missing, possible = missing_pairs(cases, values)
    if missing:
        named = name_some([words for _, words in missing])
        yield Finding(
            "warning",
            "slices",
            f"{len(missing):,} of {possible:,} pairs of slice and class without a scribble ({named})",
            "scribble them, if you can",
            tuple(sorted({case for case, _ in missing})),
        )


def _check_contradictions(cases: Sequence[Scribbled], dense_folder: str) -> Iterator[Finding]:
    """Do the scribbles say what the dense labels say?"""
    shares = {
        case.identifier: case.facts.contradicting / case.facts.compared for case in cases if case.facts.compared > 0
    }
    bad = sorted((name for name in shares if shares[name] > CONTRADICTION_SHARE), key=lambda name: -shares[name])
    if not bad:
        return
    contradicting = sum(case.facts.contradicting for case in cases)
    compared = sum(case.facts.compared for case in cases)
    worst = ", ".join(f"{name} {100 * shares[name]:.1f} %" for name in bad[:_WORST])
    yield Finding(
        "warning",
        "contradiction",
        f"the scribbles of {counted(len(bad), 'case')} contradict {dense_folder} on more than "
        f"{100 * CONTRADICTION_SHARE:g} % of their voxels (worst: {worst}; {contradicting:,} of {compared:,} overall)",
        "look at both on the image and correct the wrong one",
        tuple(bad),
    )


def _touched(case: Scribbled, values: Mapping[int, str]) -> np.ndarray:
    """The slices with a scribble of any kind, shape (S,)."""
    return np.asarray(case.facts.drawn[:, list(values)].any(axis=1))
