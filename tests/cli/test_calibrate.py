"""``nnUNetv2_pclmix calibrate`` on a trained phantom model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_pclmix import calibrate, calibration, held_out
from nnunetv2_pclmix.calibration import Calibration, HeldOut, fit_offsets
from nnunetv2_pclmix.cli import main
from scribble_conversion.console import UserError
from tests.conftest import CHOICE, CONFIGURATION, DATASET, FINAL, PLANS, TRAINED, Workspace

COMMAND = ["calibrate", *CHOICE, "-device", "cpu"]
CALIBRATED = "checkpoint_calibrated.pth"


def weights(model: Path, name: str) -> dict[str, torch.Tensor]:
    return torch.load(model / "fold_0" / name, weights_only=False)["network_weights"]


def logits(model: Path, name: str, image: torch.Tensor) -> torch.Tensor:
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), ("0",), name)
    return predictor.predict_logits_from_preprocessed_data(image).float()


def test_only_the_last_biases_move_and_logits_by_as_much(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = calibration.calibrate  # random last weights have nothing to gain
    monkeypatch.setattr(calibration, "calibrate", lambda *cases, **kind: real(*cases, **kind)._replace(helps=True))
    assert main(COMMAND) == 0
    told = capsys.readouterr().out
    report = json.loads((trained / "fold_0" / "calibration.json").read_text())
    assert list(report["offsets"]) == ["background", "RV", "MYO", "LV"]
    assert report["offsets"]["background"] == 0
    assert list(report["dice_on_labelled_voxels"]) == ["RV", "MYO", "LV"]
    for name, offset in report["offsets"].items():
        assert f"{name:10}   offset {offset:+6.2f}" in told
    assert f"Written: {trained / 'fold_0' / CALIBRATED}" in told

    offsets = torch.tensor(list(report["offsets"].values()))
    before, after = weights(trained, FINAL), weights(trained, CALIBRATED)
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert list(before) == list(after)
    last = max(name for name in before if name.startswith("decoder.seg_layers") and name.endswith("bias"))
    assert moved == [last]
    assert (after[last] - before[last]).numpy() == pytest.approx(offsets.numpy(), abs=1e-5)

    image = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 2, 70, 80))).float()
    first, second = (logits(trained, name, image) for name in (FINAL, CALIBRATED))
    assert torch.allclose(second, first + offsets.view(-1, 1, 1, 1), atol=0.05)  # nnU-Net sums them in half precision
    assert not list(trained.rglob("*.partial"))


def test_the_offsets_are_those_of_the_scribbles_of_held_out_cases(trained: Path, workspace: Workspace) -> None:
    """Once more from the preprocessed files, without the command's reading of them."""
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

    assert main(COMMAND) == 0
    report = json.loads((trained / "fold_0" / "calibration.json").read_text())
    folder = workspace.preprocessed / PlansManager(workspace.plans()).get_configuration(CONFIGURATION).data_identifier
    cases = sorted(path.stem for path in folder.glob("patient003*.pkl"))
    assert report["cases"] == cases
    dataset = infer_dataset_class(str(folder))(str(folder), cases)
    voxels = []
    for case in cases:
        data, labels, _, _ = dataset.load_case(case)
        predicted = logits(trained, FINAL, torch.from_numpy(np.array(data[:]))).numpy()
        known = [(z, y, x) for z, y, x in np.ndindex(labels.shape[1:]) if 0 <= labels[0, z, y, x] < 4]
        scores = np.array([predicted[:, z, y, x] for z, y, x in known], float)
        members = np.array([[labels[0, z, y, x] == value for value in range(4)] for z, y, x in known])
        voxels.append(HeldOut(torch.from_numpy(scores), torch.from_numpy(members)))
    expected = fit_offsets(voxels, exclusive=True)
    assert list(report["offsets"].values()) == pytest.approx(expected.tolist(), abs=1e-3)


def test_export_and_prediction_take_the_calibrated_checkpoint(trained: Path, workspace: Workspace) -> None:
    assert main(COMMAND) == 0
    assert main(["export", *CHOICE, "-chk", CALIBRATED]) == 0
    exported = trained.with_name(f"nnUNetTrainer__{PLANS}__{CONFIGURATION}")
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 2, 64, 64))).float()
    assert torch.equal(logits(trained, CALIBRATED, image), logits(exported, CALIBRATED, image))


def test_offsets_that_do_not_help_are_left_out(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    none = np.array([np.nan, 0.9, 0.9, np.nan])
    result = Calibration(torch.tensor([0.0, 1.0, 2.0, 0.0]).double(), none, none, helps=False)
    monkeypatch.setattr(calibration, "calibrate", lambda *_, **__: result)
    assert main(COMMAND) == 0
    assert "They do not help" in capsys.readouterr().out
    before, after = weights(trained, FINAL), weights(trained, CALIBRATED)
    assert all(torch.equal(before[name], after[name]) for name in before)
    report = json.loads((trained / "fold_0" / "calibration.json").read_text())
    assert not report["helps"]
    assert report["dice_on_labelled_voxels"]["LV"] == {"before": None, "after": None}


def test_fold_all_is_left_out(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(trained / "fold_0", trained / "fold_all")
    assert main(COMMAND) == 0
    assert "Left out: fold all holds no cases out" in capsys.readouterr().out
    assert not (trained / "fold_all" / CALIBRATED).exists()
    assert main([*COMMAND, "-f", "all"]) == 1
    assert "fold all holds no cases out" in capsys.readouterr().err


def test_mistakes(trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fails(*arguments: str, saying: str) -> None:
        assert main([*COMMAND, *arguments]) == 1
        assert saying in capsys.readouterr().err
        assert not list(trained.rglob(CALIBRATED))
        assert not list(trained.rglob("calibration.json"))

    fails("-chk", CALIBRATED, saying="is what this command writes")
    fails("-f", "3", saying="fold_3 has no checkpoint_final.pth")
    fails("-tr", "nnUNetTrainerNobody", saying="there is no such training")
    shutil.copytree(trained / "fold_0", trained / "fold_1")
    fails("-f", "0", "1", saying="has 1 folds, none for fold_1")
    (trained / "fold_1" / FINAL).write_bytes(b"half")
    monkeypatch.setattr(calibrate, "_held_out", lambda *_: ["patient003_frame01", "nobody"])
    fails("-f", "1", saying="is no whole checkpoint of nnU-Net")
    fails("-f", "0", saying="lacks nobody, which was held out")
    monkeypatch.setattr(calibrate, "_held_out", lambda *_: [])
    fails("-f", "0", saying="holds out 0 cases with labelled voxels, two are needed")
    fails("-chk", str(trained / "fold_0" / FINAL), saying="expected the name of a file in the folders of the folds")
    plans = (trained / "plans.json").rename(trained / "hidden.json")
    fails("-f", "0", saying="plans.json does not exist")
    plans.rename(trained / "plans.json")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    fails("-device", "cuda", saying="add -device cpu")
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    fails("-device", "mps", saying="add -device cpu")
    content = torch.load(trained / "fold_0" / FINAL, weights_only=False)
    torch.save({**content, "trainer_name": "nnUNetTrainerNobody"}, trained / "fold_0" / FINAL)
    fails("-f", "0", saying="nnU-Net cannot use")
    content["network_weights"] = {"last.bias": torch.zeros(4)}
    torch.save(content, trained / "fold_0" / FINAL)
    fails("-f", "0", saying="has no decoder.seg_layers with biases")


def test_what_the_splits_do_not_say(
    trained: Path, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(calibrate, "_preprocessed", lambda _: tmp_path)
    assert main(COMMAND) == 1
    assert "splits_final.json does not exist, so nobody can tell which cases were held out" in capsys.readouterr().err
    for other in ({"0": {}}, [1], [{"train": ["a"]}]):
        (tmp_path / "splits_final.json").write_text(json.dumps(other))
        assert main(COMMAND) == 1
        assert "splits_final.json holds no splits of nnU-Net; restore" in capsys.readouterr().err
    splits = [{"train": ["a", "b"], "val": ["b", "c"]}]
    (tmp_path / "splits_final.json").write_text(json.dumps(splits))
    assert main(COMMAND) == 1
    assert "trains fold 0 with b, which it also holds out" in capsys.readouterr().err


def test_strokes_of_structures_alone_weigh_nothing_against_background(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = held_out.labelled_voxels

    def without_background(*arguments: object) -> HeldOut | None:
        found = real(*arguments)
        kept = ~found.members[:, 0]
        return HeldOut(found.logits[kept], found.members[kept])

    monkeypatch.setattr(held_out, "labelled_voxels", without_background)
    assert main(COMMAND) == 1
    assert "holds out no stroke of the background" in capsys.readouterr().err
    assert not list(trained.rglob(CALIBRATED))


def test_each_fold_is_calibrated_by_its_own_cases(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained / "fold_0", trained / "fold_1")
    frames = ["patient003_frame01", "patient003_frame09"]
    others = ["patient001_frame01", "patient002_frame01"]
    monkeypatch.setattr(calibrate, "_held_out", lambda _, fold: frames if fold == "0" else others)
    monkeypatch.setattr(held_out, "predict_cases", _made_up_cases)
    assert main(COMMAND) == 0
    reports = [json.loads((trained / f"fold_{fold}" / "calibration.json").read_text()) for fold in (0, 1)]
    assert [report["cases"] for report in reports] == [frames, others]
    assert reports[0]["offsets"] != reports[1]["offsets"]
    assert all((trained / f"fold_{fold}" / CALIBRATED).is_file() for fold in (0, 1))


def _made_up_cases(predictor: object, model: Path, preprocessed: Path, names: list[str]) -> Iterator[held_out.Case]:
    for name in names:
        rng = np.random.default_rng([*name.encode()])
        yield held_out.Case(
            name,
            torch.from_numpy(rng.normal(size=(4, 2, 9, 9))).float(),
            torch.from_numpy(rng.integers(0, 5, (2, 9, 9))),
            {},
        )


def test_a_training_elsewhere(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = tmp_path / "elsewhere" / DATASET / TRAINED
    moved.parent.mkdir(parents=True)
    trained.rename(moved)
    assert main(["calibrate", "--model-folder", str(moved), "-device", "cpu"]) == 0
    assert (moved / "fold_0" / CALIBRATED).is_file()
    (moved / "fold_0" / CALIBRATED).unlink()
    monkeypatch.chdir(moved / "fold_0")
    assert main(["calibrate", "--model-folder", "..", "-device", "cpu"]) == 0
    assert (moved / "fold_0" / CALIBRATED).is_file()


def test_labelled_voxels_of_regions() -> None:
    labels = LabelManager({"background": 0, "heart": [1, 2, 3], "wall": [2], "ignore": 4}, [1, 2])
    dataset = {"labels": {"background": 0, "heart": [1, 2, 3], "wall": [2], "ignore": 4}}
    assert held_out.channel_names(dataset, labels) == ["heart", "wall"]
    truth = torch.tensor([[[-1, 0, 1], [2, 4, 3]]])
    scores = torch.arange(12.0).view(2, 1, 2, 3)
    found = held_out.labelled_voxels(held_out.Case("a", scores, truth, {}), labels, np.random.default_rng(0))
    assert found is not None
    assert found.logits.tolist() == [[1, 7], [2, 8], [3, 9], [5, 11]]
    assert found.members.tolist() == [[False, False], [True, False], [True, True], [True, False]]
    unlabelled = held_out.Case("b", scores, torch.full((1, 2, 3), 4), {})
    assert held_out.labelled_voxels(unlabelled, labels, np.random.default_rng(0)) is None


def test_a_prediction_of_regions_is_what_nnunet_makes_of_it() -> None:
    """The second region is predicted, and its voxels belong to the first one, too."""
    labels = LabelManager({"background": 0, "heart": [1, 2, 3], "wall": [2], "ignore": 4}, [1, 2])
    logits = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
    found = held_out.predicted_members(logits, labels)
    assert found.tolist() == [[False, False], [True, False], [True, True], [True, True]]
    classes = LabelManager({"background": 0, "RV": 1, "LV": 2, "ignore": 3}, None)
    logits = torch.tensor([[3.0, 1, 2], [1, 3, 2], [1, 2, 3]])
    assert torch.equal(held_out.predicted_members(logits, classes), torch.eye(3, dtype=torch.bool))


def test_a_cascade_sees_what_its_earlier_stage_predicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, preprocessed = tmp_path / "T__P__3d_cascade_fullres", tmp_path / "preprocessed"
    image, earlier = np.random.default_rng(0).normal(size=(1, 2, 3, 3)), np.array([[[0, 1, 2]] * 3] * 2)

    class Dataset:
        def __init__(self, folder: str, names: list[str], previous: str) -> None:
            assert folder == str(preprocessed / "data")
            assert previous == str(tmp_path / "T__P__3d_lowres" / "predicted_next_stage" / "3d_cascade_fullres")

        def load_case(self, name: str) -> tuple:
            if name != "a":
                raise FileNotFoundError(name)
            return image, np.zeros((1, 2, 3, 3), np.int8), earlier, {"name": name}

    monkeypatch.setattr(held_out, "infer_dataset_class", lambda _: Dataset)
    predictor = SimpleNamespace(
        configuration_manager=SimpleNamespace(data_identifier="data", previous_stage_name="3d_lowres"),
        label_manager=LabelManager({"background": 0, "RV": 1, "LV": 2}, None),
        predict_logits_from_preprocessed_data=lambda data: data,
    )
    cases = held_out.predict_cases(predictor, model, preprocessed, ["a", "b"])  # type: ignore[arg-type]
    case = next(cases)
    assert case.properties == {"name": "a"}
    assert np.array_equal(case.logits, np.concatenate([image, [earlier == 1], [earlier == 2]]))
    with pytest.raises(UserError, match=r"predicted_next_stage.* lacks b, which was held out"):
        next(cases)
    with pytest.raises(UserError, match="holds no preprocessed cases"):
        monkeypatch.undo()
        next(held_out.predict_cases(predictor, model, preprocessed, ["a"]))  # type: ignore[arg-type]


def test_many_labelled_voxels_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "MOST_VOXELS", 50)
    labels = LabelManager({"background": 0, "RV": 1}, None)
    truth = torch.from_numpy(np.random.default_rng(1).integers(0, 2, (4, 10, 10)))
    case = held_out.Case("a", truth[None].float().repeat(2, 1, 1, 1), truth, {})
    samples = [held_out.labelled_voxels(case, labels, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert all(sample is not None and len(sample.logits) == 50 for sample in samples)
    assert torch.equal(samples[0].members, samples[1].members)
    assert not torch.equal(samples[0].members, samples[2].members)
    for sample in samples:
        assert torch.equal(sample.members[:, 1], sample.logits[:, 0] == 1)


def test_patients_of_cases_that_came_after_the_training(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are recorded beside the preprocessed cases alone."""
    seen: list[str] = []
    real = calibration.calibrate

    def noting(*cases: object, patients: list[str], **kind: object) -> Calibration:
        seen.extend(patients)
        return real(*cases, patients=patients, **kind)

    monkeypatch.setattr(calibration, "calibrate", noting)
    monkeypatch.setattr(calibrate, "_held_out", lambda *_: ["siteB-3-01", "siteB-3-09", "siteB-4-01"])
    monkeypatch.setattr(held_out, "predict_cases", _made_up_cases)
    monkeypatch.setattr(calibrate, "_preprocessed", lambda _: tmp_path)
    patients = {"siteB-3-01": "3", "siteB-3-09": "3", "siteB-4-01": "4"}
    file = tmp_path / "dataset.json"
    file.write_text(json.dumps({"scribbles": {"patients": patients}}))
    assert main(COMMAND) == 0
    assert seen == ["3", "3", "4"]
    assert "of a single patient" not in capsys.readouterr().out
    file.write_text(json.dumps({"scribbles": {"patients": {**patients, "siteB-4-01": "3"}}}))
    assert main(COMMAND) == 0
    assert "fold 0 holds out cases of a single patient" in capsys.readouterr().out


def test_labels_that_changed_since_the_training(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = json.loads((trained / "dataset.json").read_text())["labels"]
    monkeypatch.setattr(calibrate, "_held_out", lambda *_: ["a", "b"])
    monkeypatch.setattr(calibrate, "_preprocessed", lambda _: tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {**labels, "RV": labels["LV"], "LV": labels["RV"]}}))
    assert main(COMMAND) == 1
    assert "declares other labels than" in capsys.readouterr().err
    assert not (trained / "fold_0" / CALIBRATED).exists()
