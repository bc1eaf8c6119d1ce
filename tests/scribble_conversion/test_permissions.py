"""Paths that may not be looked at: one sentence that names them, a non-zero exit, and nothing half written.

Permissions do not bind root, who runs tests in containers, so the questions about paths are made to fail instead.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from scribble_conversion.cli import main
from scribble_conversion.console import run_command
from tests.scribble_conversion.conftest import Acdc


@contextmanager
def _denied(folder: Path, *questions: str) -> Iterator[None]:
    """Let these methods of paths below the folder fail as where one may not search it, up to Python 3.13."""

    def denied(original: Any) -> Any:
        def ask(path: Path, *arguments: Any, **more: Any) -> Any:
            if folder in path.absolute().parents:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return original(path, *arguments, **more)

        return ask

    with pytest.MonkeyPatch.context() as patched:
        for question in questions:
            patched.setattr(Path, question, denied(getattr(Path, question)))
        yield


COMMANDS = {
    "acdc --images": "acdc --images {closed}/x --scribbles {open} -d 9",
    "acdc --scribbles": "acdc --images {open} --scribbles {closed}/x.zip -d 9",
    "nifti --images": "nifti --images {closed}/x --scribbles {open} -d 9",
    "scribblebench --data": "scribblebench --data {closed}/x -d 9",
    "generate --picture": "generate --images {open} --labels {open} --picture {closed}/x.png -d 9",
    "check": "check {closed}/x",
    "report -o": "report 127 -o {closed}/x.html",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_path_below_a_folder_that_may_not_be_searched(
    acdc: Acdc, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    closed = acdc.root / "closed"
    closed.mkdir()
    arguments = [part.format(closed=closed, open=acdc.images) for part in COMMANDS[command].split()]
    with _denied(closed, "exists", "is_file", "is_dir"):
        _assert_refused(acdc, capfd, arguments, closed / "x")


@pytest.mark.parametrize("folder", ["raw", "preprocessed"])
def test_a_folder_of_nnunets_below_one_that_may_not_be_searched(
    acdc: Acdc, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], folder: str
) -> None:
    closed = acdc.root / "closed"
    closed.mkdir()
    monkeypatch.setenv(f"nnUNet_{folder}", str(closed / "x"))
    with _denied(closed, "exists", "is_file", "is_dir"):
        _assert_refused(acdc, capfd, acdc.arguments(), closed / "x")


def test_a_folder_that_may_be_listed_but_not_searched(acdc: Acdc, capfd: pytest.CaptureFixture[str]) -> None:
    first = acdc.scribble(acdc.cases()[0])
    with _denied(acdc.scribbles, "is_file"):
        _assert_refused(acdc, capfd, acdc.arguments(), first)


def test_a_denial_amidst_writing_leaves_nothing(
    acdc: Acdc, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    refused = []

    def mkdir(path: Path, *arguments: Any, original: Any = Path.mkdir, **more: Any) -> None:
        if path.name == "labelsTr":
            refused.append(path)
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        original(path, *arguments, **more)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    _assert_refused(acdc, capfd, acdc.arguments(), acdc.raw)
    assert refused


def test_a_denial_that_names_no_file_keeps_its_traceback() -> None:
    def body() -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with pytest.raises(PermissionError, match="not permitted"):
        run_command(body)


def _assert_refused(acdc: Acdc, capfd: pytest.CaptureFixture[str], arguments: list[str], named: Path) -> None:
    assert main(arguments) == 1
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"error: {named}")
    assert told.err.count("\n") == 1
    assert "cannot be accessed (Permission denied); check its permissions and those of the folders above" in told.err
    assert acdc.written() == []
