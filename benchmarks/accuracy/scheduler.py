"""Runs several trainings at once, each in a process of its own, until all are done or the time is up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from benchmarks.accuracy.jobs import Job, run_folder
from benchmarks.accuracy.store import FAILED, JUDGED, TRAINED, RunFolder, read_json, write_json
from benchmarks.accuracy.train import STOPPED
from scribble_conversion.console import UserError

ROOT = Path(__file__).resolve().parents[2]
POLL_SECONDS = 0.5
GRACE_SECONDS = 20.0
INTERRUPTED = (STOPPED, -signal.SIGTERM, 128 + signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGINT)


@dataclass(frozen=True)
class Options:
    """How to run.

    Attributes:
        jobs: trainings at a time.
        device: ``cpu``, ``cuda`` or ``mps``.
        workers: loader processes of each training.
        compiled: let nnU-Net use torch.compile.
        stop_at: time (seconds since 1970) by which everything is to have ended; None for no limit.
        references: dense labels to judge with, None to judge later.
        retry_failed: run again what failed before.
        any_code: count finished trainings of other code with the same settings.
    """

    jobs: int = 1
    device: str = "cpu"
    workers: int = 1
    compiled: bool = False
    stop_at: float | None = None
    references: Path | None = None
    retry_failed: bool = False
    any_code: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a session left: runs done, failed (label, reason) and still to do, of all there are."""

    done: int
    failed: tuple[tuple[str, str], ...]
    to_do: int


def run_jobs(jobs: Sequence[Job], output: Path, options: Options) -> Outcome:
    """Train, predict and judge what is not done yet, in a folder in which nobody else works (``alone``).

    Args:
        jobs: all jobs; those that share a run are run once.
        output: where the runs' folders are.
        options: how to run.

    Returns:
        What is done, failed and left. A failure ends nothing but its own training, and is not repeated.
    """
    unique = list({job.run: job for job in reversed(jobs)}.values())[::-1]
    with _interruptible():
        waiting, done, failed = _sort(unique, output, options)
        running: dict[str, tuple[Job, subprocess.Popen[bytes]]] = {}
        with tqdm(total=len(unique), initial=done, desc="trainings", unit="run") as bar:
            try:
                while waiting or running:
                    if options.stop_at is not None and time.time() >= options.stop_at:
                        break
                    while waiting and len(running) < options.jobs:
                        job = waiting.pop(0)
                        running[job.run] = (job, _start(job, run_folder(output, job.run, options.any_code), options))
                        bar.set_postfix_str("; ".join(job.label for job, _ in running.values()))
                    time.sleep(POLL_SECONDS)
                    for run, (job, process) in list(running.items()):
                        status = process.poll()
                        if status is None:
                            continue
                        del running[run]
                        _end_group(process)
                        if status == 0:
                            done += 1
                            bar.update()
                        elif status in INTERRUPTED:
                            continue
                        else:
                            reason = run_folder(output, run, options.any_code).record_failure(status)
                            failed.append((job.label, reason))
                            tqdm.write(f"failed: {job.label}: {reason}")
                        bar.set_postfix_str("; ".join(job.label for job, _ in running.values()))
            finally:
                _stop([process for _, process in running.values()])
    return Outcome(done, tuple(failed), len(unique) - done - len(failed))


def _sort(jobs: Sequence[Job], output: Path, options: Options) -> tuple[list[Job], int, list[tuple[str, str]]]:
    """Jobs to run, how many are done, and those that failed before."""
    waiting, done, failed = [], 0, []
    for job in jobs:
        folder = run_folder(output, job.run, options.any_code)
        state = folder.state()
        if state == JUDGED or (state == TRAINED and options.references is None):
            done += 1
        elif state == FAILED and not options.retry_failed:
            failed.append((job.label, f"{_reason(folder)} (failed before; again with --retry-failed)"))
        else:
            waiting.append(job)
    return waiting, done, failed


def _reason(folder: RunFolder) -> str:
    return str(read_json(folder.failure_file)["last_line"])


def _start(job: Job, folder: RunFolder, options: Options) -> subprocess.Popen[bytes]:
    folder.failure_file.unlink(missing_ok=True)
    if not folder.definition_file.is_file():
        write_json(folder.definition_file, job.definition)
    folder.results.mkdir(exist_ok=True)
    # not -m, which looks into the current folder first, where another checkout may be
    program = f"import sys; sys.path[0] = {str(ROOT)!r}; from benchmarks.accuracy.train import main; sys.exit(main())"
    line = [sys.executable, "-c", program, str(folder.path.resolve()), "--parent", str(os.getpid())]
    if options.stop_at is not None:
        line += ["--stop-at", str(options.stop_at)]
    if options.references is not None:
        line += ["--references", str(options.references)]
    with folder.log.open("ab") as log:
        return subprocess.Popen(
            line,
            env=environment(os.environ, folder, options),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def environment(base: Mapping[str, str], folder: RunFolder, options: Options) -> dict[str, str]:
    """The variables of one training's process."""
    merged = {
        **base,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), base.get("PYTHONPATH", "")])),
        "PYTHONUNBUFFERED": "1",
        "MPLBACKEND": "Agg",
        "nnUNet_results": str(folder.results.resolve()),
        "nnUNet_n_proc_DA": str(options.workers),
        "nnUNet_def_n_proc": str(max(1, options.workers)),
        "nnUNet_compile": "t" if options.compiled else "f",
    }
    merged.pop("nnUNet_raw", None)  # judged here, with the references named
    merged.pop("OMP_THREAD_LIMIT", None)  # torch hangs with it
    if options.device == "cpu":
        merged.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")
    return merged


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    end = time.monotonic() + GRACE_SECONDS
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, end - time.monotonic()))
        _end_group(process)
        process.wait()


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End what a training may have left: loader's and predictor's workers."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def alone(output: Path) -> Iterator[None]:
    """Be the only one who changes a plan and trains in ``output``.

    Raises:
        UserError: another process works there.
    """
    import fcntl

    output.mkdir(parents=True, exist_ok=True)
    with (output / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"another process works in {output}; wait for it, or name another --output") from error
        yield


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end the trainings as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
