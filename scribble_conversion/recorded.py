"""What ``dataset.json`` records of the cases of a raw dataset that this project has written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scribble_conversion.naming import one_spelling, patients_by_name
from scribble_conversion.source import Case


def scribble_notes(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """What ``nnUNetv2_convert_scribbles`` wrote into ``dataset.json``; empty where it did not write it."""
    notes = content.get("scribbles")
    return notes if isinstance(notes, Mapping) else {}


def recorded(content: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    """One of these notes that tells something of several cases; empty where there is none."""
    entry = scribble_notes(content).get(what)
    return entry if isinstance(entry, Mapping) else {}


def recorded_patients(content: Mapping[str, Any], identifiers: Collection[str]) -> dict[str, str]:
    """Case to patient, of those cases that somebody told the patients of.

    A case that is noted as its own patient may be one of whose patient nobody knew.
    """
    noted = recorded(content, "patients")
    return {name: str(noted[name]) for name in identifiers if name in noted and str(noted[name]) != name}


def known_patients(
    contents: Iterable[Mapping[str, Any]], identifiers: Collection[str]
) -> tuple[dict[str, str], str | None]:
    """Case to patient, of those cases whose patient is recorded, or told by a name of a kind that is known.

    Args:
        contents: of each ``dataset.json`` that may record patients; the last one's word counts most.
        identifiers: of the cases.

    Returns:
        Case to patient, and how names told some of them; None where they told none.
    """
    known: dict[str, str] = {}
    for content in contents:
        known |= recorded_patients(content, identifiers)
    told, how = patients_by_name(set(identifiers) - known.keys()) or ({}, None)
    return one_spelling({**told, **known}), how


def as_recorded(
    content: Mapping[str, Any], cases: Sequence[Case], values: Mapping[Path, Sequence[float]]
) -> tuple[Case, ...]:
    """Cases with their recorded supervision and facts.

    Args:
        content: of ``dataset.json``.
        cases: as found, their training labels for scribbles.
        values: label file to the values in it. Whoever is recorded as unlabelled, but scribbled since, has scribbles.
    """
    supervision, facts = recorded(content, "supervision"), recorded(content, "cases")
    drawn = {file for file, found in values.items() if len(found) > 1}
    return tuple(with_facts(_supervised(case, supervision, case.scribble in drawn), facts) for case in cases)


def with_facts(case: Case, facts: Mapping[str, Any]) -> Case:
    """A case with what is recorded of the cases."""
    known = facts.get(case.identifier)
    return replace(case, facts=dict(known)) if isinstance(known, Mapping) else case


def _supervised(case: Case, supervision: Mapping[str, Any], is_drawn: bool) -> Case:
    """A case with its recorded supervision; the dense label it teaches with is its training label."""
    kind = None if case.test else supervision.get(case.identifier)
    if kind == "none" and not is_drawn:
        return replace(case, supervision="none", scribble=None)
    if kind == "dense":
        return replace(case, supervision="dense", dense=case.dense or case.scribble, scribble=None)
    return case
