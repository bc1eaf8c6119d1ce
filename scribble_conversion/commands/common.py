"""Options that every conversion has."""

from __future__ import annotations

import argparse
from pathlib import Path

from scribble_conversion.conversion import Options
from scribble_conversion.splits import FIVE_FOLD, MAAG, OWN, RANDOM

INPUTS = ("data", "images", "test_images", "scribbles", "dense", "labels")
"""What the options that name files and folders to read are called, whatever the format."""
CASE_PATTERN_HELP = (
    "how the cases are named, so that splits go by patient, e.g. {patient}_{case} (default: as dataset.json records "
    "them, else by names like {patient}_frame{case} or patientN_{case}; every other case is a patient)"
)


def add_common(parser: argparse.ArgumentParser, default_name: str, default_split: str = FIVE_FOLD) -> None:
    """Add the options that every conversion has.

    Args:
        parser: the format's parser.
        default_name: the dataset's name where the user gives none.
        default_split: the split where the user gives none.
    """
    written = parser.add_argument_group("the dataset written")
    written.add_argument("-d", type=int, required=True, metavar="ID", help="nnU-Net dataset id, 1 to 999")
    written.add_argument("-n", default=default_name, metavar="NAME", help="dataset name (default: %(default)s)")
    written.add_argument(
        "--overwrite", action="store_true", help="replace a dataset of the same id and name (default: refuse)"
    )
    written.add_argument(
        "-np",
        type=int,
        metavar="N",
        help="processes (default: nnUNet_def_n_proc, else 8, at most one per core)",
    )
    patients = parser.add_argument_group("who is trained and tested with")
    patients.add_argument(
        "--split",
        default=default_split,
        metavar=f"{FIVE_FOLD}|{MAAG}|{RANDOM}|{OWN}|FILE",
        help=f"folds by patient; {FIVE_FOLD}: the published five folds of 20 consecutive patients of ACDC (without "
        f"those of whom nobody is here); {MAAG}: its published test patients as one fold's validation; {RANDOM}: five "
        f"random folds as nnU-Net draws them; {OWN}: the split that came with the source; FILE: JSON like nnU-Net's "
        "splits_final.json, with cases or patients (default: %(default)s)",
    )
    patients.add_argument(
        "--test-patients",
        default="",
        metavar="LIST",
        help="patients held out as imagesTs and labelsTs (dense): numbers, ranges, names of patients or cases, "
        "e.g. 81-100,5,control1 (default: none)",
    )
    patients.add_argument(
        "--dense-patients",
        default="",
        metavar="LIST",
        help="patients to train with by their dense labels instead of their scribbles, a list as above (default: none)",
    )
    patients.add_argument(
        "--unlabelled-patients",
        default="",
        metavar="LIST",
        help="patients whose images are trained with as if nobody had scribbled them, a list as above (default: none)",
    )
    patients.add_argument(
        "--allow-unlabelled",
        action="store_true",
        help="train with images that have no scribbles as unlabelled ones (default: refuse)",
    )


def add_raw_dataset(parser: argparse.ArgumentParser, unlabelled: str = "the highest that occurs there") -> None:
    """Add the options of commands that read an nnU-Net raw dataset with scribbles.

    Args:
        parser: the command's.
        unlabelled: what the value of unlabelled voxels is by default.
    """
    parser.add_argument(
        "--unlabelled-value",
        type=int,
        metavar="N",
        help=f"the value of unlabelled voxels in labelsTr (default: {unlabelled})",
    )
    parser.add_argument("--case-pattern", default="", metavar="PATTERN", help=CASE_PATTERN_HELP)


def options_of(args: argparse.Namespace) -> Options:
    """Return what the user decided with the options of ``add_common``."""
    given = [getattr(args, name, None) for name in INPUTS]
    if args.split not in (FIVE_FOLD, MAAG, RANDOM, OWN):
        given.append(Path(args.split))
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
        given=tuple(path for path in given if isinstance(path, Path)),
    )
