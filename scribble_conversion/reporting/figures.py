"""What the page says in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO

from scribble_conversion.checking.finding import size_text
from scribble_conversion.checking.inspection import Inspection
from scribble_conversion.checking.splits import find_patients
from scribble_conversion.checking.strokes import Stroke
from scribble_conversion.reporting.colours import colour_of
from scribble_conversion.source import IGNORE_NAME

_TIMES, _TO = " \N{MULTIPLICATION SIGN} ", "\N{EN DASH}"


@dataclass(frozen=True)
class ClassFigures:
    """The scribbles of one class.

    Attributes:
        value: its integer.
        name: its name.
        colour: of its strokes on the page.
        voxels: scribbled voxels.
        share: of all voxels of the scribbled cases, 0 to 1.
        share_of_scribbles: of all scribbled voxels, 0 to 1.
        cases: cases in which it is scribbled.
        cases_possible: cases in which it could be: those where the dense label shows it, else all.
        slices: slices in which it is scribbled.
        slices_possible: slices in which it could be, likewise.
        strokes: the strokes one by one.
    """

    value: int
    name: str
    colour: str
    voxels: int
    share: float
    share_of_scribbles: float
    cases: int
    cases_possible: int
    slices: int
    slices_possible: int
    strokes: tuple[Stroke, ...]

    @property
    def median_length(self) -> float | None:
        """In the unit of the spacing; None without strokes."""
        return float(np.median([stroke.length for stroke in self.strokes])) if self.strokes else None

    @property
    def median_width(self) -> float | None:
        """Likewise."""
        return float(np.median([stroke.width for stroke in self.strokes])) if self.strokes else None


def unit_of(inspection: Inspection) -> str:
    """Of lengths: pixels for pictures, of which nobody knows how large they are."""
    return "pixels" if inspection.reader is NaturalImage2DIO else "mm"


def class_figures(inspection: Inspection) -> list[ClassFigures]:
    """Count the scribbles of every class."""
    dataset, scribbled = inspection.dataset, inspection.scribbled
    total = sum(sum(case.facts.voxels) for case in scribbled)
    voxels = {value: sum(case.facts.voxels[value] for case in scribbled) for value in dataset.values}
    drawn = sum(voxels.values())
    figures = []
    for value, name in dataset.values.items():
        cases = cases_possible = slices = slices_possible = 0
        for case in scribbled:
            touched = case.facts.drawn[:, value] > 0
            # Where the reference does not show a class, a scribble of it is beside the point, and counts nowhere.
            could = np.ones_like(touched) if case.facts.present is None else case.facts.present[:, value]
            cases += bool((touched & could).any())
            cases_possible += bool(could.any())
            slices += int(np.count_nonzero(touched & could))
            slices_possible += int(np.count_nonzero(could))
        strokes = tuple(stroke for case in inspection.facts for stroke in case.strokes if stroke.value == value)
        figures.append(
            ClassFigures(
                value=value,
                name=name,
                colour=colour_of(value),
                voxels=voxels[value],
                share=voxels[value] / total if total else 0.0,
                share_of_scribbles=voxels[value] / drawn if drawn else 0.0,
                cases=cases,
                cases_possible=cases_possible,
                slices=slices,
                slices_possible=slices_possible,
                strokes=strokes,
            )
        )
    return figures


def dataset_facts(inspection: Inspection) -> list[tuple[str, str]]:
    """What the dataset is, as pairs of a heading and a text."""
    dataset, facts = inspection.dataset, [case for case in inspection.facts if case.shape and case.spacing]
    training, test = dataset.training, [case for case in dataset.cases if case.test]
    known, guessed = find_patients(dataset, [case.identifier for case in training])
    patients = f" of {len(set(known.values())):,} patients" if len(known) == len(training) and not guessed else ""
    rows = [("Training", f"{len(training):,} cases{patients}")]
    if test:
        rows.append(("Test", f"{len(test):,} cases"))
    kinds = [case.supervision for case in training]
    if set(kinds) != {"scribble"}:
        rows.append(
            (
                "Supervision",
                f"{kinds.count('scribble')} scribbles, {kinds.count('dense')} dense, {kinds.count('none')} unlabelled",
            )
        )
    channels = dataset.content.get("channel_names", dataset.content.get("modality"))
    rows.append(("Channels", ", ".join(map(str, channels.values() if isinstance(channels, dict) else channels or ()))))
    labels = [f"{value} {name}" for value, name in dataset.values.items()]
    rows.append(
        ("Labels", ", ".join(labels + ([f"{dataset.ignore} {IGNORE_NAME}"] if dataset.ignore is not None else [])))
    )
    if facts:
        spacings = np.array([case.spacing for case in facts])[:, ::-1]
        shapes = np.array([case.shape for case in facts])[:, ::-1]
        if unit_of(inspection) == "mm":
            rows.append(("Voxel size", _TIMES.join(_range(column, 2) for column in spacings.T) + " mm"))
        rows.append(("Image size", _TIMES.join(_range(column, 0) for column in shapes.T)))
        rows.append(("Slices", f"{sum(case.shape[case.axis] for case in facts if case.shape):,}"))
    scribbled = inspection.scribbled
    total = sum(sum(case.facts.voxels) for case in scribbled)
    if total and dataset.ignore is not None:
        unlabelled = sum(case.facts.voxels[dataset.ignore] for case in scribbled)
        rows.append(("Unlabelled", f"{100 * unlabelled / total:.2f} % of the voxels of scribbled cases"))
    compared = sum(case.facts.compared for case in scribbled)
    if compared:
        wrong = sum(case.facts.contradicting for case in scribbled)
        rows.append(
            (
                "Dense label",
                f"{wrong:,} of {compared:,} scribbled voxels contradict it ({100 * wrong / compared:.3f} %)",
            )
        )
    for title, key in (("Reference", "reference"), ("Licence", "licence")):
        if isinstance(dataset.content.get(key), str) and dataset.content[key]:
            rows.append((title, dataset.content[key]))
    return rows


def _range(values: Sequence[float], digits: int) -> str:
    low, high = size_text(min(values), digits), size_text(max(values), digits)
    return low if low == high else f"{low}{_TO}{high}"
