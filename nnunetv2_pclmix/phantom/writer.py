"""Writes phantoms in the layout of the ACDC download with its scribbles, so that the same converter reads both."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from nnunetv2_pclmix.phantom.patient import Patient, make_patient

SCRIBBLE_ARCHIVE = "acdc_scribbles.zip"


def write_phantoms(output: Path, n_patients: int, rng: np.random.Generator, first: int = 1) -> Path:
    """Writes a dataset of phantoms.

    ``OUTPUT/training/patient001/`` holds ``patient001_frame01.nii.gz``, ``patient001_frame01_gt.nii.gz``, the same for
    end systole, and ``Info.cfg``; ``OUTPUT/acdc_scribbles.zip`` holds the scribbles, junk entries included. A patient
    depends on the generator and on its place in the dataset only, not on how many follow.

    Args:
        output: Folder to write; must not exist or be empty.
        n_patients: Number of patients, at least 1.
        rng: Source of all randomness.
        first: Number of the first patient.

    Returns:
        Path of the archive with the scribbles.

    Raises:
        ValueError: For less than one patient or numbers that do not fit three digits.
        FileExistsError: If the folder is not empty.
    """
    if n_patients < 1:
        raise ValueError(f"expected at least one patient, got {n_patients}")
    if first < 1 or first + n_patients > 1000:
        raise ValueError(f"patient numbers must lie in 1..999, got {first}..{first + n_patients - 1}")
    if output.exists() and any(output.iterdir()):
        raise FileExistsError(f"{output} is not empty")
    output.mkdir(parents=True, exist_ok=True)
    archive_path = output / SCRIBBLE_ARCHIVE
    with zipfile.ZipFile(archive_path, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, "acdc_scribbles/", b"")
        _add(archive, "__MACOSX/._acdc_scribbles", b"Mac OS X")
        for number in range(first, first + n_patients):
            patient = make_patient(np.random.default_rng(rng.integers(2**63)))
            _write_patient(output / "training", archive, f"patient{number:03d}", patient)
    return archive_path


def _write_patient(training: Path, archive: zipfile.ZipFile, name: str, patient: Patient) -> None:
    folder = training / name
    folder.mkdir(parents=True)
    for frame_name, frame in patient.frames.items():
        stem = f"{name}_frame{patient.frame_numbers[frame_name]:02d}"
        _write_image(folder / f"{stem}.nii.gz", frame.image, patient)
        _write_image(folder / f"{stem}_gt.nii.gz", frame.label, patient)
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / f"{stem}_scribble.nii.gz"
            _write_image(path, frame.scribble, patient)
            _add(archive, f"acdc_scribbles/{path.name}", path.read_bytes())
        _add(archive, f"__MACOSX/acdc_scribbles/._{stem}_scribble.nii.gz", b"Mac OS X")
    info = {
        "ED": patient.frame_numbers["ED"],
        "ES": patient.frame_numbers["ES"],
        "Group": patient.group,
        "Height": patient.height,
        "NbFrame": patient.n_frames,
        "Weight": patient.weight,
    }
    (folder / "Info.cfg").write_text("".join(f"{key}: {value}\n" for key, value in info.items()), encoding="utf-8")


def _write_image(
    path: Path, array: NDArray[np.int16] | NDArray[np.uint8] | NDArray[np.uint16], patient: Patient
) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(patient.spacing)
    image.SetOrigin(patient.origin)
    image.SetDirection(patient.direction)
    sitk.WriteImage(image, str(path), useCompression=True)


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Adds an entry with a fixed date, so that the same seed gives the same bytes."""
    archive.writestr(zipfile.ZipInfo(name, date_time=(2020, 1, 1, 0, 0, 0)), content)
