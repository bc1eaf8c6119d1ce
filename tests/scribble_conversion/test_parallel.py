"""How many processes, and what happens when one of them dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scribble_conversion.console import UserError
from scribble_conversion.parallel import number_of_processes, run_all


def _square(number: int) -> int:
    return number * number


def _die_at_two(number: int) -> int:
    if number == 2:
        os._exit(9)
    return number


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_the_order_of_the_jobs(processes: int) -> None:
    assert run_all(_square, list(range(20)), processes, "squaring") == [number**2 for number in range(20)]


def test_a_worker_that_dies_is_told() -> None:
    with pytest.raises(UserError, match="a worker process died"):
        run_all(_die_at_two, [1, 2, 3, 4], 2, "dying")


def _note_and_sleep(folder: str) -> None:
    Path(folder, str(os.getpid())).touch()
    time.sleep(60)


def _runs(process: int) -> bool:
    """Whether a process is there and has not ended; one that nobody has waited for yet counts as ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys\nfrom scribble_conversion.parallel import run_all\n"
        "from tests.scribble_conversion.test_parallel import _note_and_sleep\n"
        "if __name__ == '__main__':\n    run_all(_note_and_sleep, [sys.argv[1]] * 4, 2, 'sleeping')\n"
    )
    (tmp_path / "script.py").write_text(script)
    folder = tmp_path / "workers"
    folder.mkdir()
    repository = Path(__file__).parents[2]
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(folder)],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str(repository)},
    )
    end = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.1)
    workers = [int(file.name) for file in folder.iterdir()]
    assert len(workers) == 2
    assert all(map(_runs, workers))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    end = time.monotonic() + 15
    while any(map(_runs, workers)) and time.monotonic() < end:
        time.sleep(0.1)
    left = [worker for worker in workers if _runs(worker)]
    for worker in left:
        os.kill(worker, signal.SIGKILL)
    assert not left


@pytest.mark.parametrize(
    ("variable", "cores", "asked", "jobs", "expected"),
    [
        (None, 64, None, 100, 8),
        (None, 2, None, 100, 2),
        (None, 64, None, 3, 3),
        ("16", 64, None, 100, 16),
        ("16", 64, 5, 100, 5),
        (None, 2, 32, 100, 32),
        (None, 2, 32, 10, 10),
        (None, None, None, 100, 1),
    ],
)
def test_number_of_processes(
    monkeypatch: pytest.MonkeyPatch,
    variable: str | None,
    cores: int | None,
    asked: int | None,
    jobs: int,
    expected: int,
) -> None:
    monkeypatch.delenv("nnUNet_def_n_proc", raising=False)
    if variable is not None:
        monkeypatch.setenv("nnUNet_def_n_proc", variable)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert number_of_processes(asked, jobs) == expected


@pytest.mark.parametrize("variable", ["", "many", "0", "-3"])
def test_a_variable_that_is_no_number_is_told(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv("nnUNet_def_n_proc", variable)
    with pytest.raises(UserError, match="nnUNet_def_n_proc"):
        number_of_processes(None, 10)
