"""Some patients of the real ACDC, where they are at hand beside the checkout."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from scribble_conversion.cli import main
from tests.scribble_conversion.checking.hands import Lines

DATA = Path(__file__).parents[3].parent / "shared" / "data" / "acdc"
PATIENTS = ("patient029", "patient046", "patient074", "patient076")


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the ACDC data is not in {DATA}")
def test_real_patients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    images, scribbles = tmp_path / "training", tmp_path / "scribbles"
    images.mkdir()
    scribbles.mkdir()
    for patient in PATIENTS:
        (images / patient).symlink_to(DATA / "training" / patient)
    with zipfile.ZipFile(DATA / "acdc_scribbles.zip") as opened:
        for name in opened.namelist():
            if Path(name).name.startswith(PATIENTS):
                (scribbles / Path(name).name).write_bytes(opened.read(name))
    arguments = ["--images", str(images), "--scribbles", str(scribbles), "-d", "127", "-np", "1"]
    assert main(["acdc", *arguments]) == 0
    told = capsys.readouterr().out
    # The two patients are one in the published images, with references of their own.
    expected = [
        "warning: 2 of 196 pairs of slice and class without a scribble (patient029_frame01 slice 1 RV, "
        "patient076_frame12 slice 4 RV); scribble them, if you can",
        "warning: patient074_frame01, patient076_frame01 hold the same image; keep one of them",
        "warning: patient074_frame12, patient076_frame12 hold the same image; keep one of them",
    ]
    assert check() == expected
    assert [line for line in told.splitlines() if line.startswith("warning")] == expected
