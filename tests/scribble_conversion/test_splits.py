"""Folds never part a patient, and are the published ones."""

from __future__ import annotations

import json
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from nnunetv2.utilities.crossval_split import generate_crossval_split

from scribble_conversion.console import UserError
from scribble_conversion.source import Case
from scribble_conversion.splits import MAAG_PATIENTS, Fold, five_fold, maag, make_folds, own_folds, random_folds

Frames = dict[int, int]
"""Patient number to how many frames of the patient there are."""
ANY_PATIENTS = st.dictionaries(st.integers(1, 100), st.integers(1, 3), min_size=1)


def _cases(frames: Frames) -> list[Case]:
    return [
        Case(f"patient{number:03d}_frame{frame:02d}", f"patient{number:03d}", ())
        for number, most in frames.items()
        for frame in range(1, most + 1)
    ]


def _numbers(identifiers: tuple[str, ...]) -> set[int]:
    return {int(identifier[7:10]) for identifier in identifiers}


def _assert_by_patient(folds: list[Fold], cases: list[Case]) -> None:
    everybody = sorted(case.identifier for case in cases)
    for fold in folds:
        assert fold.train
        assert fold.val
        assert not _numbers(fold.train) & _numbers(fold.val)
        assert sorted(fold.train + fold.val) == everybody


@settings(deadline=None)
@given(ANY_PATIENTS)
def test_five_folds_are_blocks_of_twenty(frames: Frames) -> None:
    cases = _cases(frames)
    blocks = [{number for number in frames if first <= number < first + 20} for first in (1, 21, 41, 61, 81)]
    present = [block for block in blocks if block]
    if len(present) < 2:
        with pytest.raises(UserError, match="at least two of them"):
            five_fold(cases)
        return
    folds = five_fold(cases)
    _assert_by_patient(folds, cases)
    assert [_numbers(fold.val) for fold in folds] == present


@settings(deadline=None)
@given(ANY_PATIENTS)
def test_maag_validates_on_its_fifteen_patients(frames: Frames) -> None:
    cases = _cases(frames)
    val = {number for number in frames if number in MAAG_PATIENTS}
    if not val or val == set(frames):
        with pytest.raises(UserError, match="maag"):
            maag(cases)
        return
    folds = maag(cases)
    _assert_by_patient(folds, cases)
    assert [_numbers(fold.val) for fold in folds] == [val]


def test_all_hundred_patients_give_five_folds_and_one_maag_fold() -> None:
    cases = _cases(dict.fromkeys(range(1, 101), 2))
    assert [(len(fold.train), len(fold.val)) for fold in five_fold(cases)] == [(160, 40)] * 5
    assert [(len(fold.train), len(fold.val)) for fold in maag(cases)] == [(170, 30)]


def test_missing_folds_keep_the_titles_of_the_published_ones() -> None:
    folds = five_fold(_cases({25: 2, 99: 2}))
    assert [fold.title for fold in folds] == [
        "published fold 2 of 5, patients 21 to 40",
        "published fold 5 of 5, patients 81 to 100",
    ]


@pytest.mark.parametrize("train", [["patient021"], [21], ["21"], ["patient021_frame01", "patient021_frame02"]])
def test_a_file_may_name_cases_patients_or_numbers(tmp_path: Path, train: list[object]) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([{"train": train, "val": ["patient022_frame02"]}]))
    folds = make_folds(_cases({21: 2, 22: 2, 23: 2}), str(path))
    assert [fold.as_json() for fold in folds] == [
        {"train": ["patient021_frame01", "patient021_frame02"], "val": ["patient022_frame02"]}
    ]


@pytest.mark.parametrize("entry", [True, None, 21.5, ["patient021"], {}])
def test_a_file_with_entries_that_are_no_names_is_refused(tmp_path: Path, entry: object) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps([{"train": [entry], "val": ["patient022"]}]))
    with pytest.raises(UserError, match="fold 0, train names"):
        make_folds(_cases({1: 1, 22: 2}), str(path))


@settings(deadline=None)
@given(ANY_PATIENTS)
def test_random_folds_validate_everybody_once(frames: Frames) -> None:
    cases = _cases(frames)
    if len(frames) < 2:
        with pytest.raises(UserError, match="at least two patients, but there is only patient"):
            random_folds(cases)
        return
    folds = random_folds(cases)
    _assert_by_patient(folds, cases)
    assert len(folds) == min(5, len(frames))
    assert sorted(name for fold in folds for name in fold.val) == sorted(case.identifier for case in cases)
    assert folds == random_folds(cases[::-1])


def test_random_folds_of_single_cases_are_nnunets_own() -> None:
    names = sorted(f"case{number}" for number in range(23))
    folds = random_folds([Case(name, name, ()) for name in names])
    expected = generate_crossval_split(names, seed=12345, n_splits=5)
    assert [list(fold.val) for fold in folds] == [sorted(map(str, fold["val"])) for fold in expected]


def test_nobody_validates_on_images_without_labels_in_random_folds() -> None:
    cases = [Case(name, name, (), supervision="none" if name == "c" else "scribble") for name in "abcd"]
    folds = random_folds(cases)
    assert len(folds) == 3
    assert all("c" in fold.train for fold in folds)


def test_own_folds_lose_who_is_held_out() -> None:
    own = [{"train": ["patient001_frame01", "patient002_frame01"], "val": ["patient003_frame01"]}]
    assert own_folds(own, _cases({1: 1, 3: 1}))[0].as_json() == {
        "train": ["patient001_frame01"],
        "val": ["patient003_frame01"],
    }
    with pytest.raises(UserError, match="the source's own split, fold 0, val is empty"):
        make_folds(_cases({1: 1, 2: 1}), "own", own)
    with pytest.raises(UserError, match="no split of its own"):
        make_folds(_cases({1: 1, 2: 1}), "own")


def test_own_folds_may_not_part_a_patient() -> None:
    own = [{"train": ["patient001_frame01"], "val": ["patient001_frame02"]}]
    with pytest.raises(
        UserError, match="the source's own split has patient001 in train and in val of fold 0; give ran"
    ):
        own_folds(own, _cases({1: 2}))


def test_a_name_is_whose_it_is_before_it_is_a_number(tmp_path: Path) -> None:
    cases = [Case(name, name, ()) for name in ("1", "2", "3", "A_1", "A_2", "nobody")]
    file = tmp_path / "folds.json"
    file.write_text(json.dumps([{"train": ["1", "2"], "val": ["3"]}, {"train": ["A_2"], "val": ["1", "A_1"]}]))
    folds = make_folds(cases, str(file))
    assert [(fold.train, fold.val) for fold in folds] == [(("1", "2"), ("3",)), (("A_2",), ("1", "A_1"))]
    file.write_text(json.dumps([{"train": ["1"], "val": ["None"]}]))
    with pytest.raises(UserError, match="names None, not among the cases"):
        make_folds(cases, str(file))


def test_every_fold_has_labels_to_learn_from(tmp_path: Path) -> None:
    cases = [Case(name, name, (), supervision="none" if name == "a1" else "scribble") for name in ("a1", "b5", "c10")]
    file = tmp_path / "folds.json"
    file.write_text(json.dumps([{"train": ["b5"], "val": ["c10"]}, {"train": ["a1"], "val": ["b5"]}]))
    for choice, index in ((str(file), 1), ("maag", 0)):
        with pytest.raises(UserError, match=f"fold {index} of the split '.*' would train with unlabelled images alone"):
            make_folds(cases, choice)
