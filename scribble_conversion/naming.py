"""Whose image it is, to judge by the names of the cases."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping

NUMBERED_PATIENT = re.compile(r"(?P<patient>patient\d+)_.+", re.IGNORECASE)
_NAMINGS = {"{patient}_frame{case}": re.compile(r"(?P<patient>[^/]+?)_frame[^/]+"), "patientN_{case}": NUMBERED_PATIENT}
"""The ways of naming that tell the patient and are recognised without being told: ACDC's, by frame or by phase."""


def composed(name: str) -> str:
    """A name with é as one character, which may be stored or typed as two, as macOS does."""
    return unicodedata.normalize("NFC", name)


def one_spelling(patients: Mapping[str, str]) -> dict[str, str]:
    """Case to patient, those that differ in upper and lower case alone being one, called as the first case has it."""
    spelled: dict[str, str] = {}
    return {case: spelled.setdefault(patients[case].casefold(), patients[case]) for case in sorted(patients)}


def patients_by_name(identifiers: Collection[str]) -> tuple[dict[str, str], str] | None:
    """Tell the patients of those cases that are named in a way that is known.

    What stands before ``_frame`` in all names is no patient, and what has no number hardly is one.

    Args:
        identifiers: of the cases.

    Returns:
        Case to patient, and how they are named; None where no known way fits any.
    """
    told: dict[str, str] = {}
    ways: list[str] = []
    for text, expression in _NAMINGS.items():
        matches = {name: expression.fullmatch(name) for name in sorted(set(identifiers) - told.keys())}
        found = {name: match["patient"] for name, match in matches.items() if match is not None}
        patients = {patient.casefold() for patient in found.values()}
        if found and all(re.search(r"\d", p) for p in patients) and len(patients) >= min(2, len(found)):
            told |= found
            ways.append(f"'{text}'")
    if not told:
        return None
    whose, others = "the patients", ""
    if len(told) < len(identifiers):
        whose = f"the patients of {len(told)} of {len(identifiers)} cases"
        others = ", the others count as patients of their own"
    otherwise = "a pattern of {case} makes each case a patient"
    return one_spelling(told), f"{whose} were told from the cases' names as {' or '.join(ways)}{others} ({otherwise})"
