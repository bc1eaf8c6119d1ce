"""One training and one validation step with every kind of plan that nnU-Net makes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nnunetv2_pclmix.dataloading.loader import PCLMixDataLoader, mix_of_batch
from nnunetv2_pclmix.dataloading.mix import apply_mix
from nnunetv2_pclmix.trainer import nnUNetTrainerPCLMix
from tests.trainer import tiny_dataset
from tests.trainer.tiny_dataset import TinyPlan

ISOTROPIC = [[1, 1, 1], [2, 2, 2], [2, 2, 2]]
PLANE = [[1, 1], [2, 2], [2, 2], [2, 2]]
KINDS = {
    "3d": TinyPlan((16, 16, 16), ISOTROPIC, batch_size=4),
    "batch of two": TinyPlan((16, 16, 16), ISOTROPIC, batch_size=2),
    "patch larger than the image": TinyPlan((24, 24, 24), ISOTROPIC, image_size=(20, 22, 18)),
    # slices five times as thick as their pixels: no kernel, pooling or augmentation across them at first
    "anisotropic": TinyPlan(
        (6, 40, 40),
        [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2]],
        [[1, 3, 3], [1, 3, 3], [3, 3, 3], [3, 3, 3]],
        image_size=(8, 48, 44),
    ),
    # 9 x 11 and 18 x 22 tokens for a window of 7
    "2d, not divisible by the window": TinyPlan((72, 88), PLANE, image_size=(3, 80, 90), batch_size=4),
    "3d, not divisible by the window": TinyPlan(
        (20, 36, 44), ISOTROPIC, image_size=(20, 36, 44), pclmix={"auxiliary_attention_stride": 4}
    ),
    "two stages": TinyPlan((16, 16, 16), ISOTROPIC[:2]),
    "residual encoder, 2d": TinyPlan((32, 32), PLANE, image_size=(3, 40, 40), batch_size=4, residual=True),
    "residual encoder, 3d": TinyPlan((16, 16, 16), ISOTROPIC, residual=True),
    "two channels": TinyPlan((16, 16, 16), ISOTROPIC, channels=2),
    "30 classes": TinyPlan((16, 16, 16), ISOTROPIC, classes=30),
    "cascade": TinyPlan((16, 16, 16), ISOTROPIC, cascade=True),
    "cascade of two channels": TinyPlan((16, 16, 16), ISOTROPIC, channels=2, classes=4, cascade=True),
}


@pytest.fixture
def make_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    torch.set_num_threads(1)
    for name in ("preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")
    monkeypatch.setenv("nnUNet_compile", "f")

    def make(plan: TinyPlan) -> nnUNetTrainerPCLMix:
        tiny_dataset.write(plan, tmp_path / "preprocessed", tmp_path / "results", nnUNetTrainerPCLMix.__name__)
        return tiny_dataset.make_trainer(plan, nnUNetTrainerPCLMix)

    return make


PUBLISHED = ("anisotropic", "two stages", "residual encoder, 3d", "cascade")


@pytest.mark.parametrize(
    ("kind", "preset"), [*((kind, "default") for kind in KINDS), *((kind, "published") for kind in PUBLISHED)]
)
def test_a_step_of_training_and_one_of_validation(make_trainer, kind, preset):
    plan = KINDS[kind]
    trainer = make_trainer(replace(plan, pclmix={**plan.pclmix, "preset": preset, "seed": 1}))
    trainer.initialize()
    training, validation = trainer.get_dataloaders()
    batch = next(training)
    patches, twins = trainer.batch_size, trainer.num_twins
    if preset == "default":
        assert patches + twins == max(plan.batch_size, 3)
    structures = plan.classes - 1
    assert batch["data"].shape == (patches + twins, plan.channels + structures * plan.cascade, *plan.patch_size)
    assert trainer._grey_channels() == plan.channels
    assert list(trainer.objective.spacing) == list(trainer.configuration_manager.spacing)
    target = batch["target"] if trainer.enable_deep_supervision else [batch["target"]]
    assert target[0].shape == (patches + twins, 1, *plan.patch_size)
    mix = mix_of_batch(batch)
    for values in (batch["data"], *target):
        assert torch.equal(values[patches:], apply_mix(values[:patches], mix))

    trainer.current_epoch = trainer.num_epochs // 2  # all terms count
    before = {name: values.clone() for name, values in trainer.network.named_parameters()}
    trainer.network.train()
    step = trainer.train_step(batch)
    assert np.isfinite(step["loss"])
    assert np.isfinite(step["terms"]).all()
    assert len(step["pseudo_counts"]) == plan.classes
    assert step["pseudo_counts"].sum() == twins * np.prod(plan.patch_size)
    after = dict(trainer.network.named_parameters())
    assert all(values.isfinite().all() for values in after.values())
    for part in ("encoder", "decoder", "auxiliary_decoder"):
        assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith(f"{part}."))
    assert trainer.queue.filled().any()
    trainer.network.eval()
    result = trainer.validation_step(next(validation))
    assert np.isfinite(result["loss"])
    assert len(result["tp_hard"]) == structures


def test_thick_slices_are_augmented_one_by_one(make_trainer):
    trainer = make_trainer(KINDS["anisotropic"])
    assert trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()[1]


def test_the_segmentation_of_the_previous_stage_is_mixed_along_with_the_image(make_trainer):
    trainer = make_trainer(KINDS["cascade"])
    trainer.initialize()
    dataset, _ = trainer.get_tr_and_val_datasets()
    labels = trainer.label_manager
    transforms = trainer.get_validation_transforms(
        None, is_cascaded=True, foreground_labels=labels.foreground_labels, ignore_label=labels.ignore_label
    )
    patch = trainer.configuration_manager.patch_size
    loader = PCLMixDataLoader(dataset, 3, patch, patch, labels, transforms=transforms, box_fraction=0.3)
    np.random.seed(0)  # noqa: NPY002  nnU-Net draws from it
    batch = next(loader)
    image, first_class, second_class = batch["data"].unbind(1)
    # as tiny_dataset made it; where there is no image, there is nothing
    assert torch.equal(first_class, (image > 0).float())
    assert not second_class.any()
    partners, boxes = batch["mix_partners"], batch["mix_boxes"]
    (inside, outside), ((z, _), (y, _), (x, _)) = partners[0].tolist(), boxes[0].tolist()
    assert first_class[3, z, y, x] == first_class[inside, z, y, x]
    window = tuple(slice(*axis) for axis in boxes[0].tolist())
    elsewhere = torch.ones(tuple(patch), dtype=torch.bool)
    elsewhere[window] = False
    assert torch.equal(first_class[3][elsewhere], first_class[outside][elsewhere])
    assert torch.equal(first_class[3][window], first_class[inside][window])
    assert first_class[3].any()


def test_a_cascade_continues_from_its_checkpoint(make_trainer, tmp_path):
    trainer = make_trainer(KINDS["cascade"])
    trainer.initialize()
    trainer.save_checkpoint(str(tmp_path / "checkpoint.pth"))
    again = tiny_dataset.make_trainer(KINDS["cascade"], nnUNetTrainerPCLMix)
    again.load_checkpoint(str(tmp_path / "checkpoint.pth"))
    for mine, theirs in zip(again.network.parameters(), trainer.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_network_of_one_stage_is_refused_at_once(make_trainer):
    with pytest.raises(ValueError, match="needs a network of two stages at least, but the plans ask for one"):
        make_trainer(TinyPlan((16, 16, 16), ISOTROPIC[:1]))


def test_a_network_without_an_encoder_to_share_is_refused_at_once(make_trainer, monkeypatch):
    built = "nnunetv2.training.nnUNetTrainer.nnUNetTrainer.get_network_from_plans"
    monkeypatch.setattr(built, lambda *_, **__: torch.nn.Conv3d(1, 3, 1))
    with pytest.raises(ValueError, match=r"needs a U-Net with an encoder .* but the plans ask for Conv3d"):
        make_trainer(KINDS["3d"])
