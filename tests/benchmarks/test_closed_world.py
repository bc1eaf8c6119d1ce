"""How often the closed world is wrong, on scribbled phantoms and on a dataset whose strokes were taken away."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from benchmarks import closed_world


def _figures(text):
    """Patch size to percentages."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines()[2:]]
    return {name: [float(cell.removesuffix(" %")) for cell in cells] for name, *cells in rows}


def test_strokes_in_every_structure_vouch_for_all_of_it(workspace, capsys):
    closed_world.main(["-d", "511", "--slices", "--patches", "24"])
    figures = _figures(capsys.readouterr().out)
    assert list(figures) == ["whole", "24"]
    assert max(figures["whole"]) < 1
    in_doubt = figures["24"][1::2]
    assert max(in_doubt) > 0
    assert max(figures["24"][::2]) < 5


@pytest.mark.parametrize("names", [("RV", "MYO", "LV"), ("MYO", "LV", "RV")])
def test_a_structure_without_strokes_is_lost(workspace, tmp_path, monkeypatch, capsys, names):
    raw = tmp_path / "raw"
    shutil.copytree(workspace.raw, raw / workspace.raw.name)
    for file in (raw / workspace.raw.name / "labelsTr").glob("*.nii.gz"):
        image = sitk.ReadImage(file)
        strokes = sitk.GetArrayFromImage(image)
        strokes[strokes == 2] = 4
        changed = sitk.GetImageFromArray(strokes)
        changed.CopyInformation(image)
        sitk.WriteImage(changed, file)
    monkeypatch.setattr("scribbled.nnUNet_raw", str(raw))
    monkeypatch.setenv("nnUNet_raw", str(raw))
    description = raw / workspace.raw.name / "dataset.json"
    content = json.loads(description.read_text())
    content["labels"] = {name: content["labels"][name] for name in ("background", *names, "ignore")}
    description.write_text(json.dumps(content))
    closed_world.main(["-d", workspace.raw.name, "--slices"])
    text = capsys.readouterr().out
    assert [text.index(f"{name} turned") for name in ("RV", "MYO", "LV")] == sorted(
        text.index(f"{name} turned") for name in names
    )
    whole = np.array(_figures(text)["whole"])
    assert whole[2] == 100
    assert max(whole[[0, 4]]) < 1
