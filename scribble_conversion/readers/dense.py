"""Reader for datasets with dense labels to draw scribbles from: nnU-Net raw datasets, or two plain folders."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scribble_conversion.codes import USUAL_UNLABELLED
from scribble_conversion.console import UserError
from scribble_conversion.readers.nifti import find_pairs, image_folder, scribble_folder
from scribble_conversion.readers.raw_source import declared_ignore, folder_of_dataset, preprocessed_folder, source_of
from scribble_conversion.readers.scribblebench import find_raw_dataset
from scribble_conversion.recorded import recorded, scribble_notes, with_facts
from scribble_conversion.repair import RepairedLabels, repair_labels, unused_value
from scribble_conversion.scan import integer_values, scan_labels
from scribble_conversion.source import Case, Source

FORMAT = "generate"


def find_dense_dataset(given: str, case_pattern: str, processes: int | None) -> Source:
    """Find the cases of an nnU-Net raw dataset.

    Args:
        given: its folder or id. Dense labels are those of ``labelsTr_dense`` where there is that folder, else those
            of ``labelsTr``; in a dataset that this project has scribbled, of the cases that teach with dense labels.
        case_pattern: how the cases are named, to tell the patients; empty for those recorded.
        processes: how many processes read the labels; None for nnU-Net's default.

    Returns:
        The cases with dense labels, without scribbles; voxels of a declared ignore label stay unlabelled.

    Raises:
        UserError: for a mistake in the data.
    """
    found = find_raw_dataset(folder_of_dataset(given, "--dataset"), case_pattern, preprocessed_folder(), "--dataset")
    has_dense_folder = any(case.dense is not None for case in found.cases if not case.test)
    is_scribbled = not has_dense_folder and bool(scribble_notes(found.declared))
    supervision, facts = recorded(found.declared, "supervision"), recorded(found.declared, "cases")
    cases = []
    for case in found.cases:
        kind = supervision.get(case.identifier, "scribble") if is_scribbled else "dense"
        if not case.test:
            dense = case.dense if has_dense_folder else case.scribble if kind == "dense" else None
            case = replace(case, dense=dense, scribble=None)
            case = replace(case, supervision="none") if kind == "none" else case
        cases.append(with_facts(case, facts))
    if is_scribbled and not any(case.dense is not None for case in cases if not case.test):
        raise UserError(f"{given} holds scribbles and no labelsTr_dense; give dense labels to draw from")
    labels = _labels(found.declared, _values(cases, processes))
    source = source_of(found, labels, FORMAT, "--dataset")
    return replace(source, cases=tuple(cases))


def find_dense_folders(
    images: Path,
    labels: Path,
    patterns: tuple[str, str],
    label_names: Sequence[str],
    channel_names: Sequence[str],
    unlabelled: int | None,
    processes: int | None,
) -> Source:
    """Find the cases of a folder with images and one with dense labels, matched by their names.

    Args:
        images: folder of the images.
        labels: folder of the dense labels.
        patterns: for the names of the images and of the labels; empty to try the usual ones.
        label_names: names of the classes besides the background, in the order of their values; empty for
            ``class_1`` and so on.
        channel_names: names of the channels; empty where the files have to tell.
        unlabelled: value of voxels that belong to no class; None for 255 beside classes that are numbered from 1 on.
        processes: how many processes read the labels; None for nnU-Net's default.

    Returns:
        The cases with dense labels, without scribbles.

    Raises:
        UserError: for a mistake in the data, or if there are more or fewer classes than names.
    """
    image_pattern, label_pattern = patterns
    label_folder = replace(scribble_folder(labels, label_pattern), option="--labels", pattern_option="--label-pattern")
    pairs = find_pairs(image_folder(images, image_pattern), label_folder, None, channel_names)
    cases = tuple(replace(case, dense=case.scribble, scribble=None) for case in pairs.cases)
    values = _values(cases, processes)
    notes = []
    classes = values - {0, USUAL_UNLABELLED}
    if unlabelled is None and USUAL_UNLABELLED in values and classes and max(classes) == len(classes):
        unlabelled = USUAL_UNLABELLED
        notes.append(f"{unlabelled} was taken for unlabelled; name another value with --unlabelled-value if not")
    repaired = _labels({"labels": _declared(label_names, values - {unlabelled})}, values, unlabelled)
    told = () if all(channel.isdecimal() or not channel for channel in pairs.channels) else pairs.channels
    return Source(
        format=FORMAT,
        cases=cases,
        channel_names=tuple(channel_names) or told,
        labels=repaired.labels,
        scribble_codes=repaired.scribbles,
        dense_codes=repaired.dense,
        file_ending=pairs.file_ending,
        notes=(
            *(f"note: {note}" for note in (*pairs.notes, *notes, *repaired.notes)),
            *pairs.left_out,
        ),
        scribble_option="--labels",
    )


def _values(cases: Sequence[Case], processes: int | None) -> set[int]:
    """The values that occur in the dense labels."""
    return integer_values(scan_labels([case.dense for case in cases if case.dense is not None], processes))


def _labels(declared: Mapping[str, Any], values: Collection[int], unlabelled: int | None = None) -> RepairedLabels:
    """Consecutive labels; a value that is declared as ignored stays so, otherwise none means unlabelled."""
    if not any(value > 0 and value != unlabelled for value in values):
        raise UserError("the labels hold nothing but background, so there is nothing to scribble; give dense labels")
    ignored = declared_ignore(declared) if unlabelled is None else unlabelled
    return repair_labels(declared, values, values, unused_value(declared, values) if ignored is None else ignored)


def _declared(names: Sequence[str], values: Collection[int]) -> dict[str, int]:
    """Labels as ``dataset.json`` would declare them."""
    classes = sorted(value for value in values if value != 0)
    if not names:
        return {}
    if len(names) != len(classes) or len(set(names)) < len(names):
        raise UserError(
            f"--label-names names {len(names)} classes ({', '.join(names)}), but the labels hold "
            f"{len(classes)} ({', '.join(map(str, classes))}) besides 0; name each of them once"
        )
    return {"background": 0, **dict(zip(names, classes, strict=True))}
