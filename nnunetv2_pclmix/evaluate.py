"""Judge predictions against dense references: Dice and 95th percentile Hausdorff distance (millimetres and voxels) per
structure and case. Prints a table and writes dense_evaluation.json and dense_evaluation.csv."""

from __future__ import annotations

import argparse
from pathlib import Path

from scribble_conversion.console import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``nnUNetv2_pclmix evaluate``."""
    parser.add_argument("--predictions", type=Path, required=True, metavar="DIR", help="folder of predicted labels")
    parser.add_argument("--references", type=Path, required=True, metavar="DIR", help="folder of dense labels")
    parser.add_argument(
        "--dataset-json",
        type=Path,
        metavar="FILE",
        help="dataset.json with the labels' names and integers (default: the one in or above either folder)",
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where the JSON and CSV files go (default: beside the predictions)"
    )
    parser.add_argument(
        "-np", "--num-processes", type=int, default=1, metavar="N", help="worker processes (default: 1)"
    )
    parser.add_argument(
        "--allow-missing", action="store_true", help="judge what there is where references have no prediction"
    )


def run(args: argparse.Namespace) -> int:
    """Run ``nnUNetv2_pclmix evaluate``."""
    from nnunetv2_pclmix.evaluation import evaluate_folder, find_dataset_json, read_dataset_labels

    if args.num_processes < 1:
        raise UserError(f"expected a positive number of processes, got {args.num_processes}")
    output = args.output or args.predictions
    if args.output is not None and output.exists() and not output.is_dir():
        raise UserError(f"{output} is no folder; name one with --output")
    dataset_json = args.dataset_json or find_dataset_json(args.references, args.predictions)
    dataset = read_dataset_labels(dataset_json)
    result = evaluate_folder(
        args.predictions,
        args.references,
        dataset.labels,
        file_ending=dataset.file_ending,
        num_processes=args.num_processes,
        require_all=not args.allow_missing,
    )
    print(result.table())
    try:
        result.write(output)
    except OSError as error:
        raise UserError(f"{output} cannot be written ({error.strerror}); name another folder with --output") from error
    print(f"\nWritten to {output}: dense_evaluation.json, dense_evaluation.csv")
    return 0
