"""nnU-Net's own loop on a GPU: train, continue, validate; two ranks that share the card."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from nnunetv2_pclmix.terms import TERMS
from tests.test_distributed import _two_ranks

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("pclmix", [{}, {"teacher_decay": 0.9}, {"preset": "published"}, {"patch_fraction": 1.0}])
def test_train_continue_and_validate(make_trainer, cuda, monkeypatch, pclmix):
    monkeypatch.setenv("nnUNet_compile", "f")
    trainer = make_trainer(epochs=3, iterations=4, pclmix={**pclmix, "seed": 1}, device=cuda)
    assert trainer.grad_scaler is not None
    trainer.save_every = 2
    trainer.run_training()
    log = trainer.logger.local_logger.my_fantastic_logging
    assert all(math.isfinite(v) for name in TERMS for v in log[f"pclmix_{name}"])
    assert "CUDA graph" not in Path(trainer.log_file).read_text()  # said where a step cannot be captured
    assert trainer.queue.features.is_cuda
    assert trainer.queue.written.min() > 0
    trainer.perform_actual_validation()
    assert (Path(trainer.output_folder) / "validation" / "dense_evaluation.json").is_file()
    final = str(Path(trainer.output_folder) / "checkpoint_final.pth")

    again = make_trainer(epochs=4, iterations=4, pclmix={**pclmix, "seed": 1}, device=cuda, continue_training=True)
    again.load_checkpoint(final)
    assert again.current_epoch == 3
    assert torch.equal(again.queue.features, trainer.queue.features)
    again.run_training()
    assert again.current_epoch == 4


@pytest.mark.parametrize("pclmix", [{}, {"teacher_decay": 0.9}])
def test_a_compiled_training_ends_and_its_checkpoint_is_a_plain_networks(make_trainer, cuda, monkeypatch, pclmix):
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    monkeypatch.setenv("nnUNet_compile", "t")
    trainer = make_trainer(epochs=1, iterations=3, device=cuda, pclmix=pclmix)
    trainer.run_training()
    assert isinstance(trainer.network, torch._dynamo.OptimizedModule)
    assert "CUDA graph" not in Path(trainer.log_file).read_text()
    weights = torch.load(Path(trainer.output_folder) / "checkpoint_final.pth", weights_only=False)["network_weights"]
    stock = nnUNetTrainer.build_network_architecture(
        trainer.plans_manager, trainer.configuration_manager, 1, 4, enable_deep_supervision=False
    )
    stock.load_state_dict(weights, strict=True)


def test_two_ranks_on_one_card_agree_in_weights_and_queue(tmp_path, cuda):
    first, second = _two_ranks(tmp_path, {}, [3, 2], cuda)
    assert first["queue.written"].min() > 0
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
