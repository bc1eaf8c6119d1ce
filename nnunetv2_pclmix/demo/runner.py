"""Runs commands side by side, writes their output to log files, and fails loudly."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from nnunetv2_pclmix.demo.commands import Command, Stage

POLL_SECONDS = 0.2
EPOCH_DONE = "Epoch time:"


class CommandFailed(RuntimeError):
    """A command could not be started or ended with an error."""


def shell_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with more variables; programs beside this Python are found first.

    A search path that is set already, of programs or of Python modules, stays behind the new one.
    """
    merged = {**os.environ, "PYTHONUNBUFFERED": "1", **extra}
    merged["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if "PYTHONPATH" in extra and os.environ.get("PYTHONPATH"):
        merged["PYTHONPATH"] = os.pathsep.join([extra["PYTHONPATH"], os.environ["PYTHONPATH"]])
    return merged


def run_stage(stage: Stage, base: Mapping[str, str], logs: Path) -> float:
    """Runs the commands of a stage side by side and waits for all of them.

    Args:
        stage: The commands.
        base: Complete environment of the commands.
        logs: Folder of the log files.

    Returns:
        Seconds taken.

    Raises:
        CommandFailed: If any command fails; the others are ended. The message holds the end of its log.
    """
    begin = time.monotonic()
    logs.mkdir(parents=True, exist_ok=True)
    running: list[tuple[Command, subprocess.Popen[bytes]]] = []
    try:
        for command in stage.commands:
            print(f"$ {command.typed()}", flush=True)
            running.append((command, _start(command, base, logs / f"{command.name}.log")))
        _wait(running, stage, logs)
    finally:
        for _, process in running:
            if process.poll() is None:
                process.terminate()
                process.wait()
    return time.monotonic() - begin


def _start(command: Command, base: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    environment = {**base, **command.environment}
    # "python" means the one this runs in, whatever the search path says
    program = sys.executable if command.line[0] == "python" else shutil.which(command.line[0], path=base.get("PATH"))
    if program is None:
        raise CommandFailed(f"{command.line[0]} was not found; install the project first: pip install .")
    line = [program, *command.line[1:]]
    try:
        with log.open("wb") as stream:
            return subprocess.Popen(line, env=environment, stdout=stream, stderr=subprocess.STDOUT)
    except OSError as error:
        raise CommandFailed(f"{command.line[0]} could not be started: {error}") from error


def _wait(running: Sequence[tuple[Command, subprocess.Popen[bytes]]], stage: Stage, logs: Path) -> None:
    waiting = list(running)
    shown = {command.name: 0 for command, _ in running}
    while waiting:
        for command, process in list(waiting):
            code = process.poll()
            log = logs / f"{command.name}.log"
            if stage.epochs:
                shown[command.name] = _show_epochs(command.name, log, shown[command.name], stage.epochs)
            if code is None:
                continue
            waiting.remove((command, process))
            if code != 0:
                raise CommandFailed(f"exit status {code} of: {command.typed()}\n{tail(log)}\nlog: {log}")
        if waiting:
            time.sleep(POLL_SECONDS)


def _show_epochs(name: str, log: Path, shown: int, total: int) -> int:
    done = log.read_text(encoding="utf-8", errors="replace").count(EPOCH_DONE)
    if done > shown:
        print(f"  {name}: epoch {done} of {total} done", flush=True)
    return done


def tail(log: Path, lines: int = 25) -> str:
    """The last lines of a log file."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
