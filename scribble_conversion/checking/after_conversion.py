"""The checks that cost a conversion next to nothing, because it holds the voxels anyway.

Left to ``nnUNetv2_convert_scribbles check`` are those that need the strokes one by one (widths, resampling, unlabelled
stored as 0 beyond doubt), and those that a conversion cannot fail: it refuses damaged files, undeclared values and
labels that do not lie on their images before it writes anything, and its splits keep patients together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import SimpleITK as sitk

from scribble_conversion.checking.coverage import Scribbled, check_coverage
from scribble_conversion.checking.dataset import DENSE_FOLDER, names_of
from scribble_conversion.checking.duplicates import check_duplicates
from scribble_conversion.checking.finding import Finding
from scribble_conversion.checking.images import digest
from scribble_conversion.checking.unlabelled import check_unlabelled
from scribble_conversion.formats.registry import format_of
from scribble_conversion.source import Case, LabelValue, integers_of


def check_images(
    constant: Sequence[str], samples: Mapping[str, str], cases: Mapping[str, Case], held_out: frozenset[str]
) -> Iterator[Finding]:
    """Images that show nothing, and images that are there twice.

    Args:
        constant: cases with a channel that is the same everywhere.
        samples: case to ``images.sample_digest``; the few that agree in it are read again and compared in full.
        cases: all cases by identifier.
        held_out: the cases in ``imagesTs``.
    """
    for name in constant:
        yield Finding(
            "error", "constant", f"an image of {name} is constant", "export it again, or leave out the case", (name,)
        )
    groups: dict[str, list[str]] = {}
    for name, sample in samples.items():
        if name not in constant:
            groups.setdefault(sample, []).append(name)
    alike = [name for group in groups.values() if len(group) > 1 for name in group]
    yield from check_duplicates({name: _digest(cases[name]) for name in alike}, held_out)


def check_labels(
    scribbled: Sequence[Scribbled], labels: Mapping[str, LabelValue], ignore: int, dense_values: frozenset[int]
) -> Iterator[Finding]:
    """Classes and slices without scribbles, contradictions, and labels without unlabelled voxels.

    Args:
        scribbled: the training cases with scribbles.
        labels: name to the integers it stands for, ``ignore`` left out.
        ignore: the integer of unlabelled voxels.
        dense_values: integers that other training cases teach with dense labels.
    """
    yield from check_unlabelled(scribbled, ignore)
    values = names_of({name: integers_of(value) for name, value in labels.items()})
    yield from check_coverage(scribbled, values, ignore, DENSE_FOLDER, dense_values)


def _digest(case: Case) -> str:
    return "".join(digest(sitk.GetArrayFromImage(format_of(path).read_image(path))) for path in case.images)
