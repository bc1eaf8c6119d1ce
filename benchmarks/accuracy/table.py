"""A table as Markdown, JSON and plot, from the runs in an output folder."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy.curves import plot_curves, read_curve
from benchmarks.accuracy.grid import file_stem
from benchmarks.accuracy.jobs import read_plan, run_folder
from benchmarks.accuracy.plot import plot_rows
from benchmarks.accuracy.store import JUDGED, RunFolder, read_json, write_json
from benchmarks.accuracy.summary import CONFIDENCE, METRICS, Difference, RowRuns, RowSummary, Spread, summarise

PICTURES = (".png", "_curves.png")
TITLES = {"dice": "Dice", "hd95_mm": "HD95 (mm)"}
DIGITS = {"dice": 3, "hd95_mm": 1}


def write_tables(output: Path, any_code: bool = False) -> list[Path]:
    """Write every table of the plan in ``output``, as far as its runs are judged.

    Args:
        output: an output folder with a plan.
        any_code: count finished runs of other code with the same settings.

    Returns:
        The Markdown files; JSON lies beside them, and pictures of the table and of the trainings' curves where there is
        something to draw.

    Raises:
        UserError: there is no plan.
    """
    plan = read_plan(output)
    written = []
    for table in plan["grid"]["tables"]:
        jobs = [job for job in plan["jobs"] if job["table"] == table["name"]]
        folders = [run_folder(output, job["run"], any_code) for job in jobs]
        rows, origin = _runs(table["rows"], jobs, folders)
        summaries = summarise(rows, table["baseline"])
        stem = file_stem(table["name"])
        table_picture, curves_picture = (output / f"{stem}{ending}" for ending in PICTURES)
        for picture in (table_picture, curves_picture):
            picture.unlink(missing_ok=True)  # it may show what is no longer planned or judged
        file = output / f"{stem}.md"
        file.write_text(markdown(plan["grid"], table, summaries, origin), encoding="utf-8")
        write_json(
            output / f"{stem}.json",
            _plain({"grid": plan["grid"], "table": table, "rows": [dataclasses.asdict(row) for row in summaries]}),
        )
        if any(row.seeds for row in summaries):
            plot_rows(summaries, table["baseline"], table_picture)
        trained = ((job, folder) for job, folder in zip(jobs, folders, strict=True) if folder.result_file.is_file())
        curves = [curve for job, folder in trained if (curve := read_curve(folder, job["row"]))]
        if curves:
            plot_curves(curves, curves_picture)
        written.append(file)
    return written


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where the figures of a table come from.

    Attributes:
        machines: what was trained on.
        precisions: of the trainings' arithmetic.
        codes: versions of the code by trainer.
        planned: those of the plan, likewise.
        judgings: references and version of the code with which was judged; None where it is not noted.
    """

    machines: set[str] = dataclasses.field(default_factory=set)
    precisions: set[str] = dataclasses.field(default_factory=set)
    codes: dict[str, set[str]] = dataclasses.field(default_factory=dict)
    planned: dict[str, set[str]] = dataclasses.field(default_factory=dict)
    judgings: set[tuple[str, str] | None] = dataclasses.field(default_factory=set)


def _runs(
    names: Sequence[str], jobs: Sequence[Mapping[str, Any]], folders: Sequence[RunFolder]
) -> tuple[list[RowRuns], Origin]:
    """The rows' runs, and where they come from."""
    rows: dict[str, dict[tuple[int, int], Any]] = {name: {} for name in names}
    origin = Origin()
    for job, folder in zip(jobs, folders, strict=True):
        found = None
        if folder.state() == JUDGED:
            result, definition = folder.result(), folder.definition()
            found = (read_json(folder.scores_file)["cases"], result)
            origin.machines.add(f"{result['machine']} ({definition['device']})")
            origin.precisions.add(_precision(definition))
            for versions, run in ((origin.codes, folder.path.name), (origin.planned, job["run"])):
                versions.setdefault(definition["trainer"], set()).add(run.split("-")[-1])
            judging = read_json(folder.judging_file) if folder.judging_file.is_file() else None
            origin.judgings.add(judging and (judging["references"], judging["code"]))
        rows[job["row"]][job["seed"], job["fold"]] = found
    return [RowRuns(name, runs) for name, runs in rows.items()], origin


def _precision(definition: Mapping[str, Any]) -> str:
    if definition["device"] == "cpu":
        return str(definition.get("precision", "float32"))
    return "nnU-Net's precision"


def markdown(
    grid: Mapping[str, Any],
    table: Mapping[str, Any],
    rows: Sequence[RowSummary],
    origin: Origin,
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
        f"{steps} per training, {' and '.join(sorted(origin.precisions)) or 'not trained yet'}, last checkpoint.",
    ]
    structures = next((list(row.structures["dice"]) for row in rows if row.seeds), [])
    for metric in METRICS:
        lines += ["", f"## {TITLES[metric]}", "", *_scores(rows, metric, structures, table["baseline"])]
    lines += ["", "## Cost", "", *_cost(rows), "", "## Notes", "", *_notes(table, rows, origin)]
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


def _notes(table: Mapping[str, Any], rows: Sequence[RowSummary], origin: Origin) -> list[str]:
    cases = sorted({row.cases for row in rows if row.seeds})
    lines = [
        f"- Mean ± standard deviation over {' or '.join(map(str, cases)) or 'no'} cases: the mean of the means of the "
        f"seeds {', '.join(map(str, table['seeds']))}, as far as they are judged, ± the deviation of the cases, each "
        "averaged over the seeds.",
        "- Against the baseline: mean paired difference over cases, of the seeds that both have, with its "
        f"{CONFIDENCE:.0%} bootstrap interval over cases. It does not hold the chance of the seeds, nor that two cases "
        "of a patient are alike.",
        "- Images seen: images through the network; with PCLMix patches and their mixed twins.",
        f"- Time and memory as on {', '.join(sorted(origin.machines)) or 'no machine yet'}; other trainings may have "
        "run beside.",
    ]
    mixed = sorted(trainer for trainer, versions in origin.codes.items() if len(versions) > 1)
    if mixed:
        lines.append(f"- Runs of {', '.join(mixed)} were made by different versions of the code.")
    others = sorted(trainer for trainer, versions in origin.codes.items() if versions - origin.planned[trainer])
    if others:
        lines.append(f"- Runs of {', '.join(others)} were made by other code than the plan's.")
    if len(origin.judgings) > 1:
        lines.append("- Not all judged with the same code and references, as far as noted; judge --again does it anew.")
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
