"""Whatever ends a conversion early, nnU-Net finds no dataset and the old one stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scribble_conversion import target
from scribble_conversion.case import CaseJob, CaseResult, convert_case
from scribble_conversion.cli import main
from tests.scribble_conversion.conftest import DATASET, Acdc

REPOSITORY = Path(__file__).parents[2]


def _third_fails(error: BaseException) -> Callable[[CaseJob], CaseResult]:
    """``convert_case``, but the third call raises."""
    calls = []

    def convert(job: CaseJob) -> CaseResult:
        calls.append(job)
        if len(calls) == 3:
            assert any(path.suffix == ".gz" for path in job.dataset.rglob("*"))  # there is something to remove
            raise error
        return convert_case(job)

    return convert


@pytest.mark.parametrize("overwrite", [False, True])
def test_ctrl_c_leaves_what_was_there(
    acdc: Acdc, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], overwrite: bool
) -> None:
    if overwrite:
        assert main(acdc.arguments()) == 0
    before = acdc.written()
    monkeypatch.setattr("scribble_conversion.conversion.convert_case", _third_fails(KeyboardInterrupt()))
    assert main(acdc.arguments("--overwrite")) == 130
    assert capsys.readouterr().err == "error: interrupted\n"
    assert acdc.written() == before


def test_an_unforeseen_error_leaves_nothing(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scribble_conversion.conversion.convert_case", _third_fails(ZeroDivisionError("bug")))
    with pytest.raises(ZeroDivisionError, match="bug"):
        main(acdc.arguments())
    assert acdc.written() == []


def test_a_full_disk_is_told(acdc: Acdc, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(28, os.strerror(28), str(target))

    monkeypatch.setattr("scribble_conversion.formats.nifti.copy_image", full)
    assert main(acdc.arguments()) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert acdc.written() == []


def test_a_failing_last_step_brings_the_old_dataset_back(acdc: Acdc, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(acdc.arguments()) == 0
    before = acdc.written()
    rename = Path.rename

    def refuse_the_new(self: Path, place: Path) -> Path:
        if ".partial-" in self.name and not self.name.endswith(".replaced"):
            raise OSError(5, os.strerror(5), str(self))
        return rename(self, place)

    monkeypatch.setattr(target.Path, "rename", refuse_the_new)
    assert main(acdc.arguments("--overwrite", "--test-patients", "81")) == 1
    assert acdc.written() == before


SLEEPER = """
import signal, sys, time
# a shell that runs the tests in the background has its children ignore Ctrl-C; a user's shell does not
signal.signal(signal.SIGINT, signal.default_int_handler)
import scribble_conversion.conversion as conversion
from scribble_conversion.case import convert_case
from scribble_conversion.cli import main

def convert_and_wait(job):
    convert_case(job)
    print("ready", flush=True)
    time.sleep(60)

conversion.convert_case = convert_and_wait
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_signals(acdc: Acdc, sent: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, *acdc.arguments()],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(sent)
    told = process.communicate(timeout=30)[1]
    if sent == signal.SIGKILL:  # nothing can clean up then, but nnU-Net must not take the rest for a dataset
        assert len(list(acdc.raw.glob(".Dataset127_*"))) == 1
        assert not list(acdc.raw.glob("Dataset*"))
        assert not list(acdc.preprocessed.glob("Dataset*"))
        assert main(acdc.arguments()) == 0
        assert (acdc.raw / DATASET / "dataset.json").is_file()
        assert [path.name for path in acdc.raw.iterdir()] == [DATASET]  # the rest is gone now
    else:
        assert process.returncode == 130
        assert told == "error: interrupted\n"
        assert acdc.written() == []
