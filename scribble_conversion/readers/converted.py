"""Reader for nnU-Net raw datasets with scribbles that this project has written, or that look the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from scribble_conversion.readers.raw_source import declared_ignore, folder_of_dataset, preprocessed_folder, source_of
from scribble_conversion.readers.scribblebench import find_raw_dataset
from scribble_conversion.repair import repair_labels
from scribble_conversion.scan import integer_values, scan_labels
from scribble_conversion.source import Case, Source


def find_converted(given: str, case_pattern: str, unlabelled: int | None, processes: int | None) -> Source:
    """Find the cases of a dataset with scribbles.

    Args:
        given: its folder or id.
        case_pattern: how the cases are named, to tell the patients; empty where every case is a patient.
        unlabelled: the value of unlabelled voxels; None for the one that ``dataset.json`` calls so, else the highest.
        processes: how many processes read the labels; None for nnU-Net's default.

    Returns:
        The cases, each with the supervision that ``dataset.json`` records for it.

    Raises:
        UserError: for a mistake in the data.
    """
    found = find_raw_dataset(folder_of_dataset(given, "--dataset"), case_pattern, preprocessed_folder(), "--dataset")
    scanned = scan_labels([*found.scribble_files, *found.dense_files], processes)
    scribbles, dense = (
        integer_values({file: scanned[file] for file in files}) for files in (found.scribble_files, found.dense_files)
    )
    if unlabelled is None:
        unlabelled = declared_ignore(found.declared)
    repaired = repair_labels(found.declared, scribbles, dense, unlabelled)
    source = source_of(found, repaired, "shorten", "--dataset")
    recorded = found.declared.get("scribbles")
    recorded = recorded if isinstance(recorded, Mapping) else {}
    drawing = recorded.get("drawing")
    facts = recorded.get("cases")
    return replace(
        source,
        cases=tuple(
            _with_facts(_supervised(case, recorded.get("supervision")), facts if isinstance(facts, Mapping) else {})
            for case in found.cases
        ),
        drawing=dict(drawing) if isinstance(drawing, Mapping) else {},
    )


def _with_facts(case: Case, facts: Mapping[str, Any]) -> Case:
    """A case with what is recorded of it."""
    known = facts.get(case.identifier)
    return replace(case, facts=dict(known)) if isinstance(known, Mapping) else case


def _supervised(case: Case, recorded: Any) -> Case:
    """A case with its recorded supervision; the dense label it teaches with is its training label."""
    supervision = recorded.get(case.identifier) if isinstance(recorded, Mapping) and not case.test else None
    if supervision == "none":
        return replace(case, supervision="none", scribble=None)
    if supervision == "dense":
        return replace(case, supervision="dense", dense=case.dense or case.scribble, scribble=None)
    return case
