"""Trainings of the instrument on phantoms: complete, continued, stopped, failed."""

import json
import os
import shutil
import time
from dataclasses import replace

import pytest
import torch
from torch.utils._pytree import tree_flatten

from benchmarks.accuracy import cli, fingerprint, scheduler, train
from benchmarks.accuracy.grid import read_grid
from benchmarks.accuracy.jobs import Job, make_jobs, run_folder
from benchmarks.accuracy.scheduler import Options, alone, environment, run_jobs
from benchmarks.accuracy.store import BEGUN, FAILED, JUDGED, RunFolder, write_json
from benchmarks.accuracy.trainers import TimeIsUp, images_per_step
from scribble_conversion.console import UserError
from tests.benchmarks.conftest import COST


def test_a_grid_from_plan_to_table(workspace, write_grid, tmp_path, capsys):
    grid, output = str(write_grid()), tmp_path / "out"
    assert cli.main(["plan", grid, "--output", str(output)]) == 0
    assert "2 trainings: 2 to do" in capsys.readouterr().out

    assert cli.main(["run", grid, "--output", str(output), "--jobs", "2"]) == 0
    assert "2 trainings done, 0 failed, 0 to do" in capsys.readouterr().out
    rows = {row["name"]: row for row in json.loads((output / "main.json").read_text())["rows"]}
    assert rows["stock"]["cost"]["images"] == 8  # 2 steps of 4
    assert rows["mine"]["cost"]["images"] == 8
    assert rows["mine"]["cost"]["patches"] == 6  # 3 of the 4 are patches, the last is a mixed twin
    assert rows["mine"]["difference"]["dice"]["cases"] == 2
    assert rows["mine"]["cost"]["training_seconds"] > 0
    assert rows["mine"]["cost"]["peak_bytes"] > 2**26
    assert (output / "main.md").is_file()
    assert (output / "main.png").is_file()
    runs = sorted((output / "runs").iterdir())
    logs = [RunFolder(path).log.read_text() for path in runs]
    for path in runs:
        assert [p.name for p in path.rglob("checkpoint*")] == ["checkpoint_final.pth"]

    assert cli.main(["run", grid, "--output", str(output)]) == 0  # all done: nothing runs
    assert [RunFolder(path).log.read_text() for path in runs] == logs

    scores = RunFolder(runs[0]).scores_file
    before = scores.read_text()
    scores.unlink()  # as if there had been no references
    capsys.readouterr()
    assert cli.main(["judge", str(output), "--references", str(workspace.raw / "labelsTr_dense")]) == 0
    assert "1 trainings judged, 0 not trained yet" in capsys.readouterr().out
    assert scores.read_text() == before


@pytest.mark.parametrize("row", ["stock", "mine", "partial CE"])
def test_the_seed_fixes_a_training(trainer_of, monkeypatch, row):
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")  # the worker has to be seeded as well
    weights = []
    for index, seed in enumerate((1, 1, 2)):
        trainer, run = trainer_of(row, seed=seed, folder=f"run{index}")
        train.train(trainer, run)
        weights.append(torch.cat([p.detach().flatten() for p in trainer.network.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_partial_ce_differs_from_stock_in_the_loss_alone(trainer_of):
    partial, _ = trainer_of("partial CE")
    stock, _ = trainer_of("stock")
    for trainer in (partial, stock):
        trainer.initialize()
    assert type(partial.loss.loss).__name__ == "PartialCrossEntropyLoss"
    assert tuple(partial.loss.weight_factors) == tuple(stock.loss.weight_factors)
    for one, other in zip(partial.network.parameters(), stock.network.parameters(), strict=True):
        assert torch.equal(one, other)
    assert images_per_step(partial) == images_per_step(stock) == (4, 4)


@pytest.mark.parametrize(("row", "axes"), [("stock", (0, 1)), ("without mirroring", None), ("mine", None)])
def test_which_rows_mirror(trainer_of, row, axes):
    trainer, _ = trainer_of(row)
    assert trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()[-1] == axes
    assert trainer.inference_allowed_mirroring_axes == axes


@pytest.mark.parametrize("row", ["stock", "mine"])
def test_bfloat16_while_training_and_float32_while_predicting(trainer_of, row):
    trainer, _ = trainer_of(row, precision="bfloat16")
    trainer.initialize()
    inside = []
    first = next(m for m in trainer.network.modules() if isinstance(m, torch.nn.Conv2d))
    first.register_forward_hook(lambda module, args, output: inside.append(output.dtype))
    images = torch.randn(2, 1, *trainer.configuration_manager.patch_size)
    trained = tree_flatten(trainer.network.train()(images))[0]
    assert inside == [torch.bfloat16]
    assert {output.dtype for output in trained} == {torch.float32}
    sum(output.square().mean() for output in trained).backward()
    assert {p.grad.dtype for p in trainer.network.parameters() if p.grad is not None} == {torch.float32}
    predicted = trainer.network.eval()(images)
    assert inside[1:] == [torch.float32]
    assert 0 < (predicted[0] - trained[0]).norm() < 0.05 * predicted[0].norm()


@pytest.mark.parametrize(
    ("precision", "known", "told"), [("bfloat16", False, True), ("bfloat16", True, False), ("float32", False, False)]
)
def test_a_processor_without_bfloat16_is_told_of(
    workspace, write_grid, tmp_path, capsys, monkeypatch, precision, known, told
):
    def no_training(*_):
        raise UserError("nothing is trained here")

    monkeypatch.setattr(scheduler, "run_jobs", no_training)
    monkeypatch.setattr(cli, "_has_bfloat16", lambda: known)
    grid = str(write_grid(precision=precision))
    assert cli.main(["run", grid, "--output", str(tmp_path / "out")]) == 1
    assert ("without --precision it is many times faster" in capsys.readouterr().err) == told


def test_what_the_processor_knows_is_asked():
    assert cli._has_bfloat16() in (True, False)


@pytest.mark.parametrize(("precision", "inside"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_teacher_computes_as_the_network_trains(trainer_of, precision, inside):
    trainer, _ = trainer_of("taught", precision=precision)
    trainer.initialize()
    seen = []
    first = next(m for m in trainer.teacher.modules() if isinstance(m, torch.nn.Conv2d))
    first.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    said = trainer.teacher(torch.randn(2, 1, *trainer.configuration_manager.patch_size))
    assert seen == [inside]
    assert {logits.dtype for logits in said} == {torch.float32}


def test_a_training_stops_in_time_and_continues(trainer_of):
    trainer, run = trainer_of("mine", epochs=2)
    trainer.stop_at = time.time()
    with pytest.raises(TimeIsUp):
        train.train(trainer, run)
    folder = run.results / "Dataset511_Phantom"
    assert [p.name for p in folder.rglob("checkpoint*")] == ["checkpoint_latest.pth"]

    trainer, run = trainer_of("mine", epochs=2)
    train.train(trainer, run)
    assert trainer.current_epoch == 2
    assert [p.name for p in folder.rglob("checkpoint*")] == ["checkpoint_final.pth"]
    result = train.result_of(trainer, run, 1.0)
    assert (result["steps"], result["images"], result["sessions"]) == (4, 16, 2)

    again, run = trainer_of("mine", epochs=2)  # as if it had been killed while it predicted
    train.train(again, run)
    assert again.dataloader_train is None
    for one, other in zip(again.network.parameters(), trainer.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_training_whose_parent_is_gone_stops(trainer_of):
    trainer, run = trainer_of(epochs=2)
    trainer.parent = os.getpid()  # not the parent of this process
    with pytest.raises(TimeIsUp):
        train.train(trainer, run)


def _broken(name="broken"):
    run = f"{name}-{fingerprint.of_code('nnUNetTrainer')}"
    return Job("main", name, 0, 1, {"device": "cpu", "trainer": "nnUNetTrainer", "run": run}, run)


def test_a_failure_is_recorded_and_not_repeated(tmp_path):
    job = _broken()
    outcome = run_jobs([job], tmp_path, Options())
    folder = run_folder(tmp_path, job.run)
    assert folder.state() == FAILED
    assert outcome.failed == (("broken, seed 1", "KeyError: 'plans'"),)
    log = folder.log.read_text()
    outcome = run_jobs([job], tmp_path, Options())
    assert "failed before" in outcome.failed[0][1]
    assert folder.log.read_text() == log
    run_jobs([job], tmp_path, Options(retry_failed=True))
    assert len(folder.log.read_text()) > len(log)


def test_time_that_is_up_ends_what_runs_and_begins_nothing(tmp_path):
    jobs = [_broken(name) for name in ("one", "two")]
    assert run_jobs(jobs, tmp_path / "a", Options(stop_at=time.time() - 1)).to_do == 2
    assert not (tmp_path / "a" / "runs").exists()
    outcome = run_jobs(jobs, tmp_path / "b", Options(stop_at=time.time() + 0.6))  # while the first one still imports
    assert (outcome.done, outcome.failed, outcome.to_do) == (0, (), 2)
    assert run_folder(tmp_path / "b", jobs[0].run).state() == BEGUN


def test_two_commands_in_one_folder(tmp_path):
    import fcntl

    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another process works in"), alone(tmp_path):
            raise AssertionError


def test_another_run_leaves_the_plan_of_the_one_at_work(workspace, write_grid, tmp_path, capsys):
    grid, output = str(write_grid()), tmp_path / "out"
    with alone(output):
        write_json(output / "plan.json", {"of": "the other"})
        for command in ("plan", "run"):
            assert cli.main([command, grid, "--output", str(output)]) == 1
            assert "another process works in" in capsys.readouterr().err
    assert json.loads((output / "plan.json").read_text()) == {"of": "the other"}


def test_code_that_is_not_the_planned_trains_nothing(workspace, write_grid, tmp_path):
    job = make_jobs(read_grid(write_grid()), "cpu")[0]
    other = f"{job.run.split('-')[0]}-abcdef"
    outcome = run_jobs([replace(job, run=other, definition={**job.definition, "run": other})], tmp_path, Options())
    assert (
        "the code is another than when this training was planned; run the grid again (--retry-failed)"
        in outcome.failed[0][1]
    )
    assert not list(tmp_path.rglob("*.pth"))


def test_the_training_is_of_this_checkout_wherever_one_stands(tmp_path, monkeypatch):
    other = tmp_path / "benchmarks" / "accuracy"
    other.mkdir(parents=True)
    for package in (other.parent, other):
        (package / "__init__.py").touch()
    (other / "train.py").write_text("raise SystemExit('the other checkout')")
    monkeypatch.chdir(tmp_path)
    outcome = run_jobs([_broken()], tmp_path / "out", Options())
    assert outcome.failed == (("broken, seed 1", "KeyError: 'plans'"),)


def test_a_finished_training_that_could_not_note_what_it_took(trainer_of):
    trainer, run = trainer_of()
    train.train(trainer, run)
    run.resources_file.unlink()  # as if it had been killed at the end of its training
    result = train.result_of(trainer, run, 1.0)
    assert result["sessions"] == 1
    assert result["peak_bytes"] > 2**26


def test_a_workers_copy_of_the_lock_does_not_hold_it(tmp_path):
    import fcntl

    lock = train._locked(tmp_path / "lock")
    ready, end = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.write(ready[1], b"x")
        os.read(end[0], 1)
        os._exit(0)
    try:
        os.read(ready[0], 1)
        lock.close()
        with (tmp_path / "lock").open("w") as again:
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.write(end[1], b"x")
        os.waitpid(child, 0)


def test_the_processes_variables(tmp_path):
    base = {"nnUNet_raw": "raw", "OMP_THREAD_LIMIT": "1", "PYTHONPATH": "mine"}
    cpu = environment(base, RunFolder(tmp_path), Options(workers=3))
    assert not {"nnUNet_raw", "OMP_THREAD_LIMIT"} & set(cpu)
    assert (cpu["OMP_NUM_THREADS"], cpu["nnUNet_n_proc_DA"], cpu["nnUNet_compile"]) == ("1", "3", "f")
    assert cpu["PYTHONPATH"].endswith(f"{os.pathsep}mine")
    assert cpu["nnUNet_results"] == str(tmp_path / "results")
    assert "OMP_NUM_THREADS" not in environment({}, RunFolder(tmp_path), Options(device="cuda"))


def test_predictions_that_are_not_all_there_are_not_judged(workspace, tmp_path, write_grid, capsys):
    output = tmp_path / "out"
    assert cli.main(["plan", str(write_grid()), "--output", str(output)]) == 0
    job = make_jobs(read_grid(write_grid()), "cpu")[0]
    folder = run_folder(output, job.run)
    write_json(folder.definition_file, job.definition)
    write_json(folder.result_file, {**COST, "machine": "abacus", "predictions": "predictions"})
    (folder.path / "predictions").mkdir()
    references = workspace.raw / "labelsTr_dense"
    assert cli.main(["judge", str(output), "--references", str(references)]) == 1
    assert "lacks the prediction of patient003_frame" in capsys.readouterr().err
    for case in job.definition["validation"]:
        shutil.copy(references / f"{case}.nii.gz", folder.path / "predictions")
    assert cli.main(["judge", str(output), "--references", str(references)]) == 0
    assert folder.state() == JUDGED
