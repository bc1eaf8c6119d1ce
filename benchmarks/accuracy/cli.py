"""Accuracy of PCLMix against stock nnU-Net, partial cross-entropy and dense training, row by row of a grid file.

python -m benchmarks.accuracy plan  benchmarks/accuracy/grids/mini.toml -d 127 --dense-dataset 128
python -m benchmarks.accuracy run   benchmarks/accuracy/grids/mini.toml -d 127 --dense-dataset 128 --jobs 2
python -m benchmarks.accuracy judge accuracy_runs/mini --references labelsTr_dense
python -m benchmarks.accuracy table accuracy_runs/mini
python -m benchmarks.accuracy errors accuracy_runs/mini --row "PCLMix default" --group ED=frame01
python -m benchmarks.accuracy pseudo-labels accuracy_runs/mini --row mine --pclmix '{"appearance_weight": 0}'
python -m benchmarks.accuracy calibrated accuracy_runs/mini --row "PCLMix default"
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.accuracy.grid import PRECISIONS, Grid, read_grid
from benchmarks.accuracy.judging import find_references, judge_all
from benchmarks.accuracy.store import JUDGED, RunFolder
from scribble_conversion.console import EXIT_USER_ERROR, UserError, run_command

if TYPE_CHECKING:
    from benchmarks.accuracy.jobs import Job

EXIT_UNFINISHED = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0: done, 1: a mistake or failed trainings, 2: trainings are left to run."""
    args = _parser().parse_args(argv)
    return run_command(lambda: args.run(args))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks.accuracy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    plan = commands.add_parser("plan", help="check a grid and list its trainings with their states")
    run = commands.add_parser("run", help="train, predict and judge what is not done yet, and write the tables")
    for command, body in ((plan, _plan), (run, _run)):
        _add_grid(command)
        command.set_defaults(run=body)
    run.add_argument("--jobs", type=_positive, default=1, metavar="N", help="trainings at a time (default: 1)")
    run.add_argument(
        "--workers", type=_positive, metavar="N", help="loader processes each (default: 1; on cuda up to 8)"
    )
    run.add_argument(
        "--compile", action="store_true", help="let nnU-Net use torch.compile on cuda (default: it does not)"
    )
    run.add_argument("--minutes", type=float, metavar="M", help="stop cleanly within this time; run again to go on")
    run.add_argument("--retry-failed", action="store_true", help="run again what failed before")
    judge = commands.add_parser("judge", help="judge finished trainings, for instance on the machine with the raw data")
    judge.add_argument("output", type=Path)
    judge.add_argument("--again", action="store_true", help="judge also what is judged already")
    judge.set_defaults(run=_judge)
    errors = commands.add_parser("errors", help="show where the errors of judged trainings lie, and their worst cases")
    errors.add_argument("output", type=Path)
    errors.add_argument(
        "--group",
        action="append",
        default=[],
        metavar="NAME=REGEX",
        help="show the cases whose names hold the expression also by themselves; repeatable",
    )
    errors.add_argument("--worst", type=_positive, default=6, metavar="N", help="cases to draw (default: 6)")
    errors.set_defaults(run=_errors)
    pseudo = commands.add_parser(
        "pseudo-labels", help="judge the pseudo-labels that a trained network would make under other hyper-parameters"
    )
    pseudo.add_argument("output", type=Path)
    pseudo.add_argument(
        "--pclmix", nargs="+", default=["{}"], metavar="JSON", help="hyper-parameters to override (default: none, {})"
    )
    pseudo.add_argument("--cases", choices=("validation", "training"), default="validation", help="default: validation")
    pseudo.add_argument("--every", type=_positive, default=1, metavar="N", help="take each Nth case (default: 1)")
    pseudo.set_defaults(run=_pseudo_labels)
    calibrated = commands.add_parser(
        "calibrated", help="judge trained networks after calibration, each case by offsets from other patients' strokes"
    )
    calibrated.add_argument("output", type=Path)
    calibrated.set_defaults(run=_calibrated)
    for command in (errors, pseudo, calibrated):
        command.add_argument("--row", required=True, metavar="NAME", help="row of the grid")
        command.add_argument("--table", metavar="NAME", help="where the row is in several")
        command.add_argument("--fold", type=int, metavar="N", help="of the grid's, 0 the first, where it has several")
        command.add_argument("--seed", type=int, help="default: the first that is judged; of calibrated: all")
    for command in (run, judge, errors, pseudo, calibrated):
        command.add_argument(
            "--references",
            type=Path,
            metavar="DIR",
            help="dense labels (default: labelsTr_dense of the dataset in nnUNet_raw)",
        )
    table = commands.add_parser("table", help="write the tables and plots of what is judged")
    table.add_argument("output", type=Path)
    table.set_defaults(run=_table)
    for command in (plan, run, judge, table, errors, pseudo, calibrated):
        command.add_argument(
            "--any-code",
            action="store_true",
            help="count finished trainings with the same settings although the code has changed since",
        )
    return parser


def _add_grid(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("grid", type=Path, help="grid file, TOML or JSON")
    parser.add_argument("--output", type=Path, metavar="DIR", help="default: accuracy_runs/ and the grid's name")
    parser.add_argument("-d", "--dataset", metavar="ID", help="dataset with scribbles, instead of the grid's")
    parser.add_argument("--dense-dataset", metavar="ID", help="dataset with dense training labels, likewise")
    parser.add_argument("-p", "--plans", help="likewise")
    parser.add_argument("-c", "--configuration", help="likewise")
    parser.add_argument("--epochs", type=int, help="likewise, for all tables")
    parser.add_argument("--iterations", type=int, help="per epoch, likewise")
    parser.add_argument("--seeds", type=int, nargs="+", help="likewise")
    parser.add_argument("--tables", nargs="+", metavar="NAME", dest="only_tables", help="only these tables of the grid")
    parser.add_argument("--rows", nargs="+", metavar="NAME", dest="only_rows", help="only these rows, and the baseline")
    parser.add_argument("--precision", choices=PRECISIONS, help="of the training on the CPU, likewise")
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), default="cpu", help="default: cpu")


def _read(args: argparse.Namespace) -> tuple[Grid, Path]:
    names = ("dataset", "dense_dataset", "plans", "configuration", "epochs", "iterations", "seeds", "precision")
    changes = {name: getattr(args, name) for name in (*names, "only_tables", "only_rows")}
    grid = read_grid(args.grid, changes)
    return grid, args.output or Path("accuracy_runs") / grid.name


def _plan(args: argparse.Namespace) -> int:
    from benchmarks.accuracy.jobs import make_jobs, run_folder, write_plan
    from benchmarks.accuracy.scheduler import alone

    grid, output = _read(args)
    jobs = make_jobs(grid, args.device)
    with alone(output):
        write_plan(output, grid, jobs)
    states = {job.run: run_folder(output, job.run, args.any_code).state() for job in jobs}
    for job in jobs:
        print(f"{job.table:12}  {states[job.run]:9}  {job.run}  {job.label}")
    print(f"{len(states)} trainings: {', '.join(f'{n} {state}' for state, n in Counter(states.values()).items())}")
    return 0


def _run(args: argparse.Namespace) -> int:
    from benchmarks.accuracy.jobs import make_jobs
    from benchmarks.accuracy.scheduler import alone

    begin = time.time()
    if args.minutes is not None and not args.minutes > 0:
        raise UserError(f"expected a positive number of minutes, got {args.minutes:g}")
    grid, output = _read(args)
    jobs = make_jobs(grid, args.device)
    _require_device(args.device)
    if grid.precision == "bfloat16" and not _has_bfloat16():
        print(
            "this processor computes bfloat16 by detours; without --precision it is many times faster", file=sys.stderr
        )
    with alone(output):
        return _run_alone(args, grid, jobs, output, begin)


def _run_alone(args: argparse.Namespace, grid: Grid, jobs: Sequence[Job], output: Path, begin: float) -> int:
    from benchmarks.accuracy.jobs import write_plan
    from benchmarks.accuracy.scheduler import Options, run_jobs

    write_plan(output, grid, jobs)
    references = find_references(args.references, _dataset_name(output))
    if references is None:
        print("No dense references here: judge the predictions later with the command judge.")
    cores = max(1, (os.cpu_count() or 1) // args.jobs - 1)
    outcome = run_jobs(
        jobs,
        output,
        Options(
            jobs=args.jobs,
            device=args.device,
            workers=args.workers or (min(8, cores) if args.device == "cuda" else 1),
            compiled=args.compile,
            stop_at=None if args.minutes is None else begin + 60 * args.minutes,
            references=references,
            retry_failed=args.retry_failed,
            any_code=args.any_code,
        ),
    )
    _write(output, args.any_code)
    print(f"{outcome.done} trainings done, {len(outcome.failed)} failed, {outcome.to_do} to do")
    for label, reason in outcome.failed:
        print(f"failed: {label}: {reason}")
    if outcome.to_do:
        return EXIT_UNFINISHED
    return EXIT_USER_ERROR if outcome.failed else 0


def _judge(args: argparse.Namespace) -> int:
    from benchmarks.accuracy.jobs import read_plan, run_folder

    plan = read_plan(args.output)
    references = _references_for(args.references, plan["dataset_name"])
    folders = [run_folder(args.output, job["run"], args.any_code) for job in plan["jobs"]]
    counts = judge_all(folders, references, args.again)
    print(f"{counts['judged']} trainings judged, {counts['untrained']} not trained yet")
    _write(args.output, args.any_code)
    return 0


def _table(args: argparse.Namespace) -> int:
    from benchmarks.accuracy.jobs import read_plan, run_folder

    plan = read_plan(args.output)
    _write(args.output, args.any_code)
    states = {job["run"]: run_folder(args.output, job["run"], args.any_code).state() for job in plan["jobs"]}
    missing = sum(state != JUDGED for state in states.values())
    if missing:
        print(f"{missing} of {len(states)} trainings are not judged yet")
    return 0


def _errors(args: argparse.Namespace) -> int:
    from benchmarks.accuracy.inspect_run import inspect_run

    groups = {}
    for entry in args.group:
        name, equals, pattern = entry.partition("=")
        if not (name and equals and pattern):
            raise UserError(f"expected --group NAME=REGEX, got {entry!r}")
        try:
            re.compile(pattern)
        except re.error as error:
            raise UserError(f"--group {entry} is no regular expression: {error}") from error
        groups[name] = pattern
    ((job, folder), *_), references = _judged_runs(args)
    fold = f", fold {job['fold']}" if job["fold"] else ""
    title = f"{job['table']}, {args.row}, seed {job['seed']}{fold}"
    name = re.sub(r"\W+", "_", title.replace("seed ", "seed"))
    for file in inspect_run(folder, references, groups, args.output / "errors" / name, args.worst, title):
        if file is not None:
            print(f"Written: {file}")
    return 0


def _pseudo_labels(args: argparse.Namespace) -> int:
    from benchmarks.accuracy.pseudo_labels import judge_pseudo_labels

    try:
        settings = [dict(json.loads(text)) for text in args.pclmix]
    except (TypeError, ValueError) as error:
        raise UserError(f"expected --pclmix as in '{{\"appearance_weight\": 0}}': {error}") from error
    ((_, folder), *_), references = _judged_runs(args)
    print(judge_pseudo_labels(folder, references, settings, args.cases, args.every))
    return 0


def _calibrated(args: argparse.Namespace) -> int:
    from benchmarks.accuracy.calibrated import judge_calibrated

    runs, references = _judged_runs(args)
    print(judge_calibrated([(job["seed"], folder) for job, folder in runs], references))
    return 0


def _judged_runs(args: argparse.Namespace) -> tuple[list[tuple[dict[str, Any], RunFolder]], Path]:
    """Job and folder of the trainings that row, table, fold and seed name, one at least, and their references.

    They are of one table and one fold.
    """
    from benchmarks.accuracy.jobs import read_plan, run_folder

    plan = read_plan(args.output)
    references = _references_for(args.references, plan["dataset_name"])
    jobs = plan["jobs"]
    for what in ("row", "table", "fold", "seed"):
        asked = getattr(args, what)
        here = list(dict.fromkeys(job[what] for job in jobs))
        jobs = [job for job in jobs if asked in (None, job[what])]
        if not jobs:
            of_row = "" if what == "row" else f" of row '{args.row}'"
            raise UserError(f"{args.output} has no {what} '{asked}'{of_row}; it has {', '.join(map(str, here))}")
    judged = [(j, f) for j in jobs if (f := run_folder(args.output, j["run"], args.any_code)).state() == JUDGED]
    if not judged:
        raise UserError(f"no training of row '{args.row}' is judged yet; run or judge it first")
    judged = list({f.path: (j, f) for j, f in reversed(judged)}.values())[::-1]  # tables may share a training
    for what in ("table", "fold"):
        found = list(dict.fromkeys(job[what] for job, _ in judged))
        if len(found) > 1:
            raise UserError(f"row '{args.row}' is in the {what}s {', '.join(map(str, found))}; choose with --{what}")
    return judged, references


def _references_for(given: Path | None, dataset_name: str) -> Path:
    references = find_references(given, dataset_name)
    if references is None:
        raise UserError(f"there is no labelsTr_dense of {dataset_name} in nnUNet_raw; name it with --references")
    return references


def _write(output: Path, any_code: bool) -> None:
    from benchmarks.accuracy.table import PICTURES, write_tables

    for file in write_tables(output, any_code):
        drawn = [ending for ending in PICTURES if file.with_name(f"{file.stem}{ending}").exists()]
        print(f"Written: {file} ({', '.join(['.json', *drawn])})")


def _dataset_name(output: Path) -> str:
    from benchmarks.accuracy.jobs import read_plan

    return str(read_plan(output)["dataset_name"])


def _require_device(device: str) -> None:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("torch finds no CUDA device here; leave --device out to train on the CPU")
    if device == "mps" and not torch.backends.mps.is_available():
        raise UserError("torch finds no Apple GPU here; leave --device out to train on the CPU")


def _has_bfloat16() -> bool:
    import torch

    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {value}")
    return value
