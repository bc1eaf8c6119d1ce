"""What a dense evaluation found: means, table, JSON and CSV."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from nnunetv2_pclmix.evaluation.case import CaseScores
from nnunetv2_pclmix.whole_file import whole_file

METRICS = ("dice", "hd95_mm", "hd95_voxels")
JSON_NAME = "dense_evaluation.json"
CSV_NAME = "dense_evaluation.csv"

CONVENTION = (
    "A structure in neither volume is left out of the means; a structure in only one of them has Dice 0 and, "
    "as HD95, the diagonal of the image."
)


@dataclass(frozen=True)
class Summary:
    """Mean and (population) standard deviation over ``cases`` cases; NaN where there is none."""

    mean: float
    std: float
    cases: int


@dataclass(frozen=True)
class DenseEvaluation:
    """Scores of a folder of predictions.

    Attributes:
        cases: scores case by case, in order of their names.
        structures: names of the structures judged.
        unpredicted: names of references that have no prediction and were not judged.
        unreferenced: names of predictions that have no reference and were not judged.
    """

    cases: tuple[CaseScores, ...]
    structures: tuple[str, ...]
    unpredicted: tuple[str, ...] = field(default=())
    unreferenced: tuple[str, ...] = field(default=())

    def values(self, metric: str, structure: str) -> list[float]:
        """One metric of one structure in every case, NaN where it is in neither volume."""
        return [float(getattr(case.structures[structure], metric)) for case in self.cases]

    @property
    def classes(self) -> dict[str, dict[str, Summary]]:
        """Mean and standard deviation over cases, by structure, then by metric (see ``METRICS``)."""
        return {
            structure: {metric: _summarise(self.values(metric, structure)) for metric in METRICS}
            for structure in self.structures
        }

    @property
    def mean(self) -> dict[str, float]:
        """Mean over the structures' means, by metric (see ``METRICS``); NaN where no structure was judged."""
        classes = self.classes
        return {metric: _nanmean(classes[name][metric].mean for name in self.structures) for metric in METRICS}

    @property
    def std(self) -> dict[str, float]:
        """Standard deviation over cases of each case's mean over structures, by metric."""
        return {
            metric: _summarise(
                _nanmean(getattr(scores, metric) for scores in case.structures.values()) for case in self.cases
            ).std
            for metric in METRICS
        }

    def notes(self) -> list[str]:
        """What has to be known beside the figures: empty structures, ignored voxels, cases not judged."""
        lines = [CONVENTION]
        for structure in self.structures:
            scores = [case.structures[structure] for case in self.cases]
            for count, what in (
                (sum(score.missed for score in scores), "in the reference but not predicted"),
                (sum(score.invented for score in scores), "predicted but not in the reference"),
                (sum(score.empty_in_both for score in scores), "in neither"),
            ):
                if count:
                    lines.append(f"{structure}: {what} in {count} of {len(scores)} cases.")
        ignored = [case.ignored_voxels for case in self.cases if case.ignored_voxels]
        if ignored:
            lines.append(f"{sum(ignored)} voxels in {len(ignored)} cases bear the ignore label and were not judged.")
        if self.unpredicted:
            lines.append(f"{len(self.unpredicted)} references have no prediction and were not judged.")
        if self.unreferenced:
            lines.append(f"{len(self.unreferenced)} predictions have no reference and were not judged.")
        return lines

    def table(self) -> str:
        """The result as text: one line per structure, their mean, and the notes."""
        rows: list[tuple[str, ...]] = [("structure", "cases", "Dice", "HD95 (mm)", "HD95 (voxels)")]
        for structure, summaries in self.classes.items():
            rows.append((structure, str(summaries["dice"].cases), *_cells({m: summaries[m] for m in METRICS})))
        overall = {metric: Summary(self.mean[metric], self.std[metric], len(self.cases)) for metric in METRICS}
        rows.append(("mean", str(len(self.cases)), *_cells(overall)))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            "  ".join([row[0].ljust(widths[0])] + [cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)])
            for row in rows
        ]
        rule = "-" * len(lines[0])
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], "", *self.notes()])

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain types; undefined figures are None."""
        return _without_nan(
            {
                "mean": self.mean,
                "std": self.std,
                "classes": {name: {m: asdict(s) for m, s in by.items()} for name, by in self.classes.items()},
                "cases": {
                    case.name: {name: asdict(scores) for name, scores in case.structures.items()} for case in self.cases
                },
                "unpredicted": list(self.unpredicted),
                "unreferenced": list(self.unreferenced),
                "notes": self.notes(),
            }
        )

    def write(self, folder: Path) -> None:
        """Write ``dense_evaluation.json`` (everything) and ``dense_evaluation.csv`` (a line per case and structure).

        Args:
            folder: made where it is missing; files of these two names are replaced, the JSON last and each at once, so
                that what is half written does not pass for a judgement.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with _replaced(folder / CSV_NAME) as stream:
            writer = csv.writer(stream)
            writer.writerow(("case", "structure", *METRICS, "predicted_voxels", "reference_voxels"))
            for case in self.cases:
                for name, scores in case.structures.items():
                    figures = ["" if math.isnan(v := getattr(scores, metric)) else f"{v:.6f}" for metric in METRICS]
                    writer.writerow((case.name, name, *figures, scores.predicted_voxels, scores.reference_voxels))
        with _replaced(folder / JSON_NAME) as stream:
            stream.write(json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n")


@contextmanager
def _replaced(path: Path) -> Iterator[TextIO]:
    """A text file that is there when all of it is written."""
    with whole_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        yield stream


def _nanmean(values: Iterable[float]) -> float:
    kept = [value for value in values if not math.isnan(value)]
    return float(np.mean(kept)) if kept else math.nan


def _summarise(values: Iterable[float]) -> Summary:
    kept = [value for value in values if not math.isnan(value)]
    if not kept:
        return Summary(math.nan, math.nan, 0)
    return Summary(float(np.mean(kept)), float(np.std(kept)), len(kept))


def _cells(summaries: dict[str, Summary]) -> list[str]:
    digits = {"dice": 3, "hd95_mm": 1, "hd95_voxels": 1}
    return [
        "-" if math.isnan(summary.mean) else f"{summary.mean:.{digits[m]}f} ± {summary.std:.{digits[m]}f}"
        for m, summary in summaries.items()
    ]


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value
