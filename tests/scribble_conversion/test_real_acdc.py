"""Some patients of the real ACDC, where they are at hand beside the checkout."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.experiment_planning.verify_dataset_integrity import check_cases, verify_labels
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from scribble_conversion.cli import main

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "acdc"
PATIENTS = ("patient021", "patient046", "patient081")


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the ACDC data is not in {DATA}")
def test_real_patients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    images, scribbles = tmp_path / "training", tmp_path / "scribbles"
    images.mkdir()
    for patient in PATIENTS:
        (images / patient).symlink_to(DATA / "training" / patient)
    _unpack(DATA / "acdc_scribbles.zip", scribbles)
    arguments = ["--images", str(images), "--scribbles", str(scribbles), "-d", "127", "--test-patients", "81-100"]

    assert main(["acdc", *arguments, "-np", "1"]) == 0

    told = capfd.readouterr()
    assert "training: 4 cases of 2 patients, 4 with dense labels" in told.out
    assert "WARNING" not in told.err
    dataset = tmp_path / "nnUNet_raw" / "Dataset127_ACDCscribbles"
    for file in sorted((dataset / "labelsTr").iterdir()):
        image_file = dataset / "imagesTr" / file.name.replace(".nii.gz", "_0000.nii.gz")
        assert verify_labels(str(file), SimpleITKIO, [0, 1, 2, 3, 4])
        assert check_cases([str(image_file)], str(file), 1, SimpleITKIO)
        image = sitk.ReadImage(str(image_file))
        written = sitk.ReadImage(str(file))
        drawn = sitk.ReadImage(str(scribbles / file.name.replace(".nii.gz", "_scribble.nii.gz")))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(written), sitk.GetArrayFromImage(drawn))
        assert written.GetSpacing() == image.GetSpacing()
        assert written.GetOrigin() == image.GetOrigin()
        assert written.GetDirection() == image.GetDirection()


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack the scribbles of the chosen patients."""
    folder.mkdir()
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            base = Path(name).name
            if base.startswith(PATIENTS):
                (folder / base).write_bytes(opened.read(name))
