"""``nnUNetv2_convert_scribbles check``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scribble_conversion.commands.help import add_command
from scribble_conversion.console import UserError
from scribble_conversion.target import DEFAULT_PLANS

if TYPE_CHECKING:
    from scribble_conversion.checking.inspection import Inspection

EXAMPLE = "27"


def add_parser(commands: Any) -> None:
    """Add the command to the sub-parsers of the command line."""
    parser = add_command(
        commands,
        "check",
        EXAMPLE,
        help="say what is wrong with an nnU-Net raw dataset with scribbles",
        description="Check an nnU-Net raw dataset with scribbles, whoever made it: one line per problem on stdout, "
        "exit 1 where there is an error.",
    )
    add_dataset(parser)
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write all findings and counts into a JSON file, too (default: none)"
    )
    parser.set_defaults(run=_run)


def add_dataset(parser: argparse.ArgumentParser) -> None:
    """Add what ``check`` and ``report`` have in common: which dataset, and how it is looked at."""
    parser.add_argument("dataset", metavar="DATASET", help="number, name or folder of a dataset in nnUNet_raw")
    parser.add_argument(
        "-p",
        "--plans",
        default=DEFAULT_PLANS,
        metavar="NAME",
        help="plan in nnUNet_preprocessed with which to try what resampling loses (default: %(default)s)",
    )
    parser.add_argument(
        "--resampled-cases",
        type=int,
        default=8,
        metavar="N",
        help="on how many cases, evenly chosen; 0 for none (default: %(default)s)",
    )
    parser.add_argument(
        "-np",
        type=int,
        metavar="N",
        help="processes (default: nnUNet_def_n_proc, else 8, at most one per core)",
    )


def inspect_dataset(args: argparse.Namespace) -> Inspection:
    """Look at the dataset that the options of ``add_dataset`` name.

    Raises:
        UserError: there is no such dataset, the user names a plan that does not exist, or a number that cannot be.
    """
    from scribble_conversion.checking.dataset import open_dataset
    from scribble_conversion.checking.inspection import inspect, plans_file

    dataset = open_dataset(args.dataset)
    if args.resampled_cases < 0:
        raise UserError(f"--resampled-cases has to be 0 or more, got {args.resampled_cases}")
    if args.plans != DEFAULT_PLANS and plans_file(dataset, args.plans) is None:
        where = dataset.preprocessed or "nnUNet_preprocessed"
        raise UserError(f"{where} has no plan {args.plans} of this dataset; correct -p or plan the dataset first")
    return inspect(dataset, args.np, args.plans, args.resampled_cases)


def _run(args: argparse.Namespace) -> int:
    # These import what only this command needs, and slowly.
    from scribble_conversion.checking.finding import count_levels
    from scribble_conversion.checking.output import check_json, lines, write_json

    check_json(args.json)
    inspection = inspect_dataset(args)
    if args.json is not None:
        write_json(inspection, args.json)
    for line in lines(inspection.findings):
        print(line)
    return 1 if count_levels(inspection.findings)[0] else 0
