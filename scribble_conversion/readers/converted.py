"""Reader for nnU-Net raw datasets with scribbles that this project has written, or that look the same."""

from __future__ import annotations

from dataclasses import replace

from scribble_conversion.codes import listed
from scribble_conversion.console import UserError
from scribble_conversion.readers.raw_source import declared_ignore, folder_of_dataset, preprocessed_folder, source_of
from scribble_conversion.readers.scribblebench import RawDataset, find_raw_dataset
from scribble_conversion.recorded import as_recorded, recorded
from scribble_conversion.repair import repair_labels
from scribble_conversion.scan import integer_values, scan_labels
from scribble_conversion.source import Source


def find_converted(given: str, case_pattern: str, unlabelled: int | None, processes: int | None) -> Source:
    """Find the cases of a dataset with scribbles.

    Args:
        given: its folder or id.
        case_pattern: how the cases are named, to tell the patients; empty for those recorded.
        unlabelled: the value of unlabelled voxels; None for the one that ``dataset.json`` calls so, else the highest.
        processes: how many processes read the labels; None for nnU-Net's default.

    Returns:
        The cases, each with the supervision that ``dataset.json`` records for it.

    Raises:
        UserError: for a mistake in the data.
    """
    found = find_raw_dataset(folder_of_dataset(given, "--dataset"), case_pattern, preprocessed_folder(), "--dataset")
    if unlabelled is None:
        unlabelled = declared_ignore(found.declared)
    return read_recorded(found, unlabelled, processes, "shorten", "--dataset")


def read_recorded(
    found: RawDataset, unlabelled: int | None, processes: int | None, format_name: str, option: str
) -> Source:
    """Read the labels of a raw dataset, put them right, and keep what ``dataset.json`` records of the cases.

    Args:
        found: the files.
        unlabelled: the value of unlabelled voxels; None for the highest.
        processes: how many processes read the labels; None for nnU-Net's default.
        format_name: recorded in ``dataset.json``.
        option: the command line option that named the dataset, for messages.

    Raises:
        UserError: for a mistake in the data.
    """
    scanned = scan_labels([*found.scribble_files, *found.dense_files], processes)
    scribbles, dense = (
        integer_values({file: scanned[file] for file in files}) for files in (found.scribble_files, found.dense_files)
    )
    if unlabelled is not None and unlabelled not in scribbles and unlabelled != declared_ignore(found.declared):
        held = listed(sorted(scribbles))
        raise UserError(f"no training label holds {unlabelled}, they hold {held}; correct --unlabelled-value")
    source = source_of(found, repair_labels(found.declared, scribbles, dense, unlabelled), format_name, option)
    cases = as_recorded(found.declared, found.cases, scanned)
    return replace(source, cases=cases, drawing=dict(recorded(found.declared, "drawing")))
