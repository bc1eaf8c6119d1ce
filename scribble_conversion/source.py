"""What a reader hands over: the cases it found and what the codes in their files mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

IGNORE_NAME = "ignore"
"""nnU-Net's name for the label of unlabelled voxels; it has to carry the highest integer."""

LabelValue = int | list[int]
"""What a name stands for in ``dataset.json``: an integer, or a region of several."""
Supervision = Literal["scribble", "dense", "none"]
"""What a training case teaches with: its strokes, its dense label, or its image alone."""


@dataclass(frozen=True)
class Case:
    """One image with what is known about it.

    Attributes:
        identifier: name of the case in nnU-Net, e.g. ``patient021_frame01``.
        patient: whose image it is, e.g. ``patient021``; splits never part the cases of one patient.
        images: one file per channel.
        scribble: file of the scribbles, None where there is none.
        dense: file of the dense reference, None where there is none.
        supervision: what goes into ``labelsTr``: the scribbles, the dense label, or nothing but ``ignore``.
        test: whether the case belongs to the source's own test set, so that it is held out whatever the user says.
        facts: what else is known of it and worth keeping, e.g. ``{"phase": "ED"}``; goes into ``dataset.json``.
    """

    identifier: str
    patient: str
    images: tuple[Path, ...]
    scribble: Path | None = None
    dense: Path | None = None
    supervision: Supervision = "scribble"
    test: bool = False
    facts: Mapping[str, str | float] = field(default_factory=dict, hash=False)

    @property
    def patient_number(self) -> int | None:
        """The number that ends the patient's name (21 for ``patient021``), None where there is none."""
        digits = re.search(r"(\d+)$", self.patient)
        return int(digits.group(1)) if digits else None


@dataclass(frozen=True)
class Source:
    """A dataset as found on disk, before anything has been read.

    Attributes:
        format: the reader's name, recorded in ``dataset.json``.
        cases: the cases found, ordered by identifier.
        channel_names: one name per channel, as nnU-Net wants them; empty where the files have to tell.
        labels: name to integer (or to the integers of a region) in the converted dataset; without ``ignore``. All
            integers together are consecutive from ``background`` = 0.
        scribble_codes: code in a scribble file to the integer written; unlabelled goes to ``ignore_value``.
        dense_codes: code in a dense file to the integer written.
        description: what the dataset is, one sentence.
        reference: where it was published.
        licence: under which terms.
        file_ending: ending of all files written; nnU-Net takes one per dataset.
        notes: lines for the summary, about what the reader measured, decided or repaired.
        regions_class_order: what nnU-Net needs where ``labels`` has regions.
        reader_writer: nnU-Net's class to read the files; empty for the one that goes with ``file_ending``.
        explicit_codes: whether the user declared the codes, so that floats near one count as it (``remap``).
        folds: the source's own split, in the form of ``splits_final.json``; empty where it has none.
        drawing: how a program drew or shortened the scribbles, recorded in ``dataset.json``; empty if a person drew.
        image_option: the command line option that named the images, for messages.
        scribble_option: the one that named the scribbles.
    """

    format: str
    cases: tuple[Case, ...]
    channel_names: tuple[str, ...]
    labels: Mapping[str, LabelValue]
    scribble_codes: dict[int, int]
    dense_codes: dict[int, int]
    description: str = ""
    reference: str = ""
    licence: str = ""
    file_ending: str = ".nii.gz"
    notes: tuple[str, ...] = ()
    regions_class_order: tuple[int, ...] = ()
    reader_writer: str = ""
    explicit_codes: bool = False
    folds: tuple[Mapping[str, tuple[str, ...]], ...] = ()
    drawing: Mapping[str, object] = field(default_factory=dict)
    image_option: str = "--images"
    scribble_option: str = "--scribbles"

    @property
    def ignore_value(self) -> int:
        """The integer of unlabelled voxels: one above the highest label, as nnU-Net demands."""
        return max(max(integers_of(value)) for value in self.labels.values()) + 1

    @property
    def labels_with_ignore(self) -> dict[str, LabelValue]:
        """Name to integer as ``dataset.json`` declares them."""
        return {**self.labels, IGNORE_NAME: self.ignore_value}


def integers_of(value: LabelValue) -> tuple[int, ...]:
    """The integers that a name stands for, one or several."""
    return (value,) if isinstance(value, int) else tuple(value)


def count_patients(cases: Iterable[Case]) -> int:
    """Count the patients among ``cases``."""
    return len({case.patient for case in cases})


def name_some(names: Iterable[str], most: int = 3) -> str:
    """List the first few of ``names`` for a message, e.g. ``a, b, c and 7 more``."""
    ordered = sorted(names)
    listed = ", ".join(ordered[:most])
    return f"{listed} and {len(ordered) - most} more" if len(ordered) > most else listed
