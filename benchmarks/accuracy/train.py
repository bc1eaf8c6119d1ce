"""One training in a process of its own: ``python -m benchmarks.accuracy.train RUN_FOLDER``. Continues where it was.

Ends with 0 when the training and the predictions are complete, with ``STOPPED`` when its time was up.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from benchmarks.accuracy import fingerprint
from benchmarks.accuracy.judging import judge_run
from benchmarks.accuracy.store import RunFolder, read_json, write_json
from benchmarks.accuracy.trainers import Measured, TimeIsUp, epoch_seconds, images_per_step, make_trainer
from scribble_conversion.console import UserError

STOPPED = 75


def main(argv: Sequence[str] | None = None) -> int:
    """Train, predict the validation cases, judge them where there are references."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--stop-at", type=float)
    parser.add_argument("--parent", type=int)
    parser.add_argument("--references", type=Path)
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(STOPPED))  # ends the loader's workers, too
    folder = RunFolder(args.run)
    lock = _locked(folder.path / "lock")
    definition = folder.definition()
    if definition["device"] == "cpu":
        torch.set_num_threads(1)
        torch.set_num_interop_threads(1)
    if not folder.result_file.is_file():
        _require_planned_code(definition)
        trainer = make_trainer(definition)
        trainer.stop_at, trainer.parent = args.stop_at, args.parent
        try:
            train(trainer, folder)
        except TimeIsUp:
            print("Stopped: the next epoch would end too late. It continues from checkpoint_latest.pth.", flush=True)
            return STOPPED
        finally:
            _finish_loaders(trainer)
        started = time.perf_counter()
        trainer.perform_actual_validation(False)
        write_json(folder.result_file, result_of(trainer, folder, time.perf_counter() - started))
    if args.references is not None:
        judge_run(folder, args.references)
    lock.close()
    return 0


def train(trainer: Measured, folder: RunFolder) -> None:
    """Train from the latest checkpoint, or from the start, to the last epoch, and note the memory it took.

    Raises:
        TimeIsUp: the trainer's time is up.
    """
    for name in ("checkpoint_final.pth", "checkpoint_latest.pth"):
        checkpoint = Path(trainer.output_folder) / name
        if checkpoint.is_file():
            trainer.load_checkpoint(str(checkpoint))
            print(f"Continuing from {checkpoint} with epoch {trainer.current_epoch}", flush=True)
            break
    if trainer.current_epoch >= trainer.num_epochs:
        return
    try:
        trainer.run_training()
    finally:
        before = read_json(folder.resources_file) if folder.resources_file.is_file() else {}
        peak = max(before.get("peak_bytes", 0), peak_bytes(trainer.device))
        write_json(folder.resources_file, {"peak_bytes": peak, "sessions": before.get("sessions", 0) + 1})


def _resources(folder: RunFolder, device: torch.device) -> dict[str, int]:
    """What ``train`` noted; what this process took where one that was killed could not."""
    if folder.resources_file.is_file():
        return read_json(folder.resources_file)
    return {"peak_bytes": peak_bytes(device), "sessions": 1}


def _require_planned_code(definition: Mapping[str, Any]) -> None:
    """Make sure that the sources are still those that the run's name tells of.

    Raises:
        UserError: they have been edited since, or others are imported.
    """
    planned = definition["run"].split("-")[-1]
    if fingerprint.of_code(definition["trainer"]) != planned:
        raise UserError("the code is another than when this training was planned; run the grid again (--retry-failed)")


def peak_bytes(device: torch.device) -> int:
    """Most memory so far: allocated on a CUDA device, else held by this process, without the loader's workers."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.is_file():  # unlike getrusage, it does not count what the parent process held
        line = next(line for line in status.read_text("utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def result_of(trainer: Measured, folder: RunFolder, prediction_seconds: float) -> dict[str, Any]:
    """What the table shows beside the scores, and what the training ran on."""
    steps = trainer.num_epochs * trainer.num_iterations_per_epoch
    patches, images = images_per_step(trainer)
    cuda = trainer.device.type == "cuda"
    return {
        "steps": steps,
        "patches": steps * patches,
        "images": steps * images,
        "training_seconds": sum(epoch_seconds(trainer)),
        "prediction_seconds": prediction_seconds,
        **_resources(folder, trainer.device),
        "machine": torch.cuda.get_device_name(trainer.device) if cuda else processor_name(),
        "versions": {name: version(name) for name in ("nnunetv2", "torch", "batchgeneratorsv2")},
        "predictions": str((Path(trainer.output_folder) / "validation").resolve().relative_to(folder.path.resolve())),
    }


def processor_name() -> str:
    """The processor's model where Linux tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _finish_loaders(trainer: Measured) -> None:
    for augmenter in (trainer.dataloader_train, trainer.dataloader_val):
        if hasattr(augmenter, "_finish"):
            augmenter._finish()


def _locked(path: Path) -> Any:
    """Wait until no other process trains in this folder, for instance one whose parent was killed."""
    import fcntl

    file = path.open("w")
    os.register_at_fork(after_in_child=file.close)  # a loader's worker that is left over must not hold it
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


if __name__ == "__main__":
    sys.exit(main())
