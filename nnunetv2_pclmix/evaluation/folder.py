"""Judging a folder of predictions against a folder of dense references."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from tqdm import tqdm

from nnunetv2_pclmix.evaluation.case import CaseScores, LabelValue, judge_case, label_integers
from nnunetv2_pclmix.evaluation.report import DenseEvaluation
from scribble_conversion.console import UserError

Job = tuple[str, Path, Path, dict[str, LabelValue], "int | None"]


def evaluate_folder(
    predictions: Path,
    references: Path,
    labels: Mapping[str, LabelValue],
    *,
    file_ending: str = ".nii.gz",
    num_processes: int = 1,
    ignore_label: int | None = None,
    progress: bool = True,
    require_all: bool = False,
    require_references: bool = True,
) -> DenseEvaluation:
    """Compute Dice and HD95 of every structure in every predicted case.

    Distances are taken in three dimensions over the whole volume, in millimetres and in voxels. How empty structures
    count is told in :func:`nnunetv2_pclmix.evaluation.metrics.structure_scores` and in the result's notes.

    Args:
        predictions: folder of predicted label files; every file with ``file_ending`` is judged.
        references: folder of dense label files of the same names; it may hold more cases.
        labels: structure names and their integers (regions: several integers), as in nnU-Net's ``dataset.json``;
            background (0) and the ignore label may be among them and are not judged.
        file_ending: ending of the label files.
        num_processes: worker processes; with 1, everything happens in this process.
        ignore_label: integer whose voxels in the reference are not judged; an entry of ``labels`` called ``ignore``
            has the same effect.
        progress: show a progress bar.
        require_all: insist on a prediction for every reference.
        require_references: insist on a reference for every prediction; otherwise those without are left out.

    Returns:
        The scores, with cases in order of their names.

    Raises:
        UserError: a folder or file is missing, two files do not lie on one grid, or a file holds unknown labels.
    """
    structures, ignore_label = structures_of(labels, ignore_label)
    predicted = _files_by_case(predictions, file_ending, "predictions")
    dense = _files_by_case(references, file_ending, "references")
    lonely = tuple(sorted(predicted.keys() - dense.keys()))
    if lonely and (require_references or len(lonely) == len(predicted)):
        raise UserError(f"{predicted[lonely[0]]} has no reference {references / (lonely[0] + file_ending)}")
    unpredicted = tuple(sorted(dense.keys() - predicted.keys()))
    if require_all and unpredicted:
        raise UserError(
            f"{len(unpredicted)} of {len(dense)} references have no prediction in {predictions}, "
            f"{unpredicted[0]} to begin with (--allow-missing judges the others)"
        )
    judged = sorted(predicted.keys() & dense.keys())
    jobs: list[Job] = [(name, predicted[name], dense[name], structures, ignore_label) for name in judged]
    done = tqdm(_judge_all(jobs, num_processes), total=len(jobs), desc="evaluating", unit="case", disable=not progress)
    cases = sorted(done, key=lambda case: case.name)
    return DenseEvaluation(tuple(cases), tuple(structures), unpredicted, lonely)


def structures_of(
    labels: Mapping[str, LabelValue], ignore_label: int | None
) -> tuple[dict[str, LabelValue], int | None]:
    """Split nnU-Net's label names into the structures to be judged and the ignore label."""
    if ignore_label is None and "ignore" in labels:
        ignore_label = label_integers(labels["ignore"])[0]
    structures = {name: value for name, value in labels.items() if label_integers(value) not in ((0,), (ignore_label,))}
    if not structures:
        raise UserError(f"there is no foreground structure among the labels {list(labels)}")
    return structures, ignore_label


def _files_by_case(folder: Path, file_ending: str, role: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"the folder of {role}, {folder}, does not exist")
    files = {
        path.name[: -len(file_ending)]: path
        for path in folder.iterdir()
        if path.name.endswith(file_ending) and not path.name.startswith(".")
    }
    if not files:
        raise UserError(f"the folder of {role}, {folder}, holds no file that ends in {file_ending}")
    return files


def _judge_all(jobs: list[Job], num_processes: int) -> Iterator[CaseScores]:
    """Judge the jobs, in any order; the workers are spawned because the caller may have CUDA or threads in use."""
    workers = min(num_processes, len(jobs))
    if workers <= 1:
        yield from (judge_case(*job) for job in jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_use_one_thread) as pool:
        futures = [pool.submit(judge_case, *job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a worker was killed, most likely for want of memory; use fewer processes (-np; after a training: "
                "nnUNet_def_n_proc)"
            ) from error
        finally:
            for future in futures:
                future.cancel()


def _use_one_thread() -> None:
    import torch

    torch.set_num_threads(1)
