"""Labels made consecutive, with the ignore label above them, whatever was declared."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from scribble_conversion.console import UserError
from scribble_conversion.readers.raw_source import declared_ignore
from scribble_conversion.repair import repair_labels

CLASSES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 50), max_size=6)


@settings(deadline=None)
@given(
    classes=CLASSES,
    found=st.sets(st.integers(0, 50)),
    dense=st.sets(st.integers(0, 50)),
    unlabelled=st.integers(51, 255),
)
def test_nnunet_accepts_the_result(classes: dict[str, int], found: set[int], dense: set[int], unlabelled: int) -> None:
    repaired = repair_labels({"labels": {"background": 0, **classes}}, found | {unlabelled}, dense)
    expected = sorted({0, *found, *dense, *classes.values()})
    assert repaired.scribbles == {**{code: index for index, code in enumerate(expected)}, unlabelled: len(expected)}
    assert repaired.dense == {code: index for index, code in enumerate(expected)}
    manager = LabelManager({**repaired.labels, "ignore": len(expected)}, None)
    assert manager.all_labels == list(range(len(expected)))
    for name, code in classes.items():
        assert repaired.labels[name] == repaired.scribbles[code]


@pytest.mark.parametrize(
    ("labels", "expected", "note"),
    [
        ({"background": 0, "a": 1, "Unlabeled": 3}, {"background": 0, "a": 1, "class_2": 2}, "2 had no name"),
        ({"bg": 0, "a": 1, "b": 2}, {"background": 0, "a": 1, "b": 2}, "0 was called bg and is background"),
        ({"0": "background", "1": "a", "2": "b"}, {"background": 0, "a": 1, "b": 2}, "were turned round"),
        ({"b": 2, "a": 1}, {"background": 0, "a": 1, "b": 2}, "ignore label was not declared and is 3"),
        ({"a": "one", "b": 2}, {"background": 0, "class_1": 1, "b": 2}, "the label a in dataset.json was no integer"),
        (
            {"a": 1, "ignore": [2, 3]},
            {"background": 0, "a": 1, "class_2": 2},
            "the label ignore in dataset.json was no",
        ),
        ({"background": 1, "b": 2}, {"background": 0, "class_1": 1, "b": 2}, "needs another name"),
        ({"class_2": 1}, {"background": 0, "class_2": 1, "class_2_": 2}, "is called class_2_"),
        (["a"], {"background": 0, "class_1": 1, "class_2": 2}, "were no object"),
    ],
)
def test_names_are_kept_where_they_fit(labels: Any, expected: dict[str, int], note: str) -> None:
    repaired = repair_labels({"labels": labels}, {0, 1, 2, 3}, {0, 1, 2})
    assert repaired.labels == expected
    assert list(repaired.labels) == list(expected)
    assert any(note in told for told in repaired.notes)


def test_the_user_may_say_what_is_unlabelled() -> None:
    repaired = repair_labels({"labels": {"background": 0, "a": 1, "b": 2, "void": 7}}, {0, 1, 2, 7}, {0, 1, 2, 7}, 2)
    assert repaired.scribbles == {0: 0, 1: 1, 7: 2, 2: 3}
    assert repaired.dense == repaired.scribbles
    assert repaired.labels == {"background": 0, "a": 1, "class_2": 2}
    assert any("the label b stood for the unlabelled voxels and was dropped" in note for note in repaired.notes)


def test_a_label_outside_all_regions_gets_one_of_its_own() -> None:
    declared = {"labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": [1, 2]}
    repaired = repair_labels(declared, {0, 1, 2, 3, 4}, {0, 1, 2, 3})
    assert repaired.labels == {"background": 0, "whole": [1, 2], "core": 2, "class_3": 3}
    assert repaired.regions_class_order == (1, 2, 3)
    assert LabelManager({**repaired.labels, "ignore": 4}, list(repaired.regions_class_order)).has_regions


def test_too_many_labels() -> None:
    with pytest.raises(UserError, match="256 different labels, more than 255"):
        repair_labels({}, set(range(257)), set())


def test_beside_ignore_a_class_may_be_called_unknown() -> None:
    declared = {"labels": {"background": 0, "a": 1, "unknown": 2, "b": 3, "Ignore": 4}}
    repaired = repair_labels(declared, {0, 1, 2, 3, 4}, {0, 1, 2, 3})
    assert repaired.labels == {"background": 0, "a": 1, "unknown": 2, "b": 3}
    assert repaired.scribbles == {code: code for code in range(5)}
    assert declared_ignore(declared) == 4
    without = {"labels": {"background": 0, "a": 1, "void": 2}}
    assert declared_ignore(without) == 2
    notes = repair_labels(without, {0, 1, 2}, {0, 1}).notes
    assert any("void was taken for the unlabelled voxels; if it is a class, give it another name" in n for n in notes)
    assert declared_ignore({"labels": {"a": 1}}) is None


def test_an_ignore_that_cannot_be_read_makes_no_class_unlabelled() -> None:
    repaired = repair_labels({"labels": {"unknown": 1, "b": 2, "ignore": [3, 4]}}, {0, 1, 2, 3}, {0, 1, 2})
    assert repaired.labels == {"background": 0, "unknown": 1, "b": 2}
