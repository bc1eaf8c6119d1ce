"""Patterns of file names, and the guess of one."""

from __future__ import annotations

from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from scribble_conversion.patterns import NUMBERED_CHANNEL, NamePattern, suggest_patterns

FOLDER = Path("/data")
WORD = st.text("abcXYZ0189", min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("{case}.nii.gz", "a_1.nii.gz", ("a_1", "a_1", "")),
        ("{case}", "a_1.NRRD", ("a_1", "a_1", "")),
        ("{case}", "a.txt", None),
        ("{case}.nii", "a.nii.gz", None),
        ("{case}_{channel}", "a_b_T1.png", ("a_b", "a_b", "T1")),
        ("{patient}_frame{case}", "p001_frame12.nii", ("p001_frame12", "p001", "")),
        ("{patient}-{case}_{channel}", "p1-x_y_0000.nii", ("p1-x_y", "p1", "0000")),
        ("{patient}_{case}_t1", "p_q_r_t1.mha", ("p_q_r", "p", "")),
        ("{patient}/{case}", "p1/deep.png", ("p1_deep", "p1", "")),
        ("{patient}/{case}", "p1/p1_frame2.png", ("p1_frame2", "p1", "")),
        ("{patient}/{case}", "p1/p1.png", ("p1", "p1", "")),
        ("{patient}/{case}", "p1/p10.png", ("p1_p10", "p1", "")),
        ("{patient}/scans/{case}", "p1/scans/t1.png", ("p1_t1", "p1", "")),
        ("{patient}/{patient}_{case}", "p1/p1_x.png", ("p1_x", "p1", "")),
        ("{patient}/{patient}_{case}", "p1/p2_x.png", None),
        ("{patient}/image", "p1/image.png", ("p1", "p1", "")),
        ("{case}", "deep/down/a.png", ("a", "a", "")),
        ("a.b+{case}", "a.b+1.png", ("1", "1", "")),
        ("a.b+{case}", "axbb1.png", None),
    ],
)
def test_names(text: str, name: str, expected: tuple[str, str, str] | None) -> None:
    named = NamePattern.parse(text).match(FOLDER / name, FOLDER)
    assert (named and (named.identifier, named.patient, named.channel)) == expected


@given(patient=WORD, case=WORD, channel=WORD)
def test_what_was_put_together_is_taken_apart(patient: str, case: str, channel: str) -> None:
    file = FOLDER / f"{patient}_{case}_{channel}.nii.gz"
    named = NamePattern.parse("{patient}_{case}_{channel}").match(file, FOLDER)
    assert named is not None
    assert (named.identifier, named.patient, named.channel) == (f"{patient}_{case}", patient, channel)


def test_numbered_channels_have_four_digits() -> None:
    pattern = NamePattern.parse("{case}_{channel}", channel=NUMBERED_CHANNEL)
    assert pattern.match(Path("a_0001.png"), Path()) is not None
    assert pattern.match(Path("a_001.png"), Path()) is None


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (["a_T1.nii.gz"], ["a-x.png"], ("{case}_T1.nii.gz", "{case}-x.png")),
        (["a1_T1.nii", "a12_T1.nii"], ["a12_x.nii"], ("{case}_T1.nii", "{case}_x.nii")),
        (["case_12_im.nii"], ["case_1_x.nii", "case_12_x.nii"], ("{case}_im.nii", "{case}_x.nii")),
        (["x.nii"], ["y.nii"], None),
        (["same.nii"], ["same.nii"], ("{case}.nii", "{case}.nii")),
    ],
)
def test_suggestions_fit(left: list[str], right: list[str], expected: tuple[str, str] | None) -> None:
    assert suggest_patterns(left, right) == expected
