"""Reader for the MSCMR late gadolinium enhancement images with the scribbles of CycleMix.

Images and dense labels: Zhuang et al., Medical Image Analysis 2022 (MS-CMRSeg challenge 2019). Scribbles: Zhang and
Zhuang, CVPR 2022. Codes in the scribbles: 0 background, 1 to 3 the classes, 4 unlabelled. Which class has which code is
not written in the data set; CycleMix's evaluation calls them 1 RV, 2 Myo, 3 LV, as in ACDC.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from scribble_conversion.codes import class_names
from scribble_conversion.console import UserError
from scribble_conversion.files import match_cases, require_folder
from scribble_conversion.source import Case, LabelValue, Source

CLASSES = ("RV", "MYO", "LV")
UNLABELLED = 4
_CASE = r"(?P<case>subject\d+_DE)"
_IMAGE = re.compile(rf"{_CASE}\.nii(\.gz)?")
_DENSE = re.compile(rf"{_CASE}_manual\.nii(\.gz)?")
_SCRIBBLE = re.compile(rf"{_CASE}_scribble\.nii(\.gz)?")
_TRAIN, _VAL, _TEST = "train", "val", "TestSet"


def find_mscmr(data: Path, classes: Sequence[str] = CLASSES) -> Source:
    """Find the cases of the data set as CycleMix distributes it.

    Args:
        data: ``MSCMR_dataset`` or the folder it lies in; has ``train``, and ``val`` and ``TestSet`` where there are
            any, each with ``images`` and ``labels``.
        classes: names of the classes with the codes 1, 2, 3.

    Returns:
        The cases of ``train`` with their scribbles, those of ``val`` with their dense labels as the validation side
        of one fold, and those of ``TestSet`` as test cases.

    Raises:
        UserError: if names of classes are unfit, if a folder is missing or holds no such files, if a file is there
            twice, or if there are labels without an image.
    """
    classes = class_names(classes, len(CLASSES))
    root = require_folder(data, "--data")
    root = root / "MSCMR_dataset" if (root / "MSCMR_dataset").is_dir() else root
    if not (root / _TRAIN).is_dir():
        raise UserError(f"{root} has no folder '{_TRAIN}'; give the folder MSCMR_dataset of CycleMix with --data")
    training = _cases(root / _TRAIN)
    validation = _cases(root / _VAL, needs_label=True) if (root / _VAL).is_dir() else ()
    test = _cases(root / _TEST, test=True) if (root / _TEST).is_dir() else ()
    cases = sorted((*training, *validation, *test), key=lambda case: case.identifier)
    for first, second in pairwise(cases):
        if first.identifier == second.identifier:
            raise UserError(
                f"{first.identifier} is there twice, in {_place(first)} and {_place(second)}; "
                "keep it in one of train, val and TestSet"
            )
    labels: dict[str, LabelValue] = {"background": 0, **{name: code for code, name in enumerate(classes, start=1)}}
    codes = {code: code for code in range(len(CLASSES) + 1)}
    fold = {
        "train": tuple(case.identifier for case in training),
        "val": tuple(case.identifier for case in validation),
    }
    return Source(
        format="mscmr",
        cases=tuple(cases),
        channel_names=("LGE",),
        labels=labels,
        scribble_codes={**codes, UNLABELLED: len(CLASSES) + 1},
        dense_codes=codes,
        description="MSCMR late gadolinium enhancement MRI with the scribbles of CycleMix",
        reference="Zhuang et al., Medical Image Analysis 2022 (images, dense labels); Zhang and Zhuang, CVPR 2022 "
        "(scribbles)",
        folds=(fold,) if validation else (),
        notes=_notes(validation),
        image_option="--data",
        scribble_option="--data",
    )


def _cases(folder: Path, needs_label: bool = False, test: bool = False) -> tuple[Case, ...]:
    """The cases of one of the three folders; a case of ``val`` is judged, and so teaches, by its dense label."""
    images, dense, scribbles = (match_cases(pattern, folder, "--data") for pattern in (_IMAGE, _DENSE, _SCRIBBLE))
    if not images:
        raise UserError(
            f"{folder} holds no MSCMR images (subject2_DE.nii.gz, …); give the folder MSCMR_dataset of CycleMix with "
            "--data"
        )
    bare = sorted(images.keys() - dense.keys() - scribbles.keys())
    if needs_label and bare:
        raise UserError(f"{images[bare[0]]} has no label to validate with; add {bare[0]}_manual.nii.gz or remove it")
    return tuple(
        Case(
            identifier=identifier,
            patient=identifier.partition("_")[0],
            images=(images[identifier],) if identifier in images else (),
            scribble=scribbles.get(identifier),
            dense=dense.get(identifier),
            supervision="dense" if needs_label and identifier in dense else "scribble",
            test=test,
        )
        for identifier in sorted(images.keys() | dense.keys() | scribbles.keys())
    )


def _notes(validation: Sequence[Case]) -> tuple[str, ...]:
    dense = [case.identifier for case in validation if case.supervision == "dense"]
    if not dense:
        return ()
    return (
        f"note: the {len(dense)} cases of {_VAL} have dense labels, also in labelsTr; the data set's own split "
        "validates with them in its fold 0, while fold 'all' and other splits train with them, too",
    )


def _place(case: Case) -> Path | None:
    return next(iter(case.images), case.scribble or case.dense)
