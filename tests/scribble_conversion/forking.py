"""Conversions in processes of their own that start at once, for whatever a test must not do to itself.

Run as a script it takes one job per line of its input, as JSON, and answers with a line each. Everything is imported
but once; every job runs in a fork.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    """How a conversion ended.

    Attributes:
        status: exit status; negative for a signal.
        told: its stderr.
        steps: how many steps that touch files it took before the end or the signal; 0 unless they were counted.
    """

    status: int
    told: str
    steps: int


class Forker:
    """Talks to the script."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.scribble_conversion.forking"],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def convert(self, arguments: list[str], environment: dict[str, str], **more: Any) -> Done:
        """Convert.

        Args:
            arguments: the command line.
            environment: variables to set.
            more: ``file_bytes`` and ``memory_bytes``, limits; ``signal``, which to send itself before step ``step``;
                ``seconds``, after which it is killed (SIGALRM).
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        job = {"arguments": arguments, "environment": environment, **more}
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return Done(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


def _serve() -> None:
    import scribble_conversion.cli  # noqa: F401  once for all

    for line in sys.stdin:
        job = json.loads(line)
        told, counted = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            os.close(told[0])
            os.close(counted[0])
            _convert(job, told[1], counted[1])
        os.close(told[1])
        os.close(counted[1])
        with os.fdopen(told[0], "rb") as stream, os.fdopen(counted[0], "rb") as counter:
            text = stream.read().decode(errors="replace")
            steps = len(counter.read())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps({"status": status, "told": text, "steps": steps}), flush=True)


def _convert(job: dict[str, Any], told: int, counted: int) -> None:
    from scribble_conversion.cli import main

    status = 99
    try:
        os.environ.update(job["environment"])
        tempfile.tempdir = None
        os.dup2(told, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for name, limit in (("file_bytes", resource.RLIMIT_FSIZE), ("memory_bytes", resource.RLIMIT_AS)):
            if name in job:
                resource.setrlimit(limit, (job[name], job[name]))
        signal.alarm(job.get("seconds", 60))
        if "signal" in job:
            _send_itself(job["signal"], job["step"], counted)
        status = main(job["arguments"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _send_itself(number: int, step: int, counted: int) -> None:
    """Send a signal before the step of that number; Python announces every step that touches files."""
    left = [step]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" or event.startswith(("os.", "shutil.")):
            os.write(counted, b".")
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), number)

    sys.addaudithook(hook)


if __name__ == "__main__":
    _serve()
