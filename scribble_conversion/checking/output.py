"""Findings as lines for people and as JSON for machines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scribble_conversion.checking.case import CaseFacts
from scribble_conversion.checking.finding import Finding, count_levels, counted
from scribble_conversion.checking.inspection import Inspection
from scribble_conversion.console import UserError, on_one_line

LINES_PER_CHECK = 10
"""Lines of one check and level that are printed; a mistake in every file would bury all others."""


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    """The lines to print: one per problem, of too many alike the first ones, and at last how many there are."""
    shown: Counter[tuple[str, str]] = Counter()
    kinds = Counter((finding.level, finding.check) for finding in findings)
    for finding in findings:
        kind = finding.level, finding.check
        shown[kind] += 1
        if shown[kind] <= LINES_PER_CHECK:
            yield on_one_line(str(finding))  # names of files may be no UTF-8
        if shown[kind] == LINES_PER_CHECK < kinds[kind]:
            left = counted(kinds[kind] - LINES_PER_CHECK, "problem")
            yield f"{finding.level}: {left} more of the same kind ({finding.check}); --json FILE lists all"
    yield summary(findings)


def summary(findings: Sequence[Finding]) -> str:
    """How many errors and warnings there are."""
    errors, warnings = count_levels(findings)
    return f"{counted(errors, 'error')}, {counted(warnings, 'warning')}"


def check_json(path: Path | None) -> None:
    """Refuse a place where no JSON file can be written, before any work is done.

    Raises:
        UserError: if there is no such folder, or a folder or a file of another kind has that name.
    """
    if path is not None and path.is_dir():
        raise UserError(f"{path} is a folder; give a file with --json, e.g. {path / 'check.json'}")
    if path is not None and not path.parent.is_dir():
        raise UserError(f"the folder {path.parent} does not exist; make it, or give another file with --json")
    if path is not None and path.is_file() and path.stat().st_size and not _is_ours(path):
        raise UserError(f"{path} is no list of findings, so it stays; remove it, or give another file with --json")


def write_json(inspection: Inspection, path: Path) -> None:
    """Write what was found for machines.

    Raises:
        UserError: if the file cannot be written.
    """
    dataset = inspection.dataset
    errors, warnings = count_levels(inspection.findings)
    content = {
        "dataset": dataset.name,
        "folder": str(dataset.folder),
        "errors": errors,
        "warnings": warnings,
        "findings": [finding.as_json() for finding in inspection.findings],
        "labels": {name: list(values) for name, values in dataset.labels.items()},
        "ignore": dataset.ignore,
        "cases": [_case(case) for case in inspection.facts],
    }
    try:
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); give another file with --json") from error


def _is_ours(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and {"findings", "errors", "warnings"} <= content.keys()


def _case(case: CaseFacts) -> dict[str, Any]:
    facts: dict[str, Any] = {"case": case.identifier, "shape": case.shape, "spacing": case.spacing}
    if case.label is not None:
        facts |= {
            "voxels": list(case.label.voxels),
            "strokes": len(case.strokes),
            "contradicting": case.label.contradicting,
            "compared": case.label.compared,
        }
    return facts
