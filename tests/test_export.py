"""An exported model predicts the same without this package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunetv2_pclmix import export
from nnunetv2_pclmix.cli import main
from tests.conftest import CHOICE, CONFIGURATION, DATASET, DATASET_ID, FINAL, PLANS, TRAINED, Workspace

EXPORTED = f"nnUNetTrainer__{PLANS}__{CONFIGURATION}"

PREDICT = """
import sys, torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
model, image, output = sys.argv[1:]
torch.set_num_threads(1)
predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
predictor.initialize_from_trained_model_folder(model, ("0",))
predictor.predict_from_files_sequential([[image]], [output])
"""
WITHOUT_PACKAGE = """
import sys
class Absent:
    def find_spec(self, name, *_):
        if name.startswith(("nnunetv2_pclmix", "scribble_conversion")):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
try:
    import nnunetv2_pclmix
except ModuleNotFoundError:
    pass
else:
    sys.exit("the package is there")
"""


def read_checkpoint(model: Path, fold: str = "0") -> dict:
    return torch.load(model / f"fold_{fold}" / FINAL, weights_only=False)


@pytest.fixture
def exported(trained: Path) -> Path:
    assert main(["export", *CHOICE]) == 0
    return trained.with_name(EXPORTED)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_it_holds_what_nnunet_needs_and_nothing_of_this_package(trained: Path, exported: Path) -> None:
    assert files(exported) == {
        "plans.json",
        "dataset.json",
        "dataset_fingerprint.json",
        f"fold_0/{FINAL}",
        "fold_0/progress.png",
        "fold_0/validation/summary.json",
        "crossval_results_folds_0/postprocessing.pkl",
        "crossval_results_folds_0/plans.json",
    }
    assert sorted(path.name for path in exported.parent.iterdir()) == sorted([TRAINED, EXPORTED])
    for plans in exported.rglob("plans.json"):
        assert "pclmix" not in plans.read_text()
    before = json.loads((trained / "plans.json").read_text())
    assert before.pop("pclmix") == {"seed": 1, "mirroring": True}
    assert before["configurations"][CONFIGURATION].pop("pclmix") == {"queue_length": 5}
    assert json.loads((exported / "plans.json").read_text()) == before
    assert (exported / "dataset.json").read_bytes() == (trained / "dataset.json").read_bytes()


def test_the_weights_are_bit_identical_and_the_rest_of_the_training_is_gone(trained: Path, exported: Path) -> None:
    before, after = read_checkpoint(trained), read_checkpoint(exported)
    assert set(after) == {"network_weights", "trainer_name", "init_args", "inference_allowed_mirroring_axes"}
    assert after["trainer_name"] == "nnUNetTrainer"
    assert after["inference_allowed_mirroring_axes"] == before["inference_allowed_mirroring_axes"] == (0, 1)
    assert list(after["network_weights"]) == list(before["network_weights"])
    for name, weight in before["network_weights"].items():
        assert after["network_weights"][name].dtype == weight.dtype
        assert torch.equal(after["network_weights"][name].view(torch.uint8), weight.view(torch.uint8))
    assert after["init_args"]["configuration"] == CONFIGURATION
    assert b"pclmix" not in (exported / "fold_0" / FINAL).read_bytes().lower()
    assert (exported / "fold_0" / FINAL).stat().st_size < 0.6 * (trained / "fold_0" / FINAL).stat().st_size


def test_predictions_are_the_same_with_and_without_the_package(
    trained: Path, exported: Path, workspace: Workspace, tmp_path: Path
) -> None:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    image = str(next((workspace.raw / "imagesTs").glob("*_0000.nii.gz")))
    for model, output in ((trained, "original"), (exported, "exported")):
        predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
        predictor.initialize_from_trained_model_folder(str(model), ("0",))
        predictor.predict_from_files_sequential([[image]], [str(tmp_path / output)])
    hidden = ("PYTHONPATH", "nnUNet_extTrainer")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PACKAGE + PREDICT, str(exported), image, str(tmp_path / "elsewhere")],
        env={**environment, "NNUNETV2_PCLMIX_NO_HOOK": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    labels = [
        sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / f"{name}.nii.gz")))
        for name in ("original", "exported", "elsewhere")
    ]
    assert len(np.unique(labels[0])) > 1
    assert np.array_equal(labels[0], labels[1])
    assert np.array_equal(labels[0], labels[2])


def test_it_serves_as_pretrained_weights(exported: Path, make_trainer) -> None:
    from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    for trainer in (make_trainer(nnUNetTrainer), make_trainer()):
        trainer.initialize()
        load_pretrained_weights(trainer.network, str(exported / "fold_0" / FINAL))
        key = "encoder.stages.0.0.convs.0.conv.weight"
        assert torch.equal(trainer.network.state_dict()[key], read_checkpoint(exported)["network_weights"][key])


@pytest.mark.parametrize("name", [TRAINED, EXPORTED])
def test_nnunets_zip_commands_take_it(
    name: str, trained: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnunetv2.model_sharing.entry_points import export_pretrained_model_entry, install_from_zip_entry_point

    file = str(tmp_path / "model.zip")
    options = [*CHOICE, "-tr", name.split("__")[0], "-f", "0", "-o", file]
    monkeypatch.setattr("sys.argv", ["nnUNetv2_export_model_to_zip", *options])
    export_pretrained_model_entry()
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "other"))
    monkeypatch.setattr("sys.argv", ["nnUNetv2_install_pretrained_model_from_zip", file])
    install_from_zip_entry_point()
    installed, shared = tmp_path / "other" / DATASET / name, trained.with_name(name)
    for needed in ("plans.json", "dataset.json", f"fold_0/{FINAL}"):
        assert (installed / needed).read_bytes() == (shared / needed).read_bytes()


def test_folds_checkpoints_and_folder_are_the_users_choice(trained: Path, tmp_path: Path) -> None:
    for fold in ("1", "all", "2"):
        shutil.copytree(trained / "fold_0", trained / f"fold_{fold}")
    (trained / "fold_2" / FINAL).rename(trained / "fold_2" / "my.pth")
    shutil.copyfile(trained / "fold_1" / FINAL, trained / "fold_1" / "my.pth")

    def fold_files(*arguments: str) -> set[str]:
        out = tmp_path / "shared" / str(len(arguments)) / "model"
        assert main(["export", "--model-folder", str(trained), "-o", str(out), *arguments]) == 0
        return {name for name in files(out) if name.endswith(".pth")}

    assert fold_files() == {f"fold_{fold}/{FINAL}" for fold in ("0", "1", "all")}
    assert fold_files("-f", "1", "all") == {f"fold_1/{FINAL}", f"fold_all/{FINAL}"}
    assert fold_files("-chk", "my.pth") == {f"fold_{fold}/my.pth" for fold in ("1", "2")}
    both = fold_files("-chk", FINAL, "my.pth", "--trainer", "nnUNetTrainerNoMirroring")
    assert both == {f"fold_1/{FINAL}", "fold_1/my.pth"}


def test_a_cascade_brings_its_first_stage(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    first = trained.rename(trained.with_name(f"nnUNetTrainerPCLMix__{PLANS}__first"))
    second = first.with_name(f"nnUNetTrainerPCLMix__{PLANS}__second")
    plans = json.loads((first / "plans.json").read_text())
    plans["configurations"]["first"] = {"inherits_from": CONFIGURATION, "next_stage": "second"}
    plans["configurations"]["second"] = {"inherits_from": CONFIGURATION, "previous_stage": "first"}
    (first / "plans.json").write_text(json.dumps(plans))
    shutil.copytree(first, second)
    for folder, name, channels in ((first, "first", 1), (second, "second", 4)):
        content = read_checkpoint(folder)
        content["init_args"]["configuration"] = name
        for key, weight in content["network_weights"].items():
            if weight.ndim == 4 and weight.shape[1] == 1:  # the image, and one channel per foreground class
                content["network_weights"][key] = weight.repeat(1, channels, 1, 1)
        torch.save(content, folder / "fold_0" / FINAL)

    assert main(["export", "--model-folder", str(second)]) == 0
    for name in ("first", "second"):
        exported = second.with_name(f"nnUNetTrainer__{PLANS}__{name}")
        assert read_checkpoint(exported)["init_args"]["configuration"] == name

    exported = second.with_name(f"nnUNetTrainer__{PLANS}__first")
    (exported / "fold_0" / "training_log_2026.txt").touch()  # as if nnU-Net's own first stage was trained there
    assert main(["export", "--model-folder", str(second), "-o", str(second.with_name("shared"))]) == 1
    assert "is never replaced; name a folder with another parent with -o" in capsys.readouterr().err
    assert main(["export", "--model-folder", str(second), "-o", str(tmp_path / "elsewhere" / "shared")]) == 0

    first_again = second.with_name("own") / f"nnUNetTrainer__{PLANS}__first"
    assert main(["export", "--model-folder", str(second), "-o", str(first_again)]) == 1
    assert "is where first goes, from which second predicts; name another" in capsys.readouterr().err
    assert not first_again.exists()

    shutil.copyfile(second / "fold_0" / FINAL, second / "fold_0" / "calibrated.pth")  # of the second stage alone
    elsewhere = tmp_path / "calibrated" / "shared"
    assert main(["export", "--model-folder", str(second), "-o", str(elsewhere), "-chk", "calibrated.pth"]) == 0
    assert (elsewhere / "fold_0" / "calibrated.pth").is_file()
    assert (elsewhere.with_name(f"nnUNetTrainer__{PLANS}__first") / "fold_0" / FINAL).is_file()


def test_a_training_that_begins_meanwhile_stays(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = trained.with_name(EXPORTED) / "fold_0" / "training_log_2026.txt"
    check_model = export.check_model

    def check_while_training(*arguments: object) -> None:
        check_model(*arguments)
        log.parent.mkdir(parents=True)
        log.touch()

    monkeypatch.setattr(export, "check_model", check_while_training)
    assert main(["export", *CHOICE]) == 1
    assert "is a training, which is never replaced" in capsys.readouterr().err
    assert files(log.parents[1]) == {"fold_0/training_log_2026.txt"}
    assert sorted(path.name for path in trained.parent.iterdir()) == sorted([TRAINED, EXPORTED])


def test_a_link_to_another_disk_stays_a_link(trained: Path, tmp_path: Path) -> None:
    disk, link = tmp_path / "disk" / "model", tmp_path / "link"
    disk.mkdir(parents=True)
    link.symlink_to(disk)
    assert main(["export", *CHOICE, "-o", str(link)]) == 0
    assert link.is_symlink()
    assert f"fold_0/{FINAL}" in files(disk)


def test_folders_beside_the_folds_are_no_folds(trained: Path) -> None:
    shutil.copytree(trained / "fold_0", trained / "fold_0_old")
    assert main(["export", *CHOICE]) == 0
    exported = trained.with_name(TRAINED.replace("nnUNetTrainerPCLMix", "nnUNetTrainer"))
    assert [path.name for path in exported.glob("fold_*")] == ["fold_0"]


def test_a_dataset_may_be_named_by_a_folder(trained: Path) -> None:
    raw = f"/somewhere/nnUNet_raw/{trained.parent.name}/"
    assert main(["export", "-d", raw, *CHOICE[2:]]) == 0


REFUSALS = {
    "no dataset": (["-d", "", "-c", "2d"], "expected -d and -c, or --model-folder"),
    "a folder that is no dataset's": (["-d", "/", "-c", "2d"], "'/' names no dataset"),
    "nothing chosen": ([], "expected -d and -c, or --model-folder"),
    "chosen twice": ([*CHOICE, "--model-folder", "."], "got both"),
    "no such dataset": (["-d", "9", "-c", "2d"], "expected one dataset Dataset009_*"),
    "no such training": (["-d", str(DATASET_ID), "-c", "3d_fullres"], "there is no such training"),
    "folder of another name": (["--model-folder", "{other}"], "TRAINER__PLANS__CONFIGURATION"),
    "missing fold": ([*CHOICE, "-f", "0", "3"], "fold_3 has no checkpoint_final.pth"),
    "missing checkpoint": ([*CHOICE, "-chk", "checkpoint_x.pth"], "no fold of"),
    "checkpoint by its path": ([*CHOICE, "-chk", f"{{trained}}/fold_0/{FINAL}"], "the name of a file"),
    "trainer of this package": ([*CHOICE, "--trainer", "nnUNetTrainerPCLMix"], "a trainer of nnU-Net's own"),
    "no trainer's name": ([*CHOICE, "--trainer", "../x"], "a trainer of nnU-Net's own"),
    "unknown trainer": ([*CHOICE, "--trainer", "nnUNetTrainerNo"], "Could not find requested nnunet trainer"),
    "another network": ([*CHOICE, "--trainer", "nnUNetTrainerBN"], "nnU-Net cannot use checkpoint_final.pth"),
    "into the training": ([*CHOICE, "-o", "{trained}/shared"], "lies in the training itself"),
    "onto the training": ([*CHOICE, "-o", "{trained}", "--overwrite"], "lies in the training itself"),
    "onto something else": ([*CHOICE, "-o", "{other}", "--overwrite"], "is no exported model"),
    "onto a file": ([*CHOICE, "-o", "{other}/notes.txt", "--overwrite"], "is no exported model"),
    "under a file": ([*CHOICE, "-o", "{other}/notes.txt/model"], "cannot be written"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSALS.values(), ids=REFUSALS.keys())
def test_mistakes_are_told_in_a_sentence_and_leave_nothing(
    arguments: list[str], message: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    before = files(tmp_path)
    assert main(["export", *(text.format(other=other, trained=trained) for text in arguments)]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert files(tmp_path) == before
    assert (other / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (f"fold_0/{FINAL}", b"half", "is no whole checkpoint of nnU-Net"),
        ("plans.json", b"{", "is no JSON"),
        ("plans.json", b"{}", "holds no plans of nnU-Net"),
        ("plans.json", None, "does not exist; is "),
        ("dataset.json", None, "dataset.json does not exist; is "),
    ],
)
def test_a_damaged_training_is_refused(
    file: str, content: bytes | None, message: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (trained / file).unlink()
    if content is not None:
        (trained / file).write_bytes(content)
    assert main(["export", *CHOICE]) == 1
    assert message in capsys.readouterr().err
    assert [path.name for path in trained.parent.iterdir()] == [TRAINED]


def test_only_an_exported_model_is_replaced_and_only_on_request(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = exported / "fold_0" / "mark"
    mark.touch()
    assert main(["export", *CHOICE]) == 1
    assert "add --overwrite" in capsys.readouterr().err
    assert mark.exists()
    assert main(["export", *CHOICE, "--overwrite"]) == 0
    assert not mark.exists()
    assert len(list(exported.parent.iterdir())) == 2

    log = exported / "fold_0" / "training_log_2026.txt"
    log.touch()
    assert main(["export", *CHOICE, "--overwrite"]) == 1
    assert "is a training, which is never replaced" in capsys.readouterr().err
    assert log.exists()

    log.unlink()
    installed = exported / "fold_0" / FINAL  # as nnU-Net's zip has it, without a log
    shutil.copyfile(exported.with_name(TRAINED) / "fold_0" / FINAL, installed)
    assert main(["export", *CHOICE, "--overwrite"]) == 1
    assert "is a training, which is never replaced" in capsys.readouterr().err
    assert "optimizer_state" in torch.load(installed, weights_only=False)

    installed.write_bytes(b"damaged")  # which nobody can continue
    assert main(["export", *CHOICE, "--overwrite"]) == 0


@pytest.mark.parametrize("error", [OSError, RuntimeError])  # torch makes the latter of a full disk
def test_a_failure_on_the_way_leaves_what_was_there(
    error: type[Exception], exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(exported.parent)

    def full(*_: object) -> None:
        raise error("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        assert main(["export", *CHOICE, "--overwrite"]) == 1
    assert "No space left on device" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError):
        export._put_in_place(exported / "absent", exported, exported.with_name("replaced"))
    assert files(exported.parent) == before
