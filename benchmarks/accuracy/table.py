"""A table as Markdown, JSON and plot, from the runs in an output folder."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy.curves import plot_curves, read_curve
from benchmarks.accuracy.jobs import read_plan, run_folder
from benchmarks.accuracy.plot import plot_rows
from benchmarks.accuracy.store import JUDGED, RunFolder, read_json, write_json
from benchmarks.accuracy.summary import CONFIDENCE, METRICS, Difference, RowRuns, RowSummary, Spread, summarise

TITLES = {"dice": "Dice", "hd95_mm": "HD95 (mm)"}
DIGITS = {"dice": 3, "hd95_mm": 1}


def write_tables(output: Path, any_code: bool = False) -> list[Path]:
    """Write every table of the plan in ``output``, as far as its runs are judged.

    Args:
        output: an output folder with a plan.
        any_code: count finished runs of other code with the same settings.

    Returns:
        The Markdown files; JSON, PNG and the trainings' curves lie beside them.

    Raises:
        UserError: there is no plan.
    """
    plan = read_plan(output)
    written = []
    for table in plan["grid"]["tables"]:
        jobs = [job for job in plan["jobs"] if job["table"] == table["name"]]
        folders = [run_folder(output, job["run"], any_code) for job in jobs]
        rows, machines, codes = _runs(table["rows"], jobs, folders)
        summaries = summarise(rows, table["baseline"])
        stem = re.sub(r"[^\w.-]+", "_", table["name"])
        file = output / f"{stem}.md"
        file.write_text(markdown(plan["grid"], table, summaries, machines, codes), encoding="utf-8")
        write_json(
            output / f"{stem}.json",
            _plain({"grid": plan["grid"], "table": table, "rows": [dataclasses.asdict(row) for row in summaries]}),
        )
        if any(row.seeds for row in summaries):
            plot_rows(summaries, table["baseline"], output / f"{stem}.png")
        trained = ((job, folder) for job, folder in zip(jobs, folders, strict=True) if folder.result_file.is_file())
        curves = [curve for job, folder in trained if (curve := read_curve(folder, job["row"]))]
        if curves:
            plot_curves(curves, output / f"{stem}_curves.png")
        written.append(file)
    return written


def _runs(
    names: Sequence[str], jobs: Sequence[Mapping[str, Any]], folders: Sequence[RunFolder]
) -> tuple[list[RowRuns], set[str], dict[str, set[str]]]:
    """The rows' runs, the machines they ran on, and the code versions by trainer."""
    rows: dict[str, dict[tuple[int, int], Any]] = {name: {} for name in names}
    machines: set[str] = set()
    codes: dict[str, set[str]] = {}
    for job, folder in zip(jobs, folders, strict=True):
        found = None
        if folder.state() == JUDGED:
            result, definition = folder.result(), folder.definition()
            found = (read_json(folder.scores_file)["cases"], result)
            machines.add(f"{result['machine']} ({definition['device']})")
            codes.setdefault(definition["trainer"], set()).add(folder.path.name.split("-")[-1])
        rows[job["row"]][job["seed"], job["fold"]] = found
    return [RowRuns(name, runs) for name, runs in rows.items()], machines, codes


def markdown(
    grid: Mapping[str, Any],
    table: Mapping[str, Any],
    rows: Sequence[RowSummary],
    machines: set[str],
    codes: Mapping[str, set[str]],
) -> str:
    """The table as Markdown: Dice, HD95, cost, and what has to be known beside the figures."""
    steps = f"{table['epochs'] * table['iterations']:,} steps ({table['epochs']} x {table['iterations']})"
    folds = "; ".join(
        f"validated on {f['validation']}, trained on {f['training'] or 'all others'}" for f in grid["folds"]
    )
    lines = [
        f"# {grid['name']}: {table['name']}",
        "",
        f"Dataset {grid['dataset']}, configuration {grid['configuration']} of {grid['plans']}; patients: {folds}; "
        f"{steps} per training, last checkpoint.",
    ]
    structures = next((list(row.structures["dice"]) for row in rows if row.seeds), [])
    for metric in METRICS:
        lines += ["", f"## {TITLES[metric]}", "", *_scores(rows, metric, structures, table["baseline"])]
    lines += ["", "## Cost", "", *_cost(rows), "", "## Notes", "", *_notes(table, rows, machines, codes)]
    return "\n".join(lines) + "\n"


def _scores(rows: Sequence[RowSummary], metric: str, structures: Sequence[str], baseline: str) -> list[str]:
    digits = DIGITS[metric]
    lines = head("row", "seeds", *structures, "mean", "over seeds", f"against {baseline}")
    for row in rows:
        seeds = f"{len(row.seeds)}/{row.asked}"
        if not row.seeds:
            lines.append(line(row.name, seeds, *["-"] * (len(structures) + 3)))
            continue
        over_seeds = f"{min(row.by_seed[metric]):.{digits}f} to {max(row.by_seed[metric]):.{digits}f}"
        difference = "-"
        if metric in row.difference:
            difference = difference_cell(row.difference[metric], digits)
        cells = [spread_cell(row.structures[metric][name], digits) for name in structures]
        overall = spread_cell(row.overall[metric], digits)
        lines.append(line(row.name, seeds, *cells, overall, over_seeds if len(row.seeds) > 1 else "-", difference))
    return lines


def _cost(rows: Sequence[RowSummary]) -> list[str]:
    lines = head("row", "steps", "patches", "images seen", "training (min)", "peak memory (GiB)")
    for row in rows:
        c = row.cost
        if c:
            figures = (f"{c['steps']:,.0f}", f"{c['patches']:,.0f}", f"{c['images']:,.0f}")
            lines.append(
                line(row.name, *figures, f"{c['training_seconds'] / 60:.1f}", f"{c['peak_bytes'] / 2**30:.2f}")
            )
        else:
            lines.append(line(row.name, *["-"] * 5))
    return lines


def _notes(
    table: Mapping[str, Any], rows: Sequence[RowSummary], machines: set[str], codes: Mapping[str, set[str]]
) -> list[str]:
    cases = sorted({row.cases for row in rows if row.seeds})
    lines = [
        f"- Mean ± standard deviation over {' or '.join(map(str, cases)) or 'no'} cases, each averaged over the seeds "
        f"{', '.join(map(str, table['seeds']))} as far as they are judged.",
        f"- Against the baseline: mean paired difference over cases with its {CONFIDENCE:.0%} bootstrap interval over "
        f"cases. It does not hold the chance of the seeds, nor that two cases of a patient are alike.",
        "- Images seen: images through the network; with PCLMix patches and their mixed twins.",
        f"- Time and memory as on {', '.join(sorted(machines)) or 'no machine yet'}; other trainings may have run "
        "beside.",
    ]
    mixed = sorted(trainer for trainer, versions in codes.items() if len(versions) > 1)
    if mixed:
        lines.append(f"- Runs of {', '.join(mixed)} were made by different versions of the code.")
    return lines


def head(*cells: str) -> list[str]:
    """The first two lines of a Markdown table."""
    return [line(*cells), "|" + "---|" * len(cells)]


def line(*cells: str) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def spread_cell(spread: Spread, digits: int) -> str:
    """Mean ± standard deviation."""
    return "-" if math.isnan(spread.mean) else f"{spread.mean:.{digits}f} ± {spread.std:.{digits}f}"


def difference_cell(difference: Difference, digits: int) -> str:
    """Mean and interval, with their signs."""
    mean, low, high = (f"{value:+.{digits}f}" for value in (difference.mean, difference.low, difference.high))
    return f"{mean} [{low}, {high}]"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value
