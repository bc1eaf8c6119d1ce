from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nnunetv2_pclmix import __version__
from nnunetv2_pclmix.cli import COMMANDS, main


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert all(command in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"nnUNetv2_pclmix {command}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["no_such_command"], ["evaluate"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: nnUNetv2_pclmix" in capsys.readouterr().err


def test_module_runs_and_help_stays_light() -> None:
    code = (
        "import sys; from nnunetv2_pclmix.cli import build_parser; build_parser();"
        "print(sorted({'torch', 'monai', 'nnunetv2', 'SimpleITK'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr
    shown = subprocess.run(
        [sys.executable, "-m", "nnunetv2_pclmix", "--version"], capture_output=True, text=True, check=True
    )
    assert __version__ in shown.stdout


def test_a_folder_that_may_not_be_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = tmp_path / "Dataset005_Closed"
    closed.mkdir()
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path))

    def is_dir(path: Path, original: Callable[..., bool] = Path.is_dir, **more: bool) -> bool:
        if path == closed:  # permissions do not bind root, who may run this test
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, **more)

    monkeypatch.setattr(Path, "is_dir", is_dir)
    assert main(["small_plans", "-d", "5"]) == 1
    assert capsys.readouterr().err == (
        f"error: {closed} cannot be accessed (Permission denied); "
        "check its permissions and those of the folders above it\n"
    )
