"""Reader for the ACDC challenge images with the public expert scribbles.

Images and dense labels: Bernard et al., IEEE TMI 2018. Scribbles: Valvano et al., IEEE TMI 2021, codes 0 background,
1 right ventricle, 2 myocardium, 3 left ventricle, 4 unlabelled.
"""

from __future__ import annotations

import re
from pathlib import Path

from scribble_conversion.console import UserError
from scribble_conversion.files import find_files, require_folder
from scribble_conversion.source import Case, Source

LABELS = {"background": 0, "RV": 1, "MYO": 2, "LV": 3}
UNLABELLED = 4

_IMAGE = re.compile(r"(?P<case>(?P<patient>patient\d+)_frame\d+)\.nii(\.gz)?")
_DENSE = re.compile(r"(?P<case>(?P<patient>patient\d+)_frame\d+)_gt\.nii(\.gz)?")
_SCRIBBLE = re.compile(r"(?P<case>(?P<patient>patient\d+)_frame\d+)_scribble\.nii(\.gz)?")


def find_acdc(images: Path, scribbles: Path) -> Source:
    """Find the cases of an ACDC download and their scribbles.

    Args:
        images: the ``training`` folder, its parent, or one flat folder with all files.
        scribbles: folder with the ``…_scribble.nii.gz`` files, at any depth.

    Returns:
        All cases that have an image or a scribble; an image's dense label is taken where there is one.

    Raises:
        UserError: if a folder is missing or holds no such files, if a file is there twice, or if there are scribbles
            without an image.
    """
    folder = _training_folder(require_folder(images, "--images"))
    image_files = _match(_IMAGE, folder, "--images")
    dense_files = _match(_DENSE, folder, "--images")
    scribble_files = _match(_SCRIBBLE, require_folder(scribbles, "--scribbles"), "--scribbles")
    if not image_files:
        raise UserError(
            f"{folder} holds no ACDC images (patient001_frame01.nii.gz, …); "
            "give the folder 'training' of the ACDC download with --images"
        )
    if not scribble_files:
        raise UserError(
            f"{scribbles} holds no ACDC scribbles (patient001_frame01_scribble.nii.gz, …); "
            "give acdc_scribbles.zip or its folder with --scribbles"
        )
    cases = tuple(
        Case(
            identifier=identifier,
            patient=identifier.partition("_")[0],
            images=(image_files[identifier],) if identifier in image_files else (),
            scribble=scribble_files.get(identifier),
            dense=dense_files.get(identifier),
        )
        for identifier in sorted(image_files.keys() | scribble_files.keys())
    )
    return Source(
        format="acdc",
        cases=cases,
        channel_names=("cineMRI",),
        labels=dict(LABELS),
        scribble_codes={**{value: value for value in LABELS.values()}, UNLABELLED: max(LABELS.values()) + 1},
        dense_codes={value: value for value in LABELS.values()},
        description="ACDC short-axis cine MRI with expert scribbles",
        reference="Bernard et al., IEEE TMI 2018 (images, dense labels); Valvano et al., IEEE TMI 2021 (scribbles)",
        licence="CC BY-NC-SA 4.0 (ACDC)",
    )


def _training_folder(images: Path) -> Path:
    """The folder ``training`` where there is one (beside ``testing``, in the official download), else ``images``."""
    for candidate in (images / "training", images / "database" / "training"):
        if candidate.is_dir():
            return candidate
    return images


def _match(pattern: re.Pattern[str], folder: Path, option: str) -> dict[str, Path]:
    """Map case identifiers to the files below ``folder`` whose names match ``pattern``."""
    matched: dict[str, Path] = {}
    for file in find_files(folder):
        match = pattern.fullmatch(file.name)
        if match is None:
            continue
        identifier = match["case"]
        if identifier in matched:
            raise UserError(
                f"{matched[identifier]} and {file} are the same case {identifier}; "
                f"keep one of them, or give a narrower folder with {option}"
            )
        matched[identifier] = file
    return matched
