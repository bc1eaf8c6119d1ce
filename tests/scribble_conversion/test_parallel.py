"""How many processes, and what happens when one of them dies."""

from __future__ import annotations

import os

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
