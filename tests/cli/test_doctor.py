from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from nnunetv2_pclmix import doctor
from nnunetv2_pclmix.cli import main

NAME = "nnunetv2-pclmix"
HEALTHY: dict[str, dict[str, Any]] = {
    doctor.TORCH_PROBE: {"torch": "2.9", "cuda": True, "built": "13.0", "mps": False, "gpus": ["A card"]},
    doctor.VISION_PROBE: {"torchvision": "0.24"},
    doctor.LOOKUP_PROBE: {"module": "nnunetv2_pclmix.trainer"},
}


@pytest.fixture
def probes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A healthy environment; what a probe finds is changed by changing the result (text: its error)."""
    for variable in doctor.FOLDERS:
        (tmp_path / variable).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setenv(doctor.TRAINER_VARIABLE, str(Path(doctor.__file__).parent / "ext_trainer"))
    monkeypatch.delenv(doctor.OPT_OUT, raising=False)
    results: dict[str, Any] = dict(HEALTHY)

    def probe(code: str) -> tuple[dict[str, Any] | None, str]:
        found = results[code]
        return (None, found) if isinstance(found, str) else (found, "")

    monkeypatch.setattr(doctor, "_probe", probe)
    return results


def test_healthy_environment(probes: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "Everything is in place." in out
    assert all(line.startswith("ok: ") for line in out.splitlines()[:-2])
    assert "A card" in out


def test_missing_gpu_is_a_warning(probes: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    probes[doctor.TORCH_PROBE] = {**HEALTHY[doctor.TORCH_PROBE], "gpus": [], "built": None}
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "-device cpu" in out
    assert "0 errors, 1 warnings" in out


@pytest.mark.parametrize(
    ("probe", "problem", "message"),
    [
        (doctor.TORCH_PROBE, "ImportError: libcudart", "torch cannot be imported"),
        (doctor.VISION_PROBE, "RuntimeError: operator torchvision::nms does not exist", "must be of one build"),
        (doctor.LOOKUP_PROBE, "RuntimeError: Could not find requested nnunet trainer", "nnU-Net does not find"),
        (doctor.LOOKUP_PROBE, {"module": "nnunetv2.training.x"}, "finds another"),
    ],
)
def test_failing_probe_is_an_error(
    probes: dict[str, Any], probe: str, problem: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    probes[probe] = problem
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert message in out
    assert "-> " in out


def test_folders_and_hook(
    probes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("nnUNet_raw")
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "nowhere"))
    monkeypatch.setenv(doctor.TRAINER_VARIABLE, "/my/own")
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "export nnUNet_raw=" in out
    assert f'mkdir -p "{tmp_path / "nowhere"}"' in out
    assert "start-up hook did not add" in out
    assert "3 errors" in out
    monkeypatch.setenv(doctor.OPT_OUT, "1")
    main(["doctor"])
    assert f"{doctor.OPT_OUT} is set" in capsys.readouterr().out


def test_folders_that_can_be_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("nnUNet_raw", "~/raw")
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "file"))
    found = [finding for finding in doctor.check_folders() if finding.level == "error"]
    assert [("only a shell" in finding.text, "is a file" in finding.text) for finding in found] == [
        (True, False),
        (False, True),
    ]
    assert not any("mkdir" in finding.cure for finding in found)


@pytest.mark.parametrize(("variable", "level"), [("nnUNet_raw", "warning"), ("nnUNet_results", "error")])
def test_folders_that_may_only_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, level: str
) -> None:
    monkeypatch.setenv(variable, str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    (finding,) = (each for each in doctor.check_folders() if variable in each.text)
    assert finding.level == level
    assert "where you may not write" in finding.text


@pytest.mark.parametrize(
    ("version", "level"),
    [("2.7.9", "error"), ("2.8", "ok"), ("2.8.1+local", "ok"), ("2.10.0rc1", "ok"), ("3", "error")],
)
def test_versions(version: str, level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: version if name == "nnunetv2" else known(name))
    finding = next(doctor.check_versions())
    assert finding.level == level
    assert version in finding.text


def test_versions_are_those_that_are_installed_with_the_package() -> None:
    declared = {requirement.name: requirement.specifier for requirement in map(Requirement, metadata.requires(NAME))}
    for package, (lowest, limit) in doctor.VERSIONS.items():
        told = f">={doctor._dotted(lowest)}" + (f",<{doctor._dotted(limit)}" if limit else "")
        assert declared[package] == SpecifierSet(told)


def test_probe_reports_the_last_line_of_an_error() -> None:
    assert doctor._probe("print('noise'); print('{\"a\": 1}')") == ({"a": 1}, "")
    assert doctor._probe("print('{\"a\": 1}'); print('good-bye')") == ({"a": 1}, "")
    assert doctor._probe("raise ValueError('this one')") == (None, "ValueError: this one")
    assert doctor._probe("import sys; sys.stdout.buffer.write(bytes([255]))") == (None, "Python gave no answer")


@pytest.mark.parametrize("package", ["numpy", "tqdm", "torch", "SimpleITK", "nnunetv2"])
def test_the_doctor_comes_where_a_package_is_broken(tmp_path: Path, package: str) -> None:
    (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError('No module named {package}')")
    code = "import sys; from nnunetv2_pclmix.cli import main; main(['doctor', '--help'])"
    paths = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("code", [doctor.TORCH_PROBE, doctor.VISION_PROBE])
def test_probes_run(code: str) -> None:
    found, problem = doctor._probe(code)
    assert found, problem
    assert found.keys() == HEALTHY[code].keys()
    json.dumps(found)


def test_a_dataset_is_looked_at_on_request(
    probes: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "nnUNet_raw" / "Dataset007_Lines"
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for case in "abcde":
        label = np.full((1, 30, 30), 2, dtype=np.uint8)
        label[0, 4, 3:20], label[0, 20, 3:20] = 0, 1
        for name, array in (("imagesTr", rng.random(label.shape)), ("labelsTr", label)):
            file = f"{case}_0000.nii.gz" if name == "imagesTr" else f"{case}.nii.gz"
            sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / name / file))
    declared = {
        "channel_names": {"0": "x"},
        "labels": {"background": 0, "line": 1, "ignore": 2},
        "numTraining": 5,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(declared))
    assert main(["doctor", "-d", "7", "-np", "1"]) == 0
    assert "ok:      Dataset007_Lines: nothing is wrong with its 5 cases" in capsys.readouterr().out

    (folder / "labelsTr" / "b.nii.gz").unlink()
    assert main(["doctor", "-d", "7", "-np", "1"]) == 1
    out = capsys.readouterr().out
    assert "error:   Dataset007_Lines: 1 training image without a label in labelsTr (b)\n         -> add " in out
    assert "1 errors, 0 warnings." in out
    assert main(["doctor", "-d", "8"]) == 1
    assert "is no nnU-Net raw dataset" in capsys.readouterr().out
