"""Runs nnU-Net's commands one after the other and says how long each took."""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

POLL_SECONDS = 0.05


class StepFailed(RuntimeError):
    """A command failed; the message holds its output."""


class Begin(NamedTuple):
    """When a command was started: on the clock, and in processor time of the commands before."""

    clock: float
    processor: float

    @classmethod
    def now(cls) -> Begin:
        return cls(time.monotonic(), _processor_time())


class Shell:
    """Runs commands with this process's environment, their output in log files.

    A command runs as installed the first time, and from then on in a fork of this process, which has nnU-Net imported
    already: importing it takes longer than most of what the recipe does. This process must not have used torch itself.

    Args:
        logs: folder of the log files, made here.
        installed: always run the installed command.
    """

    def __init__(self, logs: Path, *, installed: bool = False) -> None:
        self.logs = logs
        self.installed = installed or "fork" not in multiprocessing.get_all_start_methods()
        self._seen: set[str] = set()
        self._count = 0
        logs.mkdir(parents=True)

    def run(self, name: str, *arguments: str) -> str:
        """Run a console script to its end.

        Returns:
            Its output, stderr included.

        Raises:
            StepFailed: it ended with an error.
        """
        if self.installed or name not in self._seen:
            self._seen.add(name)
            return self._wait([str(_beside_python(name)), *arguments])
        return self._fork(name, arguments)

    def module(self, name: str, *arguments: str) -> str:
        """Run a module as ``python -m`` does, else as ``run``."""
        return self._wait([sys.executable, "-m", name, *arguments])

    def run_and_kill(self, name: str, *arguments: str, when: Callable[[], bool], timeout: float = 600) -> None:
        """Start an installed console script and kill it, with all its children, as soon as ``when()`` holds.

        Raises:
            StepFailed: it ended by itself, or ``when()`` did not hold in time.
        """
        command = [str(_beside_python(name)), *arguments]
        log, begin = self._announce(command), Begin.now()
        with log.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            while not when():
                if process.poll() is not None:
                    raise StepFailed(f"{shlex.join(command)} ended before it could be killed\n{_tail(log)}")
                if time.monotonic() - begin.clock > timeout:
                    raise StepFailed(f"{shlex.join(command)} was not ready to be killed in time\n{_tail(log)}")
                time.sleep(POLL_SECONDS)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        _done(begin, "killed")

    def _announce(self, command: Sequence[str]) -> Path:
        self._count += 1
        print(f"$ {shlex.join([Path(command[0]).name, *command[1:]])}", flush=True)
        return self.logs / f"{self._count:03d}_{Path(command[0]).name}.log"

    def _wait(self, command: Sequence[str]) -> str:
        log, begin = self._announce(command), Begin.now()
        with log.open("wb") as file:
            status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
        return _output(command, status, log, begin)

    def _fork(self, name: str, arguments: Sequence[str]) -> str:
        log, begin = self._announce([name, *arguments]), Begin.now()
        entry = _entry_point(name)
        child = multiprocessing.get_context("fork").Process(target=_in_child, args=(entry, [name, *arguments], log))
        child.start()
        child.join()
        return _output([name, *arguments], child.exitcode or 0, log, begin)


def _beside_python(name: str) -> Path:
    found = Path(sys.executable).with_name(name)
    if not found.exists():
        raise StepFailed(f"{name} is not installed beside {sys.executable}")
    return found


def _entry_point(name: str) -> Callable[[], object]:
    (found,) = importlib.metadata.entry_points(group="console_scripts", name=name)
    return found.load()


def _in_child(entry: Callable[[], object], command: Sequence[str], log: Path) -> None:
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = list(command)
    sys.exit(entry())


def _output(command: Sequence[str], status: int, log: Path, begin: Begin) -> str:
    if status != 0:
        raise StepFailed(f"{shlex.join(command)} ended with status {status}\n{_tail(log, 10_000)}")
    _done(begin, "done")
    return log.read_text(encoding="utf-8", errors="replace")


def _processor_time() -> float:
    """Seconds that ended commands, with their children, have taken of all cores."""
    times = os.times()
    return times.children_user + times.children_system


def _done(begin: Begin, what: str) -> None:
    taken, of_processors = time.monotonic() - begin.clock, _processor_time() - begin.processor
    print(f"  {what} after {taken:.1f} s, {of_processors:.1f} s of processor time", flush=True)


def _tail(log: Path, characters: int = 3000) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-characters:]
