"""The grown strokes of preprocessed cases: made once, kept beside the cases, read instead of the strokes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset
from numpy.typing import NDArray
from tqdm import tqdm

from nnunetv2_pclmix.stroke_growing.random_walker import DENSE_SHARE, grow_strokes

VERSION = 1  # of the algorithm; raise it when its results change
MANY_VOXELS = 2**22  # fewer are grown sooner than further processes have started


@dataclass(frozen=True)
class Growth:
    """How strokes are grown, see ``grow_strokes``; cases grown in another way are grown again.

    Attributes:
        ignore_label: value of unlabelled voxels.
        beta: how much edges stop the walker.
        certainty: least probability of a label that is written.
        slicewise: each slice along the first axis by itself, for 2D trainings.
        spacing: distance of voxels along each axis.
    """

    ignore_label: int
    beta: float
    certainty: float
    slicewise: bool
    spacing: tuple[float, ...]

    @property
    def name(self) -> str:
        """Folder name that tells this way of growing from others."""
        return f"{'2d' if self.slicewise else '3d'}_beta_{self.beta:g}_certainty_{self.certainty:g}_v{VERSION}"

    def __call__(self, image: NDArray[np.floating], strokes: NDArray[np.integer]) -> NDArray[np.integer]:
        """(channels, z, y, x) grey values and (z, y, x) strokes to (z, y, x) labels."""
        how = {"ignore_label": self.ignore_label, "beta": self.beta, "certainty": self.certainty}
        if not self.slicewise:
            return grow_strokes(image, strokes, spacing=self.spacing, **how)  # type: ignore[arg-type]
        spacing = self.spacing[-2:]
        slices = [grow_strokes(image[:, z], s, spacing=spacing, **how) for z, s in enumerate(strokes)]  # type: ignore[arg-type]
        return np.stack(slices)


class GrownStrokesDataset:
    """A dataset of nnU-Net's, in which grown strokes stand for the strokes of some cases.

    Attributes:
        identifiers: the dataset's cases.
        grown: the cases with grown strokes.
    """

    def __init__(self, dataset: Any, folder: Path, grown: Collection[str]) -> None:
        self.dataset = dataset
        self.identifiers = dataset.identifiers
        self.folder = folder
        self.grown = frozenset(grown)

    def load_case(self, identifier: str) -> tuple:
        """Data, segmentation, the previous stage's segmentation and properties, as nnU-Net's datasets give them."""
        data, seg, seg_prev, properties = self.dataset.load_case(identifier)
        if identifier in self.grown:
            seg = blosc2.open(str(self.folder / f"{identifier}.b2nd"), mode="r", dparams={"nthreads": 1})
        return data, seg, seg_prev, properties


def grow_cases(
    dataset: nnUNetBaseDataset, cases: Sequence[str], folder: Path, growth: Growth, processes: int
) -> GrownStrokesDataset:
    """Make the grown strokes of cases where they are not there yet, with a progress bar.

    Several trainings may do so at the same time; a file appears at once or not at all.

    Args:
        dataset: the preprocessed cases.
        cases: identifiers of those that may have strokes.
        folder: where grown strokes are kept, in a folder of their own for each way of growing. What is older than the
            preprocessed case is made again.
        growth: how to grow them.
        processes: how many may work at a time.

    Returns:
        The dataset with grown strokes in all of these cases but those with dense labels.

    Raises:
        RuntimeError: a process was killed, most likely for want of memory.
    """
    folder = folder / growth.name
    folder.mkdir(parents=True, exist_ok=True)
    missing = [case for case in cases if not _is_current(_file(folder, case), Path(dataset.source_folder), case)]
    grow = partial(_grow_case, dataset, folder, growth)
    if missing:
        first = dataset.load_case(missing[0])[1]
        few = processes < 2 or len(missing) * int(np.prod(first.shape)) < MANY_VOXELS
        _run(grow, missing, 1 if few else min(processes, len(missing)))
    return GrownStrokesDataset(dataset, folder, [case for case in cases if not _is_dense(_file(folder, case))])


def _run(grow: Any, cases: Sequence[str], processes: int) -> None:
    def watch(results: Iterable[None]) -> None:
        for _ in tqdm(results, "growing strokes", len(cases), unit="case"):
            pass

    if processes == 1:
        watch(map(grow, cases))
        return
    try:
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            watch(pool.map(grow, cases))
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a process that grows strokes was killed, most likely for want of memory; set nnUNet_def_n_proc to fewer "
            "processes than now, and train again"
        ) from error


def _grow_case(dataset: nnUNetBaseDataset, folder: Path, growth: Growth, case: str) -> None:
    data, seg, _, _ = dataset.load_case(case)
    strokes = np.asarray(seg[0])
    labelled = (strokes >= 0) & (strokes != growth.ignore_label)
    dense = bool(labelled.mean() > DENSE_SHARE)
    grown = strokes if dense else growth(np.asarray(data[:]), strokes)
    layout = {key: getattr(seg, key) for key in ("chunks", "blocks") if hasattr(seg, key)}
    file = _file(folder, case)
    own = file.with_name(f"{case}.{os.getpid()}.partial.b2nd")
    try:
        written = blosc2.asarray(np.ascontiguousarray(grown[None]), urlpath=str(own), mode="w", **layout)
        written.schunk.vlmeta["dense"] = dense
        own.replace(file)
    finally:
        own.unlink(missing_ok=True)


def _file(folder: Path, case: str) -> Path:
    return folder / f"{case}.b2nd"


def _is_current(file: Path, source: Path, case: str) -> bool:
    return file.is_file() and file.stat().st_mtime >= (source / f"{case}.pkl").stat().st_mtime


def _is_dense(file: Path) -> bool:
    labels = blosc2.open(str(file), mode="r")  # its metadata live as long as it does
    return bool(labels.schunk.vlmeta["dense"])
