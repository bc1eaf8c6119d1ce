"""A training that was killed continues as if nothing had happened."""

from pathlib import Path

import pytest
import torch

from nnunetv2_pclmix import checkpoint


def _losses(trainer):
    log = trainer.logger.local_logger.my_fantastic_logging
    names = [k for k in log if k.startswith("pclmix")] + ["train_losses", "val_losses", "mean_fg_dice"]
    return {k: [str(x) for x in log[k]] for k in names}


def test_an_interrupted_training_equals_an_uninterrupted_one_bit_for_bit(make_trainer):
    pclmix = {"seed": 7, "queue_length": 5, "teacher_decay": 0.9}
    whole = make_trainer(epochs=4, iterations=3, pclmix=pclmix)
    whole.run_training()

    class Killed(Exception):
        pass

    interrupted = make_trainer(epochs=4, iterations=3, pclmix=pclmix)
    interrupted.save_every = 2
    end = interrupted.on_epoch_end

    def end_and_die():
        end()
        if interrupted.current_epoch == 3:
            raise Killed

    interrupted.on_epoch_end = end_and_die
    with pytest.raises(Killed):
        interrupted.run_training()
    latest = Path(interrupted.output_folder) / "checkpoint_latest.pth"

    torch.manual_seed(123)
    again = make_trainer(epochs=4, iterations=3, pclmix=pclmix, continue_training=True)
    again.load_checkpoint(str(latest))
    assert again.current_epoch == 2
    again.run_training()

    assert _losses(again) == _losses(whole)
    for mine, theirs in zip(again.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    for mine, theirs in zip(again.teacher.parameters(), whole.teacher.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert again.teacher.updates == whole.teacher.updates == 1 + 4 * 3
    assert torch.equal(again.queue.features, whole.queue.features)


def test_a_training_keeps_the_optimiser_it_began_with(make_trainer):
    nnunets = {"initial_lr": None, "momentum": None}
    first = make_trainer(epochs=2, iterations=1, pclmix=nnunets)
    first.initialize()
    first.current_epoch = 1
    file = str(Path(first.output_folder) / "checkpoint_latest.pth")
    first.save_checkpoint(file)
    again = make_trainer(epochs=2, iterations=1, continue_training=True)
    again.load_checkpoint(file)
    again.lr_scheduler.step(1)
    group = again.optimizer.param_groups[0]
    assert (group["momentum"], group["nesterov"]) == (0.99, True)
    assert group["lr"] == pytest.approx(0.01 * 0.5**0.9)
    told = "momentum 0.99 and weight decay 3e-05 it began with, initial learning rate 0.01"
    assert told not in Path(again.log_file).read_text()  # it may be there for --val
    again.on_train_start()
    assert told in Path(again.log_file).read_text()
    assert "as it is set now" not in Path(again.log_file).read_text()

    same = make_trainer(epochs=2, iterations=1, pclmix={**nnunets, "initial_lr": 0.02}, continue_training=True)
    same.load_checkpoint(file)
    assert same.initial_lr == same.lr_scheduler.initial_lr == 0.02
    same.on_train_start()
    told = "initial learning rate 0.02 as it is set now (it began with 0.01)"
    assert told in Path(same.log_file).read_text()


@pytest.mark.parametrize(
    "setting",
    [{"auxiliary_window": 3}, {"embedding_dimension": 8}, {"queue_length": 5}, {"auxiliary_depth": 1}],
)
def test_training_parts_of_another_size_are_refused_but_for_validation(make_trainer, setting):
    first = make_trainer(epochs=2, iterations=1)
    first.initialize()
    first.current_epoch = 1
    file = str(Path(first.output_folder) / "checkpoint_latest.pth")
    first.save_checkpoint(file)
    again = make_trainer(epochs=2, iterations=1, pclmix=setting, continue_training=True)
    again.load_checkpoint(file)
    again.perform_actual_validation()
    assert (Path(again.output_folder) / "validation" / "summary.json").is_file()
    with pytest.raises(RuntimeError, match=r"checkpoint in .*fold_0.* other sizes .*train anew without --c"):
        again.run_training()


def test_other_ranks_keep_streams_of_their_own(make_trainer):
    """What was saved are the first one's."""
    trainer = make_trainer()
    trainer.initialize()
    file = str(Path(trainer.output_folder) / "checkpoint_latest.pth")
    trainer.save_checkpoint(file)
    state = checkpoint.load(file)
    torch.manual_seed(1)
    expected = torch.rand(3)
    for rank, own in ((1, True), (0, False)):
        trainer.local_rank = rank
        torch.manual_seed(1)
        trainer._restore_random_streams(state)
        assert torch.equal(torch.rand(3), expected) == own


def test_other_ranks_do_not_begin_anew(make_trainer):
    trainer = make_trainer(pclmix={"seed": 5})
    trainer.initialize()
    trainer.on_train_start()
    file = str(Path(trainer.output_folder) / "checkpoint_latest.pth")
    trainer.save_checkpoint(file)
    state = checkpoint.load(file)
    trainer.local_rank, drawn = 1, []
    for trainer.current_epoch in (0, 1, 1):
        trainer._restore_random_streams(state)
        drawn.append((torch.rand(1).item(), trainer.dataloader_train.data_loader.rng.random()))
    assert drawn[1] == drawn[2]
    assert not set(drawn[0]) & set(drawn[1])


def test_different_seeds_differ(make_trainer):
    first, second = (make_trainer(epochs=1, iterations=2, pclmix={"seed": seed}) for seed in (1, 2))
    for trainer in (first, second):
        trainer.run_training()
    assert _losses(first) != _losses(second)


def test_a_kill_while_saving_leaves_the_previous_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint_latest.pth"

    def save_stock(file):
        torch.save({"network_weights": {"a": torch.ones(1)}}, file)

    checkpoint.save(save_stock, path, {"step": 1})
    real = torch.save

    def die_half_way(content, file, *args, **kwargs):
        if hasattr(file, "name") and str(file.name).endswith(".partial"):
            file.write(b"half a checkpoint")
            raise KeyboardInterrupt
        return real(content, file, *args, **kwargs)

    monkeypatch.setattr(torch, "save", die_half_way)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(save_stock, path, {"step": 2})
    assert checkpoint.load(str(path)) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_pretrained_weights_of_a_stock_training_are_accepted_and_the_other_way_round(make_trainer, tmp_path):
    from nnunetv2.run.load_pretrained_weights import load_pretrained_weights
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    stock, mine = make_trainer(nnUNetTrainer), make_trainer()
    for trainer in (stock, mine):
        trainer.initialize()
        trainer.save_checkpoint(str(tmp_path / f"{type(trainer).__name__}.pth"))
    stock_weight = stock.network.encoder.stages[0][0].convs[0].conv.weight
    load_pretrained_weights(mine.network, str(tmp_path / "nnUNetTrainer.pth"))
    assert torch.equal(mine.network.encoder.stages[0][0].convs[0].conv.weight, stock_weight)
    load_pretrained_weights(stock.network, str(tmp_path / "nnUNetTrainerPCLMix.pth"))


def test_the_teacher_begins_with_pretrained_weights(make_trainer, tmp_path):
    from nnunetv2.run.load_pretrained_weights import load_pretrained_weights

    first, second = make_trainer(), make_trainer(pclmix={"teacher_decay": 0.9})
    first.initialize()
    first.save_checkpoint(str(tmp_path / "first.pth"))
    second.initialize()
    load_pretrained_weights(second.network, str(tmp_path / "first.pth"))
    second.on_train_start()
    for mine, theirs in zip(second.teacher.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_checkpoint_without_a_teacher_continues_with_one(make_trainer):
    earlier = make_trainer()
    earlier.run_training()
    assert earlier.teacher is None
    later = make_trainer(pclmix={"teacher_decay": 0.9}, continue_training=True)
    later.load_checkpoint(str(Path(earlier.output_folder) / "checkpoint_final.pth"))
    later.on_train_start()
    for mine, theirs in zip(later.teacher.network.parameters(), earlier.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    without = make_trainer(continue_training=True)
    later.save_checkpoint(str(Path(later.output_folder) / "with.pth"))
    without.load_checkpoint(str(Path(later.output_folder) / "with.pth"))
    assert without.teacher is None
