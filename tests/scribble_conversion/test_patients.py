"""Lists of patients from the command line."""

from __future__ import annotations

import pytest

from scribble_conversion.console import UserError
from scribble_conversion.patients import PatientRanges, hold_out
from scribble_conversion.source import Case

CASES = [Case(f"patient{number:03d}_frame01", f"patient{number:03d}", ()) for number in (1, 5, 80, 81, 90, 100)]


@pytest.mark.parametrize(
    ("text", "held_out"),
    [
        ("", []),
        ("81-100,5", [5, 81, 90, 100]),
        (" 5 , 81-81 ,", [5, 81]),
        ("001", [1]),
        ("6-80", [80]),
        ("1-9999999999,1", [1, 5, 80, 81, 90, 100]),
    ],
)
def test_lists_and_ranges_include_both_ends(text: str, held_out: list[int]) -> None:
    ranges = PatientRanges.parse(text)
    assert [case.patient_number for case in CASES if case.patient_number in ranges] == held_out


@pytest.mark.parametrize("text", ["a", "1-", "-1", "1-2-3", "1;2", "1.5"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="no patient number or range"):
        PatientRanges.parse(text)


def test_holding_out_parts_the_cases() -> None:
    training, held_out = hold_out(CASES, PatientRanges.parse("81-100"))
    assert [case.patient_number for case in training] == [1, 5, 80]
    assert [case.patient_number for case in held_out] == [81, 90, 100]


def test_a_patient_without_a_number_is_never_held_out() -> None:
    nameless = Case("control_frame01", "control", ())
    training, held_out = hold_out([nameless, *CASES], PatientRanges.parse("0-100"))
    assert training == [nameless]
    assert held_out == CASES
