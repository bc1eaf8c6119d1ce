import json
import math
from concurrent.futures.process import BrokenProcessPool
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from torch._dynamo import OptimizedModule

from nnunetv2_pclmix import judge
from nnunetv2_pclmix import trainer as trainer_module
from nnunetv2_pclmix.judge import judge_validation
from nnunetv2_pclmix.step_data import StepResult
from nnunetv2_pclmix.terms import TERMS, term_weights
from nnunetv2_pclmix.trainer import nnUNetTrainerPCLMix
from tests.evaluation.files import write_labels


def test_a_training_logs_every_term_and_writes_a_checkpoint_stock_nnunet_reads(make_trainer):
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    trainer = make_trainer(epochs=2)
    trainer.run_training()
    log = trainer.logger.local_logger.my_fantastic_logging
    for name in TERMS:
        assert len(log[f"pclmix_{name}"]) == len(log[f"pclmix_weight_{name}"]) == 2
        assert all(math.isfinite(v) for v in log[f"pclmix_{name}"])
    assert sum(log["pclmix_pseudo_label_shares"][-1]) == pytest.approx(1)
    text = Path(trainer.log_file).read_text()
    assert "mix_consistency_main" in text
    assert "share of each class: pseudo-labels background" in text

    content = torch.load(Path(trainer.output_folder) / "checkpoint_final.pth", weights_only=False)
    stock = nnUNetTrainer.build_network_architecture(
        trainer.plans_manager, trainer.configuration_manager, 1, 4, enable_deep_supervision=False
    )
    stock.load_state_dict(content["network_weights"], strict=True)
    x = torch.randn(1, 1, 64, 64)
    trainer.network.eval()
    trainer.set_deep_supervision_enabled(False)
    assert torch.equal(stock.eval()(x), trainer.network(x))


def test_terms_are_weighted_by_the_schedule(make_trainer):
    trainer = make_trainer(epochs=4, iterations=5, pclmix={"preset": "published"})
    trainer.current_epoch, trainer._step_in_epoch = 2, 0
    assert trainer.progress == 0.5
    weights = term_weights(trainer.config, trainer.progress)
    assert weights["decoder_consistency"] == pytest.approx(math.exp(-5 * 0.25))
    assert weights["mix_consistency_main"] == 1
    assert weights["mix_consistency_auxiliary"] == weights["supervised_auxiliary"] == 0.4
    assert weights["contrast"] == pytest.approx(0.1 * 0.5**0.9)


def test_published_uses_partial_cross_entropy(make_trainer):
    trainer = make_trainer(pclmix={"preset": "published"})
    trainer.initialize()
    assert "PartialCrossEntropyLoss" in str(trainer.loss)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, (0.1, 0.9, 3e-5, False)),
        ({"preset": "published"}, (0.03, 0.9, 1e-4, False)),
        ({"initial_lr": None, "momentum": None}, (0.01, 0.99, 3e-5, True)),
    ],
)
def test_the_optimiser_of_each_preset_and_nnunets(make_trainer, settings, expected):
    trainer = make_trainer(pclmix=settings)
    trainer.initialize()
    group = trainer.optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"], group["nesterov"]) == expected
    assert trainer.lr_scheduler.initial_lr == expected[0]


@pytest.mark.parametrize(
    ("settings", "axes"),
    [({}, None), ({"mirroring": True}, (0, 1)), ({"preset": "published"}, (0, 1))],
)
def test_mirroring_in_training_and_in_prediction(make_trainer, settings, axes):
    trainer = make_trainer(pclmix=settings)
    trainer.initialize()
    trainer.on_train_start()
    steps = trainer.dataloader_train.data_loader.transforms.transforms
    mirrored = [tuple(step.allowed_axes) for step in steps if isinstance(step, MirrorTransform)]
    assert mirrored == ([] if axes is None else [axes])
    trainer.save_checkpoint(str(Path(trainer.output_folder, "checkpoint_final.pth")))
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(trainer.output_folder_base, (0,))
    assert predictor.use_mirroring
    assert predictor.allowed_mirroring_axes == axes


@pytest.mark.parametrize(
    ("image", "settings", "share"),
    [
        (90, {}, 0.0),
        (91, {}, 1.0),
        (91, {"closed_world": False}, 0.0),
        (91, {"anywhere_share": 0.25}, 0.25),
        (90, {"anywhere_share": 0.25}, 0.25),
        (91, {"preset": "published"}, 0.0),
    ],
)
def test_patches_of_less_than_half_of_an_image_are_from_anywhere(make_trainer, image, settings, share):
    trainer = make_trainer(pclmix=settings)
    trainer.configuration_manager.configuration["median_image_size_in_voxels"] = [image, image]  # a patch: 64 x 64
    trainer.initialize()
    trainer.on_train_start()
    assert trainer.dataloader_train.data_loader.anywhere_share == share
    said = f"PCLMix: {100 * share:.0f} % of the patches that are not centred on a structure"
    assert (said in Path(trainer.log_file).read_text()) == (share > 0)


@pytest.mark.parametrize(("preset", "patches", "twins"), [("default", 3, 1), ("published", 2, 2)])
def test_patches_and_twins_are_as_many_as_planned(make_trainer, preset, patches, twins):
    trainer = make_trainer(pclmix={"preset": preset})
    trainer.initialize()
    trainer.on_train_start()
    batch = next(trainer.dataloader_train)
    assert trainer.batch_size == patches
    assert batch["data"].shape == (4, 1, 64, 64)
    assert batch["target"][0].shape == (4, 1, 64, 64)
    assert batch["mix_partners"].shape == (twins, 2)
    assert batch["mix_boxes"].shape == (twins, 2, 2)
    assert next(trainer.dataloader_val)["data"].shape == (4, 1, 64, 64)


def test_a_step_that_is_not_finite_is_named_and_changes_nothing(make_trainer):
    trainer = make_trainer(pclmix={"teacher_decay": 0.9})
    trainer.initialize()
    trainer.on_train_start()
    batch = next(trainer.dataloader_train)
    batch["data"][0, 0, 0, 0] = float("nan")
    weights = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    trainer.network.train()
    trainer.train_step(batch)
    assert all(torch.equal(v, weights[k]) for k, v in trainer.network.state_dict().items())
    assert all(weight.isfinite().all() for weight in trainer.teacher.parameters())
    assert not trainer.queue.filled().any()
    assert "supervised_main" in Path(trainer.log_file).read_text().split("not finite in step 0")[0].splitlines()[-1]


@pytest.mark.parametrize(
    ("batch", "ranks", "even"), [(4, 2, True), (9, 2, False), (7, 2, False), (7, 3, True), (5, 2, True)]
)
def test_unlike_shares_of_a_batch_are_refused(make_trainer, monkeypatch, batch, ranks, even):
    """By ``batch_dice``, 5 are 3 + 2 and so 2 + 1 images each."""
    trainer = make_trainer()
    trainer.is_ddp = True
    monkeypatch.setitem(trainer.configuration_manager.configuration, "batch_size", batch)
    monkeypatch.setitem(trainer.configuration_manager.configuration, "batch_dice", True)
    monkeypatch.setattr(trainer_module.dist, "get_world_size", lambda: ranks)
    monkeypatch.setattr(trainer_module.dist, "get_rank", lambda: 0)
    trainer.config = replace(trainer.config, main_supervision="ce")  # whose loss gathers nothing
    trainer._set_batch_size_and_oversample()
    trainer.config = replace(trainer.config, main_supervision="dice_ce")
    with nullcontext() if even else pytest.raises(ValueError, match=f"a multiple of {ranks}"):
        trainer._set_batch_size_and_oversample()


def test_a_sum_that_overflows_is_reported(make_trainer):
    trainer = make_trainer()
    trainer.initialize()
    none = torch.zeros(1)
    result = StepResult(torch.tensor(float("inf")), torch.ones(len(TERMS)), none, none, none, none)
    trainer._to_host(result)
    assert "the sum of all terms not finite" in Path(trainer.log_file).read_text()


def test_a_batch_without_any_scribble_gives_finite_losses_and_weights(make_trainer):
    trainer = make_trainer()
    trainer.initialize()
    trainer.on_train_start()
    batch = next(trainer.dataloader_train)
    ignore = trainer.label_manager.ignore_label
    batch["target"] = [torch.full_like(t, ignore) for t in batch["target"]]
    trainer.network.train()
    step = trainer.train_step(batch)
    assert np.isfinite(step["terms"]).all()
    assert all(p.isfinite().all() for p in trainer.network.parameters())


def test_a_vanishing_class_raises_a_warning(make_trainer):
    trainer = make_trainer()
    trainer.initialize()
    pseudo, strokes = np.array([900.0, 2.0, 5.0, 50.0]), np.array([9.0, 9.0, 9.0, 9.0])  # of 3 patches and a twin
    step = {"loss": np.float32(1), "terms": np.ones(len(TERMS)), "pseudo_counts": pseudo, "scribble_counts": strokes}
    trainer.on_train_epoch_end([step, step])
    log = Path(trainer.log_file).read_text()
    assert "WARNING: class RV is scribbled (3 voxels per patch) but is vanishing from" in log
    assert "pseudo-labels (2 voxels per image)" in log
    assert log.count("is vanishing") == 1


def test_a_dataset_without_ignore_label_is_refused_at_once(make_trainer):
    labels = {"background": 0, "RV": 1, "MYO": 2, "LV": 3}
    with pytest.raises(ValueError, match=r"needs an ignore label, but the dataset.json of Dataset511_Phantom"):
        make_trainer(change_dataset={"labels": labels})


def test_unknown_hyper_parameters_are_refused_at_once(make_trainer):
    with pytest.raises(ValueError, match="unknown hyper-parameter boxes"):
        make_trainer(pclmix={"boxes": 1})


def test_the_checkpoint_records_the_overrides(make_trainer):
    trainer = make_trainer(pclmix={"box_fraction": 0.3})
    trainer.run_training()
    content = torch.load(Path(trainer.output_folder) / "checkpoint_final.pth", weights_only=False)
    assert content["init_args"]["plans"]["pclmix"] == {"box_fraction": 0.3}
    written = json.loads((Path(trainer.output_folder_base) / "plans.json").read_text())
    assert written["pclmix"] == {"box_fraction": 0.3}


def test_a_new_training_takes_away_what_was_calibrated_of_an_earlier_one(make_trainer):
    trainer = make_trainer()
    left = [Path(trainer.output_folder) / name for name in ("checkpoint_calibrated.pth", "calibration.json")]
    for file in left:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("of an earlier training")
    trainer.run_training()
    assert not any(file.exists() for file in left)
    for file in left:
        file.write_text("of this one")
    again = make_trainer(continue_training=True)  # nothing is left to be done
    again.load_checkpoint(str(Path(trainer.output_folder) / "checkpoint_final.pth"))
    again.run_training()
    assert all(file.exists() for file in left)


def test_validation_is_judged_densely_and_says_what_nnunets_own_figure_is(make_trainer):
    trainer = make_trainer()
    trainer.run_training()
    trainer.perform_actual_validation(save_probabilities=True)
    text = Path(trainer.log_file).read_text()
    assert "Dense evaluation against" in text
    assert "scribbled voxels only" in text
    validation = Path(trainer.output_folder) / "validation"
    assert (validation / "dense_evaluation.json").is_file()
    assert list(validation.glob("*.npz"))


def test_validation_is_judged_as_far_as_there_are_references(tmp_path, monkeypatch):
    """And what an earlier validation left is gone where there are none."""
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    references, validation = tmp_path / "raw" / "Dataset005_X" / "labelsTr_dense", tmp_path / "fold_0" / "validation"
    for file in (references / "a.nii.gz", validation / "a.nii.gz", validation / "b.nii.gz"):
        write_labels(file, np.ones((2, 4, 4), np.uint8))
    description = {"labels": {"background": 0, "RV": 1, "ignore": 2}, "file_ending": ".nii.gz"}

    def judged() -> str:
        return "\n".join(judge_validation(tmp_path / "fold_0", "Dataset005_X", description))

    assert "1 predictions have no reference and were not judged" in judged()
    written = [validation / f"dense_evaluation.{kind}" for kind in ("json", "csv")]
    assert json.loads(written[0].read_text())["unreferenced"] == ["b"]
    (references / "a.nii.gz").unlink()
    assert judged().startswith("No dense evaluation")
    assert not any(file.exists() for file in written)


def test_variants_are_named_as_nnunet_names_its_own():
    import pickle

    from nnunetv2_pclmix import trainer_variants

    variant = trainer_variants.nnUNetTrainerPCLMix_20epochs
    assert issubclass(variant, nnUNetTrainerPCLMix)
    assert pickle.loads(pickle.dumps(variant)) is variant
    assert "nnUNetTrainerPCLMix_1epoch" in trainer_variants.__all__


REGIONS = {
    "labels": {"background": 0, "heart": [1, 2, 3], "left": [2, 3], "LV": 3, "ignore": 4},
    "regions_class_order": [1, 2, 3],
}


@pytest.mark.parametrize("preset", ["default", "published"])
def test_region_based_labels(make_trainer, preset):
    trainer = make_trainer(change_dataset=REGIONS, epochs=2, pclmix={"preset": preset})
    trainer.run_training()
    log = trainer.logger.local_logger.my_fantastic_logging
    assert all(math.isfinite(v) for name in TERMS for v in log[f"pclmix_{name}"])
    assert len(log["pclmix_pseudo_label_shares"][-1]) == 4  # labels, not regions
    trainer.perform_actual_validation()
    scores = json.loads((Path(trainer.output_folder) / "validation" / "dense_evaluation.json").read_text())
    assert "heart" in json.dumps(scores)


def test_mixed_supervision_draws_by_the_shares_and_says_so(make_trainer):
    trainer = make_trainer(pclmix={"unlabelled_share": 0.5}, iterations=3)
    known = trainer.get_tr_and_val_datasets()[0].identifiers
    supervision = {known[0]: "none", known[1]: "dense"}
    trainer = make_trainer(
        pclmix={"unlabelled_share": 0.5}, iterations=3, change_dataset={"scribbles": {"supervision": supervision}}
    )
    trainer.run_training()
    probabilities = trainer.dataloader_train.data_loader.sampling_probabilities
    assert dict(zip(known, probabilities, strict=True))[known[0]] == 0.5
    text = Path(trainer.log_file).read_text()
    assert "share of the patches by supervision of their case: scribble 33 %, dense 17 %, none 50 %" in text


@pytest.mark.parametrize(("fraction", "two_passes"), [(0.5, False), (0.75, False), (1.0, True)])
def test_two_passes_where_one_would_need_more_memory_than_planned(make_trainer, fraction, two_passes):
    trainer = make_trainer(pclmix={"patch_fraction": fraction})
    trainer.initialize()
    assert trainer._two_passes is two_passes


@pytest.mark.parametrize(("planned", "ranks"), [(5, 2), (9, 4), (12, 5), (14, 6), (8, 2)])
def test_all_ranks_go_through_the_network_as_often(make_trainer, monkeypatch, planned, ranks):
    """Shares of 3 and 2 would be a pass and two, in which the ranks would wait for each other."""
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: ranks)
    decisions = set()
    for rank in range(ranks):
        monkeypatch.setattr("torch.distributed.get_rank", lambda rank=rank: rank)
        trainer = make_trainer()
        trainer.configuration_manager.configuration["batch_size"] = planned
        trainer.is_ddp, trainer.local_rank = True, rank
        trainer._set_batch_size_and_oversample()
        decisions.add(trainer._two_passes)
    assert decisions == {planned // ranks == 2}


def test_unlabelled_cases_that_the_first_stage_did_not_predict_are_left_out(make_trainer, tmp_path):
    trainer = make_trainer()
    training, validation = trainer.do_split()
    trainer.is_cascaded, trainer.folder_with_segs_from_previous_stage = True, str(tmp_path / "predicted")
    trainer._supervision = {training[0]: "none", training[1]: "none"}
    assert trainer.do_split() == (training[2:], validation)
    trainer.fold = "all"  # whose validation cases are its training cases
    assert [sorted(cases) for cases in trainer.do_split()] == 2 * [sorted([*training[2:], *validation])]
    trainer.fold = 0
    (tmp_path / "predicted").mkdir()
    (tmp_path / "predicted" / f"{training[1]}.b2nd").touch()
    assert trainer.do_split() == (training[1:], validation)
    assert "leaves out 1 unlabelled cases" in Path(trainer.log_file).read_text()


@pytest.mark.parametrize("settings", [{}, {"teacher_decay": 0.9}, {"preset": "published"}])
def test_two_passes_give_the_gradients_of_one(make_trainer, settings):
    settings = {**settings, "seed": 1, "auxiliary_drop_path": 0.0, "contrast_views": 10**6}
    gradients, terms, batch = [], [], None
    for two_passes in (False, True):
        trainer = make_trainer(pclmix={**settings, "two_passes": two_passes, "contrast_anchors": 10**6})
        trainer.initialize()
        trainer.on_train_start()
        batch = batch or next(trainer.dataloader_train)
        trainer.rng = np.random.default_rng(2)  # the same coin
        trainer.current_epoch, trainer._step_in_epoch = 0, 1  # half of the training
        trainer.network.train()
        trainer._update_weights = lambda: True
        terms.append(trainer.train_step(batch)["terms"])
        parameters = trainer.network.named_parameters()  # nnU-Net's lowest deep supervision weight is 0: no gradient
        gradients.append({name: p.grad.clone() for name, p in parameters if p.grad is not None})
        assert len(next(trainer.dataloader_val)["data"]) == (trainer.batch_size if two_passes else 4)
    assert terms[1] == pytest.approx(terms[0], rel=1e-4, abs=1e-6)
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradients[1][name], gradient, rtol=1e-3, atol=1e-5), name


@pytest.mark.parametrize("two_passes", [False, True])
def test_the_network_learns_what_its_teacher_says(make_trainer, two_passes):
    settings = {"teacher_decay": 0.9, "two_passes": two_passes, "closed_world": False, "appearance_weight": 0.0}
    trainer = make_trainer(pclmix={**settings, "pseudo_label_weight": 0.0})  # so that strokes have no say
    trainer.initialize()
    trainer.on_train_start()
    trainer.current_epoch, trainer._step_in_epoch = 0, 1  # half of the training
    with torch.no_grad():
        for layer in (trainer.teacher.network.decoder.seg_layers[-1], trainer.teacher.network.auxiliary_decoder.expand):
            layer.bias[2] = 1e3
    counts = trainer.train_step(next(trainer.dataloader_train))["pseudo_counts"]
    assert counts.tolist() == [0, 0, trainer.num_twins * 64 * 64, 0]


@pytest.mark.parametrize("change", [{}, REGIONS])
def test_a_training_with_a_compiled_objective_gives_the_same_losses(make_trainer, change):
    losses = []
    for compiled in (False, True):
        torch._dynamo.reset()
        trainer = make_trainer(change_dataset=change, epochs=2, iterations=2, pclmix={"seed": 1})
        trainer.initialize()
        if compiled:
            trainer.objective.compile(backend="aot_eager")
        trainer.run_training()
        losses.append(trainer.logger.local_logger.my_fantastic_logging["train_losses"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.parametrize("compiles", [False, True])
def test_the_objective_is_compiled_where_nnunet_compiles(make_trainer, monkeypatch, compiles):
    calls = []
    monkeypatch.setattr("nnunetv2_pclmix.objective.PCLMixObjective.compile", lambda self: calls.append(self))
    trainer = make_trainer(pclmix={"teacher_decay": 0.9})
    monkeypatch.setattr(trainer, "_do_i_compile", lambda: compiles)
    trainer.initialize()
    assert calls == ([trainer.objective] if compiles else [])
    assert isinstance(trainer._ask_teacher, OptimizedModule) is compiles


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), BrokenProcessPool("killed"), MemoryError()])
def test_what_fails_in_the_judging_is_told(tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    (tmp_path / "raw" / "Dataset005_X" / "labelsTr_dense").mkdir(parents=True)
    monkeypatch.setattr(judge, "evaluate_folder", fail)
    (line,) = judge_validation(tmp_path, "Dataset005_X", {"labels": {"background": 0, "RV": 1}, "file_ending": ".png"})
    assert line.startswith(f"No dense evaluation: {error or 'too little memory'}. Mind")


def test_the_queue_has_room_for_more_patches_than_planned(make_trainer, monkeypatch):
    trainer, sizes = make_trainer(pclmix={"patch_fraction": 2.0}), []
    monkeypatch.setattr(trainer_module, "gather_for_queue", lambda vectors, valid, size: sizes.append(size) or [0, 0])
    monkeypatch.setattr(trainer_module.dist, "get_world_size", lambda: 1)
    trainer._set_batch_size_and_oversample()
    trainer.is_ddp, trainer.queue = True, SimpleNamespace(enqueue=lambda *_: None)
    true = torch.tensor(True)
    trainer._enqueue(SimpleNamespace(queue_vectors=torch.zeros(1), queue_valid=true), true)
    assert sizes[0] >= trainer.batch_size > trainer.configuration_manager.batch_size
