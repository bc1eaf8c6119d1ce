"""The command ``nnUNetv2_convert_scribbles``."""

from __future__ import annotations

import argparse
from pathlib import Path

from scribble_conversion.console import run_command
from scribble_conversion.conversion import Options, convert
from scribble_conversion.files import opened_folder
from scribble_conversion.parallel import terminated_like_interrupted
from scribble_conversion.readers.acdc import find_acdc
from scribble_conversion.splits import FIVE_FOLD, MAAG
from scribble_conversion.summary import summarise


def _get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="nnUNetv2_convert_scribbles",
        description="Convert a dataset with scribbles into an nnU-Net raw dataset whose unlabelled voxels are ignored.",
    )
    formats = parser.add_subparsers(dest="format", metavar="FORMAT", required=True)
    acdc = formats.add_parser(
        "acdc",
        help="ACDC images with the public expert scribbles",
        description="Convert ACDC images and the public expert scribbles (Valvano et al.).",
    )
    acdc.add_argument(
        "--images",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder 'training' of the ACDC download, its parent, or one flat folder with all files",
    )
    acdc.add_argument(
        "--scribbles",
        type=Path,
        required=True,
        metavar="DIR_OR_ZIP",
        help="acdc_scribbles.zip as distributed, or the folder it unpacks to",
    )
    _add_common(acdc, default_name="ACDCscribbles")
    acdc.set_defaults(run=_run_acdc)
    return parser


def _add_common(parser: argparse.ArgumentParser, default_name: str) -> None:
    """Add the options that every format has."""
    parser.add_argument("-d", type=int, required=True, metavar="ID", help="nnU-Net dataset id, 1 to 999")
    parser.add_argument("-n", default=default_name, metavar="NAME", help="dataset name (default: %(default)s)")
    parser.add_argument(
        "--split",
        default=FIVE_FOLD,
        metavar=f"{FIVE_FOLD}|{MAAG}|FILE",
        help="folds by patient: the published five folds of 20 consecutive patients (those without any patient here "
        "are left out), the MAAG test patients as one fold's validation, or a JSON file like nnU-Net's "
        "splits_final.json with cases or patients (default: %(default)s)",
    )
    parser.add_argument(
        "--test-patients",
        default="",
        metavar="LIST",
        help="patients held out as imagesTs and labelsTs (dense), e.g. 81-100,5 (default: none)",
    )
    parser.add_argument(
        "--dense-patients",
        default="",
        metavar="LIST",
        help="patients to train with by their dense labels instead of their scribbles (default: none)",
    )
    parser.add_argument(
        "--unlabelled-patients",
        default="",
        metavar="LIST",
        help="patients whose images are trained with as if nobody had scribbled them (default: none)",
    )
    parser.add_argument(
        "--allow-unlabelled",
        action="store_true",
        help="train with images that have no scribbles as unlabelled ones instead of refusing them",
    )
    parser.add_argument(
        "-np", type=int, metavar="N", help="processes (default: nnU-Net's, at most one per core)", default=None
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a dataset of the same id and name")


def _options(args: argparse.Namespace) -> Options:
    return Options(
        dataset_id=args.d,
        name=args.n,
        split=args.split,
        test_patients=args.test_patients,
        dense_patients=args.dense_patients,
        unlabelled_patients=args.unlabelled_patients,
        allow_unlabelled=args.allow_unlabelled,
        processes=args.np,
        overwrite=args.overwrite,
    )


def _run_acdc(args: argparse.Namespace) -> None:
    with opened_folder(args.scribbles, "--scribbles") as scribbles:
        print(summarise(convert(find_acdc(args.images, scribbles), _options(args))))


def main(args: list[str] | None = None) -> int:
    """Run the command.

    Args:
        args: the command line without the program's name; None for the process's own.

    Returns:
        0, or another number after an error, which is told on stderr.
    """
    parsed = _get_parser().parse_args(args)
    with terminated_like_interrupted():
        return run_command(lambda: parsed.run(parsed))
