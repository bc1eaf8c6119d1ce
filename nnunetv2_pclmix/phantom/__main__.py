"""Command line: ``python -m nnunetv2_pclmix.phantom --output DIR --patients N --seed S``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnunetv2_pclmix.phantom.writer import write_phantoms


def _get_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nnunetv2_pclmix.phantom",
        description="Writes scribbled short-axis heart phantoms in the layout of the ACDC download.",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write, new or empty")
    parser.add_argument("--patients", type=int, default=25, help="number of patients, two frames each (default: 25)")
    parser.add_argument("--first", type=int, default=1, help="number of the first patient (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random generator (default: 0)")
    return parser


def main(args: Sequence[str] | None = None) -> int:
    """Writes the dataset; returns the exit status."""
    options = _get_parser().parse_args(args)
    try:
        archive = write_phantoms(options.output, options.patients, np.random.default_rng(options.seed), options.first)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.patients} patients in {options.output / 'training'}, scribbles in {archive}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
