"""Raw datasets with scribbles and labelsTr_dense, for the benchmarks that let rules loose on labels that are right."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from nnunetv2.paths import nnUNet_raw
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets
from tqdm import tqdm

from nnunetv2_pclmix.evaluation.case import label_integers
from nnunetv2_pclmix.evaluation.dataset_labels import read_dataset_labels
from nnunetv2_pclmix.evaluation.volume import read_labels

Labels = npt.NDArray[np.int64]


class Case(NamedTuple):
    """Files of the images, one for each channel, and (z, y, x) labels."""

    images: Sequence[str]
    scribbles: Labels
    dense: Labels


class Scribbled(NamedTuple):
    """A dataset: its folder, label of each structure, ignore label and files of its cases, as nnU-Net has them."""

    folder: Path
    structures: dict[str, int]
    ignore: int
    files: list[dict]

    def cases(self) -> Iterator[Case]:
        """Read one after the other."""
        for files in tqdm(self.files, unit="case"):
            label = Path(files["label"])
            pair = (read_labels(file) for file in (label, self.folder / "labelsTr_dense" / label.name))
            yield Case(files["images"], *(volume.labels.astype(np.int64) for volume in pair))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which dataset, and how much of it."""
    parser.add_argument("-d", required=True, metavar="ID", help="raw dataset with labelsTr_dense, without regions")
    parser.add_argument("--slices", action="store_true", help="in 2D: each slice along the first array axis by itself")
    parser.add_argument("--every", type=int, default=1, help="take each case of that many")


def open_dataset(args: argparse.Namespace) -> Scribbled:
    """The dataset that the arguments name."""
    folder = Path(nnUNet_raw, maybe_convert_to_dataset_name(args.d))
    labels = read_dataset_labels(folder / "dataset.json").labels
    structures = {n: label_integers(v)[0] for n, v in labels.items() if n not in ("background", "ignore")}
    (ignore,) = label_integers(labels["ignore"])
    files = list(get_filenames_of_train_images_and_targets(str(folder)).values())[:: args.every]
    return Scribbled(folder, structures, ignore, files)
