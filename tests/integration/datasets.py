"""The raw datasets of the recipe, made of real hippocampi, and small networks for their plans."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

SOURCE = "Dataset004_Hippocampus"
TWO_CHANNELS = "Dataset994_Hippocampus_two_channels"
CONVERSIONS = {
    998: "nnunetv2.dataset_conversion.datasets_for_integration_tests.Dataset998_IntegrationTest_Hippocampus_ignore",
    996: "nnunetv2.dataset_conversion.datasets_for_integration_tests."
    "Dataset996_IntegrationTest_Hippocampus_regions_ignore",
}
"""nnU-Net's own modules, by the number of the dataset that they derive from Dataset004."""
TEST_CASES = 1
FEWEST_FEATURES, MOST_FEATURES = 8, 64


def make_hippocampus(raw: Path, data: Path, num_cases: int) -> None:
    """Write Dataset004_Hippocampus with the first ``num_cases`` cases to train and the next one to predict.

    Raises:
        ValueError: there are not as many cases.
    """
    labels = sorted((data / "labelsTr").glob("*.nii.gz"))
    if len(labels) < num_cases + TEST_CASES:
        raise ValueError(f"expected {num_cases + TEST_CASES} cases in {data}, found {len(labels)}")
    folder = raw / SOURCE
    for name in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / name).mkdir(parents=True)
    for number, label in enumerate(labels[: num_cases + TEST_CASES]):
        image = data / "imagesTr" / label.name
        case = label.name.removesuffix(".nii.gz")
        training = number < num_cases
        shutil.copyfile(image, folder / ("imagesTr" if training else "imagesTs") / f"{case}_0000.nii.gz")
        if training:
            shutil.copyfile(label, folder / "labelsTr" / label.name)
    write_json(
        folder / "dataset.json",
        {
            "channel_names": {"0": "MRI"},
            "labels": {"background": 0, "Anterior": 1, "Posterior": 2},
            "numTraining": num_cases,
            "file_ending": ".nii.gz",
        },
    )


def make_two_channels(raw: Path, source: Path) -> None:
    """Write ``TWO_CHANNELS``: a copy of the dataset ``source`` with the image, smoothed, as a second channel."""
    folder = raw / TWO_CHANNELS
    shutil.copytree(source, folder)
    for path in sorted(folder.glob("images*/*_0000.nii.gz")):
        smooth = sitk.SmoothingRecursiveGaussian(sitk.Cast(sitk.ReadImage(str(path)), sitk.sitkFloat32), 2.0)
        sitk.WriteImage(smooth, str(path).replace("_0000.nii.gz", "_0001.nii.gz"))
    with edited_json(folder / "dataset.json") as dataset:
        dataset["channel_names"] = {"0": "MRI", "1": "smoothed MRI"}


def shrink_networks(plans_file: Path) -> None:
    """Make the networks of a plans file narrow enough for a CPU; nothing else changes."""
    with edited_json(plans_file) as plans:
        for configuration in plans["configurations"].values():
            if "architecture" in configuration:
                arguments = configuration["architecture"]["arch_kwargs"]
                doubled = FEWEST_FEATURES * 2 ** np.arange(arguments["n_stages"])
                arguments["features_per_stage"] = np.minimum(doubled, MOST_FEATURES).tolist()


def write_splits(preprocessed: Path, cases: Sequence[str], num_folds: int) -> None:
    """Write a cross-validation of ``num_folds`` folds where nnU-Net reads it."""
    folds = [list(cases[fold::num_folds]) for fold in range(num_folds)]
    splits = [{"train": sorted(set(cases) - set(fold)), "val": fold} for fold in folds]
    write_json(preprocessed / "splits_final.json", splits)


@contextmanager
def edited_json(path: Path) -> Iterator[dict[str, Any]]:
    """The content of a JSON file, written back when the block ends."""
    content = json.loads(path.read_text(encoding="utf-8"))
    yield content
    write_json(path, content)


def write_json(path: Path, content: Mapping[str, Any] | Sequence[Any]) -> None:
    path.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
