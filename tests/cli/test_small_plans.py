from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunetv2_pclmix.cli import main
from nnunetv2_pclmix.config import config_from_plans

STAGES = 5


def planned(*, residual: bool = False) -> dict[str, Any]:
    kind = "n_blocks_per_stage" if residual else "n_conv_per_stage"
    name = "unet.ResidualEncoderUNet" if residual else "unet.PlainConvUNet"
    architecture = {
        "network_class_name": f"dynamic_network_architectures.architectures.{name}",
        "arch_kwargs": {
            "n_stages": STAGES,
            "features_per_stage": [32, 64, 128, 256, 512],
            "conv_op": "torch.nn.modules.conv.Conv2d",
            "kernel_sizes": [[3, 3]] * STAGES,
            "strides": [[1, 1], *[[2, 2]] * (STAGES - 1)],
            kind: [2] * STAGES,
            "n_conv_per_stage_decoder": [2] * (STAGES - 1),
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    configuration = {
        "data_identifier": "nnUNetPlans_2d",
        "batch_size": 40,
        "patch_size": [256, 224],
        "median_image_size_in_voxels": [240.0, 210.0],
        "spacing": [1.5, 1.5],
        "architecture": architecture,
    }
    return {
        "dataset_name": "Dataset127_ACDC",
        "plans_name": "nnUNetPlans",
        "configurations": {"2d": configuration, "2d_child": {"inherits_from": "2d", "batch_size": 4}},
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The preprocessed folder of one dataset, planned."""
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path))
    folder = tmp_path / "Dataset127_ACDC"
    folder.mkdir()
    (folder / "nnUNetPlans.json").write_text(json.dumps(planned()))
    return folder


def test_copy_gets_a_small_configuration(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    command = "small_plans -d 127 --patch-size 224 192 --batch-size 6 --features 8 16 32 64 --name 2d_slice"
    assert main(command.split()) == 0
    assert json.loads((folder / "nnUNetPlans.json").read_text()) == planned()
    assert "nnUNetv2_train 127 2d_slice 0 -p nnUNetPlansSmall" in capsys.readouterr().out

    plans = json.loads((folder / "nnUNetPlansSmall.json").read_text())
    assert plans["plans_name"] == "nnUNetPlansSmall"
    assert plans["configurations"]["2d"] == planned()["configurations"]["2d"]
    assert "pclmix" not in plans
    small = PlansManager(plans).get_configuration("2d_slice")
    assert small.data_identifier == "nnUNetPlans_2d"
    assert (small.patch_size, small.batch_size, small.spacing) == ([224, 192], 6, [1.5, 1.5])
    assert small.network_arch_init_kwargs["features_per_stage"] == [8, 16, 32, 64]


@pytest.mark.parametrize("residual", [False, True])
def test_small_network_can_be_built_and_run(folder: Path, residual: bool) -> None:
    import torch
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    (folder / "nnUNetPlans.json").write_text(json.dumps(planned(residual=residual)))
    assert main(["small_plans", "-d", "Dataset127_ACDC", "--features", "4", "6", "8", "--patch-size", "16", "12"]) == 0
    small = json.loads((folder / "nnUNetPlansSmall.json").read_text())["configurations"]["2d_small"]
    architecture = small["architecture"]
    network = get_network_from_plans(
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
        1,
        4,
        deep_supervision=False,
    )
    assert network(torch.zeros(2, 1, 16, 12)).shape == (2, 4, 16, 12)


def test_another_spacing_gets_its_own_data(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["small_plans", "-d", "127", "--spacing", "3.0", "3.0", "--to", "Coarse", "-c", "2d_child"]) == 0
    small = json.loads((folder / "Coarse.json").read_text())["configurations"]["2d_child_small"]
    assert small["data_identifier"] == "Coarse_2d_child_small"
    assert (small["spacing"], small["median_image_size_in_voxels"]) == ([3.0, 3.0], [120.0, 105.0])
    assert "nnUNetv2_preprocess -d 127 -plans_name Coarse -c 2d_child_small" in capsys.readouterr().out


def test_hyper_parameters_are_written(folder: Path) -> None:
    assert main(["small_plans", "-d", "127", "--pclmix", "preset=published", "box_fraction=0.3"]) == 0
    plans = json.loads((folder / "nnUNetPlansSmall.json").read_text())
    assert plans["pclmix"] == {"preset": "published", "box_fraction": 0.3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("-d 12", "found none"),
        ("-d 127 -p Other", "run nnUNetv2_plan_and_preprocess"),
        ("-d 127 -c 3d", "no configuration 3d"),
        ("-d 127 --to nnUNetPlans", "must not be called nnUNetPlans"),
        ("-d 127 --to a/b", "expected a name without / and __ after --to"),
        ("-d 127 --to E__F", "expected a name without / and __ after --to"),
        ("-d 127 --name a/b", "expected a name without / and __ after --name"),
        ("-d 127 --name 2d__small", "expected a name without / and __ after --name"),
        ("-d 127 --patch-size 16 16", "is a single voxel in the last of 5 stages"),
        ("-d 127 --spacing nan 1", "2 positive values"),
        ("-d 127 --name 2d", "has a configuration 2d already"),
        ("-d 127 --name 2d_child", "has a configuration 2d_child already"),
        ("-d 127 --patch-size 100 100", "divisible by [16, 16]"),
        ("-d 127 --patch-size 32", "patch of 2 axes"),
        ("-d 127 --features 8", "2 to 5 positive features"),
        ("-d 127 --features 8 8 8 8 8 8", "2 to 5 positive features"),
        ("-d 127 --batch-size 0", "positive batch size"),
        ("-d 127 --spacing 1", "2 positive values"),
        ("-d 127 --pclmix box_fraction", "KEY=VALUE"),
        ("-d 127 --pclmix no_such_thing=1", "no_such_thing"),
        ("-d 127 --pclmix box_fraction=7", "box_fraction"),
    ],
)
def test_mistakes_are_told_in_one_line(
    folder: Path, arguments: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["small_plans", *arguments.split()]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == ["nnUNetPlans.json"]


def test_settings_of_the_configuration_do_not_overrule_those_asked_for(folder: Path) -> None:
    plans = planned()
    plans["configurations"]["2d"]["pclmix"] = {"preset": "published", "box_fraction": 0.3}
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    assert main(["small_plans", "-d", "127", "-c", "2d_child", "--pclmix", "preset=default"]) == 0
    manager = PlansManager(str(folder / "nnUNetPlansSmall.json"))
    small = manager.get_configuration("2d_child_small").configuration
    config = config_from_plans(manager.plans, small)
    assert (config.preset, config.box_fraction) == ("default", 0.3)
    assert manager.get_configuration("2d").configuration["pclmix"]["preset"] == "published"


def test_what_was_there_stays_where_the_disk_is_full(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["small_plans", "-d", "127"]) == 0
    before = (folder / "nnUNetPlansSmall.json").read_text()
    capsys.readouterr()

    def full(path: Path, text: str, **_: object) -> None:
        with path.open("w") as file:
            file.write(text[:9])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert main(["small_plans", "-d", "127", "--batch-size", "3", "--overwrite"]) == 1
    assert "nnUNetPlansSmall.json cannot be written (No space left on device)" in capsys.readouterr().err
    assert sorted(path.name for path in folder.iterdir()) == ["nnUNetPlans.json", "nnUNetPlansSmall.json"]
    assert (folder / "nnUNetPlansSmall.json").read_text() == before


@pytest.mark.parametrize("content", ["[]", "{}", '{"configurations": [1]}', '{"configurations": {"2d": 1}}'])
def test_another_json_file_is_told(folder: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "dataset.json").write_text(content)
    assert main(["small_plans", "-d", "127", "-p", "dataset"]) == 1
    assert "dataset.json holds no plans of nnU-Net" in capsys.readouterr().err


def test_a_damaged_plan_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "nnUNetPlans.json").write_text("{")
    assert main(["small_plans", "-d", "127"]) == 1
    assert "nnUNetPlans.json is no JSON" in capsys.readouterr().err


@pytest.mark.parametrize("following", ["second", ["second", "third"], None])
def test_the_first_stage_of_a_cascade_predicts_for_a_small_second_one(folder: Path, following: Any) -> None:
    plans = planned()
    first = {"inherits_from": "2d"} if following is None else {"inherits_from": "2d", "next_stage": following}
    plans["configurations"] |= {"first": first, "second": {"inherits_from": "2d", "previous_stage": "first"}}
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    assert main(["small_plans", "-d", "127", "-c", "second", "--features", "8", "8"]) == 0
    manager = PlansManager(str(folder / "nnUNetPlansSmall.json"))
    assert manager.get_configuration("second_small").previous_stage_name == "first"
    before = [following] if isinstance(following, str) else following or []
    assert manager.get_configuration("first").next_stage_names == [*before, "second_small"]


def test_existing_copy_is_kept_unless_told_otherwise(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["small_plans", "-d", "127"]) == 0
    assert main(["small_plans", "-d", "127", "--batch-size", "3"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert main(["small_plans", "-d", "127", "--batch-size", "3", "--overwrite"]) == 0
    plans = json.loads((folder / "nnUNetPlansSmall.json").read_text())
    assert plans["configurations"]["2d_small"]["batch_size"] == 3


@pytest.mark.parametrize(
    "content",
    ["[]", "{", '[{"train": [], "val": []}]', '{"plans_name": "other", "configurations": {"2d": {"batch_size": 2}}}'],
)
def test_only_copies_are_replaced(folder: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "other.json").write_text(content)
    assert main(["small_plans", "-d", "127", "--to", "other", "--overwrite"]) == 1
    assert "other.json is no copy that this command has made; name another with --to" in capsys.readouterr().err
    assert (folder / "other.json").read_text() == content


def test_settings_that_are_none_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "nnUNetPlans.json").write_text(json.dumps({**planned(), "pclmix": None}))
    assert main(["small_plans", "-d", "127", "--pclmix", "seed=1"]) == 1
    assert "expected names with values as pclmix, got None" in capsys.readouterr().err


def test_unset_folder_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("nnUNet_preprocessed", raising=False)
    assert main(["small_plans", "-d", "127"]) == 1
    assert "nnUNet_preprocessed is not set" in capsys.readouterr().err
