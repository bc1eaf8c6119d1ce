"""Lists of patients from the command line."""

from __future__ import annotations

import pytest

from scribble_conversion.console import UserError
from scribble_conversion.naming import patients_by_name
from scribble_conversion.patients import PatientList, hold_out
from scribble_conversion.recorded import known_patients
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
    named = PatientList.parse(text)
    assert [case.patient_number for case in CASES if named.has(case)] == held_out


@pytest.mark.parametrize("text", ["a", "1-", "-1", "1-2-3", "1;2", "1.5", "patient08", "81,patient1"])
def test_whoever_is_not_there_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"is no patient or case here \(.*patient001.*\) and no number or range"):
        hold_out(CASES, PatientList.parse(text))


@pytest.mark.parametrize("text", ["control", "control,1", "81-90,control_frame01"])
def test_names_may_be_patients_or_cases(text: str) -> None:
    nameless = Case("control_frame01", "control", ())
    training, held_out = hold_out([nameless, *CASES], PatientList.parse(text))
    assert nameless in held_out
    assert nameless not in training
    assert len(held_out) == {"control": 1, "control,1": 2}.get(text, 3)


@pytest.mark.parametrize(
    ("text", "held_out"),
    [
        ("01-003", ["01-003"]),
        ("02-001,01-002", ["01-002", "02-001"]),  # no range that runs backwards
        ("Smith, John", ["Smith, John"]),
        ("01-001,Smith, John ,Doe", ["01-001", "Smith, John", "Doe"]),
        ("1-2", ["01-001", "01-002", "02-001"]),  # nobody's name
    ],
)
def test_names_may_look_like_ranges_or_hold_commas(text: str, held_out: list[str]) -> None:
    cases = [Case(name, name, ()) for name in ("01-001", "01-002", "01-003", "02-001", "Smith, John", "Doe", "Roe")]
    assert [case.identifier for case in hold_out(cases, PatientList.parse(text, cases))[1]] == held_out


def test_a_patient_is_not_parted_by_naming_one_case() -> None:
    both = [Case(f"control_frame{frame}", "control", ()) for frame in (1, 2)]
    with pytest.raises(UserError, match="names some cases of control but not all"):
        hold_out([*both, *CASES], PatientList.parse("control_frame1"))
    assert hold_out([*both, *CASES], PatientList.parse("control_frame1,control_frame2"))[1] == both


def test_the_sources_own_test_cases_need_no_naming() -> None:
    tested = Case("a", "a", (), test=True)
    assert hold_out([tested, *CASES], PatientList()) == (CASES, [tested])
    with pytest.raises(UserError, match="the source's own test cases are all there are"):
        hold_out([tested], PatientList())


def test_holding_out_parts_the_cases() -> None:
    training, held_out = hold_out(CASES, PatientList.parse("81-100"))
    assert [case.patient_number for case in training] == [1, 5, 80]
    assert [case.patient_number for case in held_out] == [81, 90, 100]


def test_a_patient_without_a_number_is_never_held_out() -> None:
    nameless = Case("control_frame01", "control", ())
    training, held_out = hold_out([nameless, *CASES], PatientList.parse("0-100"))
    assert training == [nameless]
    assert held_out == CASES


@pytest.mark.parametrize("text", ["5,77", "77,78,1-100"])
def test_a_single_number_has_to_be_somebodys(text: str) -> None:
    with pytest.raises(UserError, match=r"there is no patient 77.* here; correct --test-patients"):
        hold_out(CASES, PatientList.parse(text))


def test_spelling_in_upper_or_lower_case_makes_no_other_patient() -> None:
    told = patients_by_name(["Patient002_ED", "patient002_ES", "patient003_ED"])
    assert told is not None
    assert told[0] == {"Patient002_ED": "Patient002", "patient002_ES": "Patient002", "patient003_ED": "patient003"}


def test_a_case_named_otherwise_leaves_the_patients_of_the_others_known() -> None:
    told = patients_by_name(["patient001_ED", "patient001_ES", "patient002_frame01", "patient002_frame12", "phantom7"])
    assert told is not None
    assert told[0] == {name: name.partition("_")[0] for name in told[0]}
    assert len(told[0]) == 4
    assert "4 of 5 cases" in told[1] and "the others count as patients of their own" in told[1]


def test_names_that_fit_both_ways_are_told_once() -> None:
    told = patients_by_name(["patient001_frame01", "patient002_frame01"])
    assert told is not None
    assert told[1].startswith("the patients were told from the cases' names as '{patient}_frame{case}' (")


@pytest.mark.parametrize("names", [["scan_frame1", "scan_frame2"], ["a1_frame1", "a1_frame2"], ["a", "b1"]])
def test_names_that_tell_no_patient(names: list[str]) -> None:
    assert patients_by_name(names) is None


def test_patients_are_those_recorded_else_named() -> None:
    names = ["patient003_frame01", "patient003_frame09", "patient004_frame01", "x1", "x2"]
    by_name = dict(zip(names, ["patient003", "patient003", "patient004"], strict=False))
    known, how = known_patients([{}], names)
    assert known == by_name
    assert how is not None
    assert "3 of 5 cases" in how
    notes = {"scribbles": {"patients": {"x1": "x", "x2": "x"}}}
    assert known_patients([notes], names)[0] == {**by_name, "x1": "x", "x2": "x"}
    later = {"scribbles": {"patients": {"x2": "y"}}}
    assert known_patients([notes, later], names)[0] == {**by_name, "x1": "x", "x2": "y"}
    everybody = {"scribbles": {"patients": dict.fromkeys(names, "x")}}
    assert known_patients([everybody], names) == (dict.fromkeys(names, "x"), None)
