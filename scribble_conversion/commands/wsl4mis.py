"""``nnUNetv2_convert_scribbles wsl4mis``."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scribble_conversion.commands.common import add_common, options_of
from scribble_conversion.commands.help import add_command
from scribble_conversion.conversion import Options, convert
from scribble_conversion.patients import PatientList
from scribble_conversion.readers.wsl4mis import STRUCTURES, Form, opened_wsl4mis
from scribble_conversion.source import Case
from scribble_conversion.summary import summarise
from scribble_conversion.target import choose_target

EXAMPLE = "--data ACDC_training_slices --images ACDC/training -d 28"


def add_parser(formats: Any) -> None:
    """Add the format to the sub-parsers of the command line."""
    default = Form()
    parser = add_command(
        formats,
        "wsl4mis",
        EXAMPLE,
        help="HDF5 slices or volumes as WSL4MIS and its successors read them",
        description="Convert HDF5 files as WSL4MIS has them: <case>_slice_<number>.h5 per slice or <case>.h5 per "
        "volume, with the datasets image, scribble and label.",
    )
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with the HDF5 files")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="folder with the original images (<case>.nii.gz), which geometry and intensities are "
        "taken from (default: none)",
    )
    parser.add_argument(
        "--spacing",
        type=float,
        nargs=3,
        metavar=("X", "Y", "Z"),
        help="voxel size in mm (columns, rows, slices), needed where --images is not given (default: none)",
    )
    parser.add_argument(
        "--labels",
        nargs="+",
        default=list(STRUCTURES),
        metavar="NAME",
        help=f"names of the codes 1, 2, … (default: {' '.join(STRUCTURES)})",
    )
    parser.add_argument(
        "--unlabelled-value",
        type=int,
        default=default.unlabelled,
        metavar="N",
        help="the value of unlabelled pixels in the dataset scribble (default: %(default)s)",
    )
    parser.add_argument(
        "--channel",
        default=default.channel,
        metavar="NAME",
        help="what the images show; nnU-Net normalises by it, CT differs from all else (default: %(default)s)",
    )
    add_common(parser, default_name="WSL4MIS")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    options = options_of(args)
    choose_target(options.dataset_id, options.name, options.overwrite)  # tells mistakes before the long work
    form = Form(
        structures=tuple(args.labels),
        unlabelled=args.unlabelled_value,
        channel=args.channel,
        spacing=tuple(args.spacing) if args.spacing is not None else None,
    )
    spared = _may_lack_scribbles(options)
    with opened_wsl4mis(args.data, args.images, form, spared, options.processes) as source:
        print(summarise(convert(source, options)))


def _may_lack_scribbles(options: Options) -> Callable[[Case], bool]:
    """Tell of a case whether the user's options make do without scribbles."""
    lists = (options.test_patients, options.dense_patients, options.unlabelled_patients)
    spared = [PatientList.parse(text) for text in lists]
    return lambda case: options.allow_unlabelled or any(named.has(case) for named in spared)
