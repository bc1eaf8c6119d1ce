"""Work spread over processes that stops at the first error and at Ctrl-C."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from threading import Thread, current_thread, main_thread
from typing import TypeVar

import SimpleITK as sitk
from tqdm import tqdm

from scribble_conversion.console import UserError

Job = TypeVar("Job")
Result = TypeVar("Result")
DEFAULT_PROCESSES = 8
DEFAULT_PROCESSES_VARIABLE = "nnUNet_def_n_proc"


def number_of_processes(asked: int | None, jobs: int) -> int:
    """Choose how many processes to use.

    Args:
        asked: the user's ``-np``; None for nnU-Net's default (the variable ``nnUNet_def_n_proc``, else 8).
        jobs: how many jobs there are.

    Returns:
        At least 1, at most one per job; the default is also at most one per core.

    Raises:
        UserError: if the number asked for, or the variable, is not a positive integer.
    """
    if asked is not None:
        if asked < 1:
            raise UserError(f"-np has to be at least 1, got {asked}")
        return min(asked, max(jobs, 1))
    text = os.environ.get(DEFAULT_PROCESSES_VARIABLE, str(DEFAULT_PROCESSES))
    if not text.strip().isdecimal() or int(text) < 1:
        raise UserError(
            f"{DEFAULT_PROCESSES_VARIABLE} has to be a positive integer, got '{text}'; correct that variable"
        )
    return min(int(text), max(jobs, 1), os.cpu_count() or 1)


def run_all(function: Callable[[Job], Result], jobs: Sequence[Job], processes: int, title: str) -> list[Result]:
    """Apply ``function`` to all jobs, with a progress bar where stderr is a terminal.

    Args:
        function: a module's function; it and the jobs have to be picklable.
        jobs: its arguments.
        processes: how many processes; with 1 everything happens in this one.
        title: what the progress bar says.

    Returns:
        The results in the order of the jobs.

    Raises:
        UserError: if a worker process dies.
        BaseException: the first that a job raises; no job runs any more when it arrives.
    """
    if processes == 1:
        return [function(job) for job in tqdm(jobs, desc=title, disable=None)]
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(processes, mp_context=context, initializer=_start_worker)
    try:
        with _interrupts_held_back():  # the workers start here
            futures = [executor.submit(function, job) for job in jobs]
        for future in tqdm(as_completed(futures), desc=title, total=len(futures), disable=None):
            future.result()
        return [future.result() for future in futures]
    except BrokenProcessPool as error:
        raise UserError("a worker process died, perhaps for want of memory; use fewer processes (-np 1)") from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Deliver Ctrl-C and SIGTERM only afterwards, so that a few steps are all taken or none."""
    if current_thread() is not main_thread():
        yield
        return
    pending: list[int] = []
    # Blocking the signals would not do: another thread may take them, and this one has to handle them all the same.
    previous = {
        number: signal.signal(number, lambda signum, frame: pending.append(signum))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if pending:
            signal.raise_signal(pending[0])


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Deliver Ctrl-C only afterwards; processes started meanwhile never see it, it is for their parent to end them."""
    if not hasattr(signal, "pthread_sigmask"):  # not a POSIX system
        yield
        return
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent process, end with it, and use one thread per process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_parent, daemon=True).start()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
