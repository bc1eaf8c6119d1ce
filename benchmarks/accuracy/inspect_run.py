"""The errors of one finished training as tables and as a picture of its worst cases."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.accuracy.errors import CaseErrors, case_errors, describe
from benchmarks.accuracy.store import RunFolder, read_json
from nnunetv2_pclmix.drawing import COLOURS, Panel, draw_comparison
from nnunetv2_pclmix.evaluation.case import label_integers
from nnunetv2_pclmix.evaluation.folder import structures_of
from nnunetv2_pclmix.evaluation.volume import read_labels
from scribble_conversion.checking.dataset import names_of
from scribble_conversion.console import UserError


def inspect_run(
    folder: RunFolder, references: Path, groups: Mapping[str, str], output: Path, worst: int, title: str
) -> tuple[Path, Path | None]:
    """Write ``OUTPUT.md`` and, where the images are beside the references, ``OUTPUT.png``.

    Args:
        folder: a judged run.
        references: dense labels; ``imagesTr`` is looked for beside their folder.
        groups: names and regular expressions; a case belongs to every group whose expression its name holds.
        output: file to write, without ending.
        worst: cases to draw, those with the lowest mean Dice.
        title: first line of the file.

    Raises:
        UserError: an expression matches no case, or a volume is no stack of slices.
    """
    definition = folder.definition()
    ending = definition["dataset_json"]["file_ending"]
    structures, _ = structures_of(definition["dataset_json"]["labels"], None)
    found = []
    for case in tqdm(definition["validation"], desc="comparing", unit="case"):
        predicted, truth = (read_labels(where / f"{case}{ending}") for where in (folder.predictions(), references))
        if truth.labels.ndim != 3:
            raise UserError(f"{truth.path} is no stack of slices; errors by place need three axes")
        found.append(case_errors(case, predicted.labels, truth.labels, structures, truth.spacing))
    tables = describe({"all": found, **_grouped(found, groups)}, list(structures))
    text = output.with_suffix(".md")
    text.parent.mkdir(parents=True, exist_ok=True)
    text.write_text(f"{title}\n\n{tables}", encoding="utf-8")
    images = references.parent / "imagesTr"
    if not images.is_dir() or max(max(label_integers(v)) for v in structures.values()) >= len(COLOURS):
        return text, None
    scores = read_json(folder.scores_file)["cases"]
    by_dice = sorted(found, key=lambda e: _mean_dice(scores[e.name]))[:worst]
    return text, _draw(by_dice, folder.predictions(), references, images, ending, structures, output)


def _grouped(found: Sequence[CaseErrors], groups: Mapping[str, str]) -> dict[str, list[CaseErrors]]:
    grouped = {name: [e for e in found if re.search(pattern, e.name)] for name, pattern in groups.items()}
    for name, cases in grouped.items():
        if not cases:
            raise UserError(f"no case matches {groups[name]}, the group {name}; cases are named {found[0].name}, ...")
    return grouped


def _mean_dice(structures: Mapping[str, Mapping[str, float | None]]) -> float:
    values = [scores["dice"] for scores in structures.values() if scores["dice"] is not None]
    return float(np.mean(values)) if values else 1.0


def _draw(
    cases: Sequence[CaseErrors],
    predictions: Path,
    references: Path,
    images: Path,
    ending: str,
    structures: Mapping[str, int | Sequence[int]],
    output: Path,
) -> Path:
    import SimpleITK as sitk

    rows = []
    for case in cases:
        warned = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        image = sitk.GetArrayFromImage(sitk.ReadImage(str(images / f"{case.name}_0000{ending}")))[case.worst_slice]
        sitk.ProcessObject.SetGlobalWarningDisplay(warned)
        truth, predicted = (
            read_labels(where / f"{case.name}{ending}").labels[case.worst_slice] for where in (references, predictions)
        )
        rows.append([Panel("image", image), Panel("reference", image, truth), Panel("prediction", image, predicted)])
    names = names_of({name: label_integers(value) for name, value in structures.items()})
    titles = [f"{case.name}, slice {case.worst_slice}" for case in cases]
    return draw_comparison(rows, output.with_suffix(".png"), names, row_titles=titles)
