"""One mistake in the labels at a time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from tests.scribble_conversion.checking.hands import (
    CASE,
    IGNORE,
    OTHER,
    Lines,
    declare,
    dense_label,
    edit_label,
    every_label,
    label,
    rename_cases,
    scribbled_label,
)
from tests.scribble_conversion.conftest import Acdc


@pytest.mark.parametrize("value", [5, 7, 60000, -1])
def test_an_undeclared_value(sound: Acdc, check: Lines, value: int) -> None:
    def spoil(array: np.ndarray) -> np.ndarray:
        array = array.astype(np.int32)
        array[2, 40, 5] = value
        return array

    edit_label(label(sound), spoil)
    assert check() == [
        f"error: {label(sound)} holds the values {value}, dataset.json declares 0, 1, 2, 3, 4; "
        "correct the file, or declare the labels"
    ]


def test_fractions_in_a_label(sound: Acdc, check: Lines) -> None:
    edit_label(label(sound), lambda array: array.astype(np.float32) * 0.5)
    [line] = check()
    assert line.startswith(f"error: {label(sound)} holds fractions; ")


def recode(made: Acdc, codes: dict[int, int], labels: dict[str, int]) -> None:
    """Give the labels other integers, in the files and in dataset.json."""
    table = np.arange(256, dtype=np.uint8)
    table[list(codes)] = list(codes.values())
    for path in [*every_label(made), *every_label(made, "labelsTr_dense")]:
        edit_label(path, lambda array: table[array])
    declare(made, labels=labels)


LABELS = {"background": 0, "RV": 1, "MYO": 2, "LV": 3, "ignore": 4}
REGIONS = {"background": 0, "heart": [1, 2, 3], "MYO": 2, "LV": 3, "ignore": 4}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {**LABELS, "ignore": "4"}}, "error: ignore is declared as '4', no integer; "),
        ({"labels": {**LABELS, "ignore": [4]}}, "error: ignore is declared as [4], no integer; "),
        ({"labels": {**LABELS, "background": [0]}}, "error: background is declared as [0], a list; "),
        ({"labels": REGIONS}, "error: dataset.json declares 3 regions (heart, MYO, LV) and no regions_class_order; "),
        (
            {"labels": REGIONS, "regions_class_order": [1, 2]},
            "error: dataset.json declares 3 regions (heart, MYO, LV) and [1, 2] as regions_class_order; ",
        ),
        ({"labels": REGIONS, "regions_class_order": [1, 2, 3]}, None),
        ({"labels": {**LABELS, "RV": "1", "MYO": [2]}}, None),
    ],
)
def test_declarations_that_nnunet_does_not_understand(
    sound: Acdc, check: Lines, changes: dict, message: str | None
) -> None:
    """Errors, and no others, are what nnU-Net itself refuses."""
    declare(sound, **changes)
    lines = check()
    assert [line for line in lines if line.startswith("error")] == lines
    if message is None:
        assert lines == []
        LabelManager(changes["labels"], changes.get("regions_class_order"))
    else:
        assert len(lines) == 1
        assert lines[0].startswith(message)
        with pytest.raises((AssertionError, RuntimeError)):
            LabelManager(changes["labels"], changes.get("regions_class_order"))


def test_channels_in_a_list(sound: Acdc, check: Lines) -> None:
    """nnU-Net asks for their keys."""
    declare(sound, channel_names=["cine-MRI"])
    assert check() == [
        'error: dataset.json declares its channel_names as a list; write them with numbers, {"0": "cine-MRI", ...}'
    ]


def test_ignore_among_the_labels(sound: Acdc, check: Lines) -> None:
    recode(sound, {4: 2, 2: 3, 3: 4}, {"background": 0, "RV": 1, "ignore": 2, "MYO": 3, "LV": 4})
    lines = check()
    assert lines[0].startswith("error: ignore is declared as 2, but the highest label is 4; ")
    assert "demands ignore to be 5" in lines[0]


def test_ignore_above_the_next_integer(sound: Acdc, check: Lines) -> None:
    recode(sound, {4: 9}, {"background": 0, "RV": 1, "MYO": 2, "LV": 3, "ignore": 9})
    [line] = check()
    assert line.startswith("error: ignore is declared as 9, 6 above the highest label 3; nnU-Net demands ")


def test_labels_with_a_gap(sound: Acdc, check: Lines) -> None:
    recode(sound, {3: 4, 4: 5}, {"background": 0, "RV": 1, "MYO": 2, "LV": 4, "ignore": 5})
    [line] = check()
    assert line.startswith("error: dataset.json declares the labels 0, 1, 2, 4, without 3; ")


def test_no_background_declared(sound: Acdc, check: Lines) -> None:
    declare(sound, labels={"Background": 0, "RV": 1, "MYO": 2, "LV": 3, "ignore": 4})
    [line] = check()
    assert line.startswith("error: dataset.json does not declare background as 0; ")


def unlabelled_as_background(array: np.ndarray) -> np.ndarray:
    return np.where(array == IGNORE, 0, array)


def test_unlabelled_stored_as_background(sound: Acdc, check: Lines) -> None:
    for path in every_label(sound):
        edit_label(path, unlabelled_as_background)
    shutil.rmtree(sound.dataset / "labelsTr_dense")
    assert check() == [
        "error: no voxel is unlabelled, but the structures look like strokes: unlabelled voxels seem to be stored as "
        "0, as background; give them the highest integer, declared as ignore; converting the scribbles again does so"
    ]
    declare(sound, labels={"background": 0, "RV": 1, "MYO": 2, "LV": 3})
    [line] = check()
    assert line.startswith("error: dataset.json declares no ignore label, but the structures look like strokes: ")


def test_unlabelled_stored_as_background_in_one_case(sound: Acdc, check: Lines) -> None:
    edit_label(label(sound), unlabelled_as_background)
    label(sound, folder="labelsTr_dense").unlink()
    [line] = check()
    assert line == (
        f"error: 1 case without unlabelled voxels, but with structures like strokes ({CASE}): unlabelled voxels seem "
        "to be stored as 0, as background; store them as 4"
    )


def test_dense_labels_are_told_from_strokes(sound: Acdc, check: Lines) -> None:
    shutil.copy(label(sound, folder="labelsTr_dense"), label(sound))
    [line] = check()
    assert line.startswith(f"warning: 1 case without unlabelled voxels ({CASE}), dense labels among scribbles; ")
    for path in every_label(sound):
        edit_label(path, lambda array: dense_label())
    [line] = check()
    assert line.startswith("warning: no voxel is unlabelled, so these are dense labels rather than scribbles; ")
    declare(sound, labels={"background": 0, "RV": 1, "MYO": 2, "LV": 3})
    [line] = check()
    assert line.startswith("warning: dataset.json declares no ignore label, so these are dense labels ")


def test_supervision_of_an_unknown_kind(sound: Acdc, check: Lines) -> None:
    declare(sound, scribbles={"supervision": {"patient021_frame01": "unlabelled"}})
    assert (
        'error: dataset.json has unlabelled under scribbles.supervision; write {"case": kind, ...} with the kinds '
        "scribble, dense, none" in check()
    )


def test_nothing_but_background(sound: Acdc, check: Lines) -> None:
    declare(sound, labels={"background": 0, "ignore": 1})
    assert "error: dataset.json declares nothing besides background; add the structures" in check()


def test_regions_that_end_as_others(sound: Acdc, check: Lines) -> None:
    """nnU-Net writes one region after the other, each as what the order has for it."""
    declare(sound, labels=REGIONS, regions_class_order=[1, 3, 2])
    assert any(
        line.startswith("error: regions_class_order [1, 3, 2] turns label 2 into 3, 3 into 2 in every prediction; ")
        for line in check()
    )


@pytest.mark.parametrize(("value", "name"), [(1, "RV"), (0, "background")])
def test_a_class_that_is_not_scribbled(sound: Acdc, check: Lines, value: int, name: str) -> None:
    for number, case in enumerate(sound.cases(), start=1):
        edit_label(label(sound, case), lambda array: np.where(array == value, IGNORE, array))
        if number == 2:
            assert check() == [
                f"warning: {name} is not scribbled in 2 of 8 cases ({CASE}, {OTHER}); scribble it there, if it shows"
            ]
    [line] = check()
    assert line.startswith(f"error: {name} is never scribbled, so ")


def test_a_class_that_does_not_show_need_not_be_scribbled(sound: Acdc, check: Lines) -> None:
    edit_label(label(sound), lambda array: np.where(array == 1, IGNORE, array))
    edit_label(label(sound, folder="labelsTr_dense"), lambda array: np.where(array == 1, 0, array))
    assert check() == []


def test_scribbles_that_contradict_the_dense_label(sound: Acdc, check: Lines) -> None:
    def swap(array: np.ndarray) -> None:
        array[1, 14, 7:17], array[1, 34, 28:37] = 3, 1

    edit_label(label(sound), swap)
    [line] = check()
    labelled = np.count_nonzero(scribbled_label() != IGNORE)
    assert line == (
        f"warning: the scribbles of 1 case contradict labelsTr_dense on more than 1 % of their voxels (worst: {CASE} "
        f"{100 * 19 / labelled:.1f} %; 19 of {8 * labelled:,} overall); look at both on the image and correct the "
        "wrong one"
    )


def test_a_slice_without_scribbles(sound: Acdc, check: Lines) -> None:
    edit_label(label(sound), lambda array: array.__setitem__(2, IGNORE))
    assert check() == [
        f"warning: 1 slice of 1 case with structures, by the dense label, without any scribble ({CASE} slice 3); "
        "scribble them, if you can"
    ]
    label(sound, folder="labelsTr_dense").unlink()
    assert check() == [
        f"warning: 1 slice of 1 case between scribbled ones without any scribble ({CASE} slice 3); "
        "scribble them, if you can"
    ]


def test_a_class_without_a_scribble_in_a_slice(sound: Acdc, check: Lines) -> None:
    edit_label(label(sound), lambda array: array[2].__setitem__(array[2] == 3, IGNORE))
    assert check() == [
        f"warning: 1 of 96 pairs of slice and class without a scribble ({CASE} slice 3 LV); scribble them, if you can"
    ]


def test_a_name_that_reads_like_a_slice_is_not_cut(sound: Acdc, check: Lines, tmp_path: Path) -> None:
    rename_cases(sound, lambda case: f"{case} slice 1")
    edit_label(label(sound, f"{CASE} slice 1"), lambda array: array[2].__setitem__(array[2] == 3, IGNORE))
    found = tmp_path / "found.json"
    [line] = check("--json", str(found))
    assert f"({CASE} slice 1 slice 3 LV)" in line
    [finding] = json.loads(found.read_text())["findings"]
    assert finding["cases"] == [f"{CASE} slice 1"]
