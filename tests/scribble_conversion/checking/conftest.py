"""A sound dataset, and the command to check it with."""

from __future__ import annotations

import shutil

import pytest

from scribble_conversion.cli import main
from tests.scribble_conversion.checking.hands import (
    Lines,
    convert_strokes,
)
from tests.scribble_conversion.conftest import DATASET, Acdc


@pytest.fixture
def sound(acdc: Acdc, capsys: pytest.CaptureFixture[str]) -> Acdc:
    """A converted dataset with nothing wrong."""
    convert_strokes(acdc)
    capsys.readouterr()
    return acdc


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Lines:
    """Run the command; its problems, after a look at the exit status and the line with the counts."""

    def run(*arguments: str, dataset: str = "127") -> list[str]:
        status = main(["check", dataset, "-np", "1", *arguments])
        captured = capsys.readouterr()
        *lines, last = captured.out.splitlines()
        errors = sum(line.startswith("error: ") for line in lines)
        warnings = sum(line.startswith("warning: ") for line in lines)
        assert errors + warnings == len(lines)
        assert last == f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}"
        assert status == (1 if errors else 0)
        return lines

    return run


@pytest.fixture
def preprocessed(sound: Acdc) -> Acdc:
    """A sound dataset as nnU-Net leaves it after preprocessing."""
    folder = sound.preprocessed / DATASET
    shutil.copytree(sound.dataset / "labelsTr", folder / "gt_segmentations")
    shutil.copy(sound.dataset / "dataset.json", folder)
    (folder / "nnUNetPlans_2d").mkdir()
    for case in sound.cases():
        (folder / "nnUNetPlans_2d" / f"{case}.pkl").touch()
    return sound
