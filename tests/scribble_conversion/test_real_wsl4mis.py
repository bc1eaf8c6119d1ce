"""Real HDF5 slices of ACDC, where they are at hand beside the checkout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.experiment_planning.verify_dataset_integrity import check_cases, verify_labels
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from scribble_conversion.cli import main

DATA = Path(__file__).parents[2].parent / "shared" / "data"
PATIENTS = ("patient021", "patient022", "patient023", "patient024")
pytestmark = pytest.mark.skipif(
    not (DATA / "wsl4mis_h5").is_dir() or not (DATA / "acdc").is_dir(), reason=f"the ACDC data is not in {DATA}"
)


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    (tmp_path / "training").mkdir()
    for patient in PATIENTS:
        (tmp_path / "training" / patient).symlink_to(DATA / "acdc" / "training" / patient)
    (tmp_path / "split.json").write_text(json.dumps([{"train": PATIENTS[:3], "val": PATIENTS[3:]}]))
    return tmp_path / "nnUNet_raw"


def _convert(raw: Path, *arguments: str, number: int) -> Path:
    split = str(raw.parent / "split.json")
    assert main([*arguments, "-d", str(number), "-n", "X", "-np", "1", "--split", split]) == 0
    return raw / f"Dataset{number:03d}_X"


def test_the_same_as_from_the_public_scribbles(raw: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Voxel for voxel what the ACDC reader makes of the archive, images byte for byte the originals."""
    images = str(raw.parent / "training")
    archive = raw.parent / "scribbles"
    shutil.unpack_archive(DATA / "acdc" / "acdc_scribbles.zip", raw.parent / "all")
    archive.mkdir()
    for patient in PATIENTS:
        for file in (raw.parent / "all" / "acdc_scribbles").glob(f"{patient}_*"):
            file.rename(archive / file.name)
    acdc = _convert(raw, "acdc", "--images", images, "--scribbles", str(archive), number=1)
    hdf5 = _convert(raw, "wsl4mis", "--images", images, "--data", str(DATA / "wsl4mis_h5"), number=2)
    assert "at least 1.0000" in capfd.readouterr().out
    files = sorted(path.relative_to(acdc) for path in acdc.rglob("*.nii.gz"))
    assert files == sorted(path.relative_to(hdf5) for path in hdf5.rglob("*.nii.gz"))
    assert len(files) == 3 * 8
    for file in files:
        if file.parts[0] == "imagesTr":
            assert (acdc / file).read_bytes() == (hdf5 / file).read_bytes()
            continue
        left, right = sitk.ReadImage(str(acdc / file)), sitk.ReadImage(str(hdf5 / file))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(left), sitk.GetArrayFromImage(right))
        for geometry in ("GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(left, geometry)() == getattr(right, geometry)()
        if file.parts[0] == "labelsTr":
            image = str(hdf5 / "imagesTr" / file.name.replace(".nii.gz", "_0000.nii.gz"))
            assert verify_labels(str(hdf5 / file), SimpleITKIO, [0, 1, 2, 3, 4])
            assert check_cases([image], str(hdf5 / file), 1, SimpleITKIO)


def test_the_other_frame_of_the_same_heart_is_not_the_image(raw: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = raw.parent / "training" / "patient023"
    folder.unlink()
    folder.mkdir()
    for name, other in (("frame01", "frame09"), ("frame09", "frame01")):
        (folder / f"patient023_{name}.nii.gz").symlink_to(
            DATA / "acdc" / "training" / "patient023" / f"patient023_{other}.nii.gz"
        )
    arguments = ["wsl4mis", "--data", str(DATA / "wsl4mis_h5"), "--images", str(raw.parent / "training")]
    assert main([*arguments, "-d", "1", "-np", "1", "--split", str(raw.parent / "split.json")]) == 1
    told = capfd.readouterr().err
    assert "patient023_frame01_slice_" in told
    assert "give the image that patient023_frame01 was made of" in told
    assert not raw.exists() or not any(raw.iterdir())
