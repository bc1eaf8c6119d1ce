"""Whose image it is, to judge by the names of the cases."""

from __future__ import annotations

import re
from collections.abc import Collection

NUMBERED_PATIENT = re.compile(r"(?P<patient>patient\d+)_.+", re.IGNORECASE)
_NAMINGS = {"{patient}_frame{case}": re.compile(r"(?P<patient>[^/]+?)_frame[^/]+"), "patientN_{case}": NUMBERED_PATIENT}
"""The ways of naming that tell the patient and are recognised without being told: ACDC's, by frame or by phase."""


def patients_by_name(identifiers: Collection[str]) -> tuple[dict[str, str], str] | None:
    """Tell the patients of cases that are all named in one way that is known.

    What stands before ``_frame`` in all names is no patient, and what has no number hardly is one.

    Args:
        identifiers: of the cases.

    Returns:
        Case to patient, and how they are named; None where no known way fits all.
    """
    for text, expression in _NAMINGS.items():
        matches = {identifier: expression.fullmatch(identifier) for identifier in identifiers}
        spelled: dict[str, str] = {}  # once, or those that differ in upper and lower case would be several patients
        told = {
            identifier: spelled.setdefault(match["patient"].casefold(), match["patient"])
            for identifier, match in sorted(matches.items())
            if match is not None
        }
        patients = set(told.values())
        plausible = all(re.search(r"\d", patient) for patient in patients) and len(patients) >= min(2, len(told))
        if told and len(told) == len(matches) and plausible:
            otherwise = "a pattern of {case} makes each case a patient"
            return told, f"the patients were told from the cases' names as '{text}' ({otherwise})"
    return None
