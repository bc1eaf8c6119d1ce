"""Which values occur in label files, where nobody says what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from scribble_conversion.console import UserError
from scribble_conversion.formats.registry import format_of
from scribble_conversion.parallel import number_of_processes, run_all
from scribble_conversion.remap import as_integers

MOST_VALUES = 256
"""A file with more different values holds an image rather than labels."""


def scan_labels(files: Sequence[Path], processes: int | None) -> dict[Path, tuple[float, ...]]:
    """Read label files and list their values, in parallel, with a progress bar.

    Args:
        files: label files of any known kind.
        processes: how many processes; None for nnU-Net's default.

    Returns:
        File to its distinct values in ascending order.

    Raises:
        UserError: if a file is damaged or holds more than ``MOST_VALUES`` values.
    """
    found = run_all(_values, files, number_of_processes(processes, len(files)), "reading labels")
    return dict(zip(files, found, strict=True))


def integer_values(scanned: Mapping[Path, tuple[float, ...]]) -> set[int]:
    """The values of all files together, as integers.

    Args:
        scanned: what ``scan_labels`` returned.

    Raises:
        UserError: if a file holds fractions, which are no labels.
    """
    values: set[int] = set()
    for path, found in scanned.items():
        values.update(as_integers(np.array(found), path).tolist())
    return values


def _values(path: Path) -> tuple[float, ...]:
    try:
        label = format_of(path).read_label(path)  # has to live as long as the view of it
        values = np.unique(sitk.GetArrayViewFromImage(label))
    except MemoryError as error:
        raise UserError(f"{path} does not fit into memory; use fewer processes (-np 1)") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); check the path and permissions") from error
    if values.size > MOST_VALUES:
        raise UserError(
            f"{path} holds {values.size:,} different values, so it is no label file; "
            "give the files with the labels, resampled with nearest neighbour if at all"
        )
    return tuple(float(value) for value in values)
