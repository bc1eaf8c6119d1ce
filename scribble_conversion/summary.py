"""What a conversion says at its end."""

from __future__ import annotations

from collections import Counter

from scribble_conversion.conversion import Conversion
from scribble_conversion.source import IGNORE_NAME, LabelValue, count_patients, integers_of


def summarise(conversion: Conversion) -> str:
    """Tell what was written and what to do next.

    Returns:
        Several lines: cases, patients, folds, the share of each label, the next command.
    """
    lines = [
        f"{conversion.target.raw}",
        f"training: {len(conversion.training)} cases of {count_patients(conversion.training)} patients, "
        f"{_with_dense(conversion.training)} with dense labels (labelsTr_dense)",
    ]
    if conversion.held_out:
        lines.append(
            f"held out: {len(conversion.held_out)} cases of {count_patients(conversion.held_out)} patients (imagesTs), "
            f"{_with_dense(conversion.held_out)} with dense labels (labelsTs)"
        )
    lines += [
        f"fold {index}: {len(fold.train)} cases to train, {len(fold.val)} to validate ({fold.title})"
        for index, fold in enumerate(conversion.folds)
    ]
    kinds = Counter(case.supervision for case in conversion.training)
    if kinds["dense"] or kinds["none"]:
        lines.append(
            f"supervision: {kinds['scribble']} cases with scribbles, {kinds['dense']} with dense labels, "
            f"{kinds['none']} with none"
        )
    lines.append(f"voxels: {_shares(conversion)}")
    lines += conversion.source.notes
    lines += _warnings(conversion)
    lines.append(f"look closer: nnUNetv2_convert_scribbles check {conversion.target.identifier}")
    clean = " --clean" if conversion.was_preprocessed else ""
    lines.append(f"next: nnUNetv2_plan_and_preprocess -d {conversion.target.identifier}{clean}")
    return "\n".join(lines)


def _with_dense(cases: tuple[object, ...]) -> int:
    return sum(getattr(case, "dense", None) is not None for case in cases)


def _shares(conversion: Conversion) -> str:
    total = sum(conversion.voxels)
    return ", ".join(
        f"{'unlabelled' if name == IGNORE_NAME else name} {100 * _voxels(conversion, value) / total:.2f} %"
        for name, value in conversion.source.labels_with_ignore.items()
    )


def _voxels(conversion: Conversion, value: LabelValue) -> int:
    return sum(conversion.voxels[integer] for integer in set(integers_of(value)))


def _warnings(conversion: Conversion) -> list[str]:
    """Things that are no mistake but will disappoint."""
    lines = [f"warning: {finding.sentence}" for finding in conversion.findings]
    if conversion.was_preprocessed:
        lines.append("warning: what nnU-Net preprocessed before is out of date; preprocess again before training")
    return lines
