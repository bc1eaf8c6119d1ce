"""Timing shared by the benchmarks: medians of interleaved repeats, so that a busy machine slows all sides alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import torch


def interleaved(calls: Mapping[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each call; the first round warms up.

    On the CPU its own processor time is taken, which other programs on the machine disturb less.
    """
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            if device.type == "cuda":
                torch.cuda.synchronize()
            start = clock()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds[name].append(clock() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def print_table(rows: Sequence[tuple[str, str, float]]) -> None:
    """Print ratios as a Markdown table."""
    print("| what | against | ratio |")
    print("|---|---|---|")
    for what, against, ratio in rows:
        print(f"| {what} | {against} | {ratio:.3f} |")
