"""Figures of a table from the scores of its runs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import bootstrap

METRICS = ("dice", "hd95_mm")
RESAMPLES = 9999
CONFIDENCE = 0.95

Scores = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Case to structure to metric to value (None where undefined), as in ``dense_evaluation.json``."""


@dataclass(frozen=True)
class Spread:
    """Mean over seeds of each seed's mean over cases, and population standard deviation over cases.

    For the deviation each case is averaged over the seeds first.
    """

    mean: float
    std: float


@dataclass(frozen=True)
class Difference:
    """Mean over cases of this row minus the baseline, with its bootstrap interval, and the cases they share."""

    mean: float
    low: float
    high: float
    cases: int


@dataclass(frozen=True)
class RowSummary:
    """One row of a table.

    Attributes:
        name: the row's.
        seeds: seeds of which every fold is judged.
        asked: seeds asked for.
        cases: cases judged.
        structures: by metric, then structure.
        overall: by metric, the mean over seeds of each seed's mean over the structures' means, and the standard
            deviation over cases of each case's mean over structures.
        by_seed: by metric, the overall mean of each seed in ``seeds``.
        difference: by metric, against the baseline, over the seeds that both have; empty for the baseline and where
            there is none.
        cost: ``steps``, ``images`` and means over runs of ``training_seconds`` and ``peak_bytes``.
    """

    name: str
    seeds: tuple[int, ...]
    asked: int
    cases: int
    structures: dict[str, dict[str, Spread]] = field(default_factory=dict)
    overall: dict[str, Spread] = field(default_factory=dict)
    by_seed: dict[str, list[float]] = field(default_factory=dict)
    difference: dict[str, Difference] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class RowRuns:
    """What there is of a row: scores and result of each finished run, by seed and fold; None where unfinished."""

    name: str
    runs: Mapping[tuple[int, int], tuple[Scores, Mapping[str, Any]] | None]


def summarise(rows: Sequence[RowRuns], baseline: str) -> list[RowSummary]:
    """Figures of every row, in order.

    Args:
        rows: their runs.
        baseline: name of the row the others are compared with.

    Returns:
        One summary per row; a row without a complete seed has no figures.
    """
    compared = next((row for row in rows if row.name == baseline), None)
    summaries = []
    for row in rows:
        seeds = _complete_seeds(row)
        asked = len({seed for seed, _ in row.runs})
        if not seeds:
            summaries.append(RowSummary(row.name, (), asked, 0))
            continue
        cases, structures, values = _of_seeds(row, seeds)
        by_case = _nanmean(values, 0)
        by_seed = {m: [_mean_of_means(of_seed) for of_seed in values[..., k]] for k, m in enumerate(METRICS)}
        summaries.append(
            RowSummary(
                row.name,
                tuple(seeds),
                asked,
                len(cases),
                {
                    m: {s: _spread(_nanmean(values[..., j, k], 1), by_case[:, j, k]) for j, s in enumerate(structures)}
                    for k, m in enumerate(METRICS)
                },
                {m: _spread(np.array(by_seed[m]), _nanmean(by_case[..., k], 1)) for k, m in enumerate(METRICS)},
                by_seed,
                {} if compared is None or compared is row else _differences(row, compared),
                _cost(row),
            )
        )
    return summaries


Values = tuple[list[str], list[str], np.ndarray]
"""Cases, structures, and (..., cases, structures, metrics) values, NaN where undefined."""


def _complete_seeds(row: RowRuns) -> list[int]:
    return sorted({s for s, _ in row.runs} - {s for (s, _), run in row.runs.items() if run is None})


def _of_seed(row: RowRuns, seed: int) -> Values:
    """All folds of one seed together; every case is in one fold."""
    scores: dict[str, Mapping[str, Mapping[str, Any]]] = {}
    for (its, _), run in row.runs.items():
        if its == seed and run is not None:
            scores.update(run[0])
    cases = sorted(scores)
    structures = list(scores[cases[0]])
    table = [[[_number(scores[c][s][m]) for m in METRICS] for s in structures] for c in cases]
    return cases, structures, np.array(table)


def _of_seeds(row: RowRuns, seeds: Sequence[int]) -> Values:
    """Several seeds, the first axis of the values."""
    parts = [_of_seed(row, seed) for seed in seeds]
    return parts[0][0], parts[0][1], np.stack([values for _, _, values in parts])


def _differences(row: RowRuns, baseline: RowRuns) -> dict[str, Difference]:
    seeds = [seed for seed in _complete_seeds(row) if seed in _complete_seeds(baseline)]
    if not seeds:
        return {}
    both = [_of_seeds(each, seeds) for each in (row, baseline)]
    shared = sorted(set(both[0][0]) & set(both[1][0]))
    mine, theirs = (_nanmean(v[:, [c.index(case) for case in shared]], 2) for c, _, v in both)
    return {m: paired_difference(mine[..., k], theirs[..., k]) for k, m in enumerate(METRICS)} if shared else {}


def paired_difference(values: np.ndarray, baseline: np.ndarray) -> Difference:
    """Mean difference with a percentile bootstrap interval over cases.

    Args:
        values: (seeds, cases) scores.
        baseline: (seeds, cases) scores of the same cases.

    Returns:
        ``values - baseline``, averaged over the seeds; the interval is NaN for fewer than two cases.
    """
    difference = _nanmean(values - baseline, 0)
    difference = difference[np.isfinite(difference)]
    if len(difference) < 2:
        return Difference(
            float(np.mean(difference)) if len(difference) else math.nan, math.nan, math.nan, len(difference)
        )
    interval = bootstrap(
        (difference,),
        np.mean,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return Difference(float(difference.mean()), float(interval.low), float(interval.high), len(difference))


def _cost(row: RowRuns) -> dict[str, float]:
    results = [run[1] for run in row.runs.values() if run is not None]
    names = ("steps", "patches", "images", "training_seconds", "peak_bytes")
    return {name: float(np.mean([result[name] for result in results])) for name in names}


def _mean_of_means(values: np.ndarray) -> float:
    """Of (cases, structures) values."""
    return float(_nanmean(_nanmean(values, 0), 0))


def _spread(by_seed: np.ndarray, by_case: np.ndarray) -> Spread:
    """Mean of the seeds' means, standard deviation of the cases' values.

    Not the mean of the cases' values: of a structure that one seed invents in one case, an average over the seeds would
    count its 0 as much as what all seeds agree on, and lie below all seeds.
    """
    if not np.isfinite(by_case).any():
        return Spread(math.nan, math.nan)
    return Spread(float(_nanmean(by_seed, 0)), float(np.nanstd(by_case)))


def _nanmean(values: np.ndarray, axis: int) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Mean of empty slice")
        return np.nanmean(values, axis)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
