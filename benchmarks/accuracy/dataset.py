"""A preprocessed dataset: its plans, its cases, and whether a second one holds the same images."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.grid import Fold
from benchmarks.accuracy.store import read_json
from nnunetv2_pclmix.folders import dataset_folder
from nnunetv2_pclmix.small_plans import resolve_configuration
from scribble_conversion.console import UserError
from scribble_conversion.patients import PatientList
from scribble_conversion.recorded import known_patients
from scribble_conversion.source import Case


@dataclass(frozen=True)
class Preprocessed:
    """One dataset in ``nnUNet_preprocessed``, with one configuration of one plans file.

    Attributes:
        folder: the dataset's folder.
        plans: the plans with this one configuration, spelled out, and without any ``pclmix`` entry.
        configuration: its name.
        dataset_json: the dataset's.
    """

    folder: Path
    plans: dict[str, Any]
    configuration: str
    dataset_json: dict[str, Any]

    @property
    def data(self) -> Path:
        """Folder of the preprocessed images."""
        return self.folder / self.plans["configurations"][self.configuration]["data_identifier"]

    @cached_property
    def cases(self) -> tuple[str, ...]:
        """Identifiers of all preprocessed cases."""
        return tuple(sorted(path.stem for path in self.data.glob("*.pkl")))

    def digest(self, cases: Iterable[str]) -> str:
        """What the files of the cases are: labels by their content, others by name and size."""
        sizes = {
            path.name: path.stat().st_size for path in self.data.iterdir() if path.suffix in (".b2nd", ".npz", ".pkl")
        }
        lines = []
        for case in sorted(cases):
            for name in (f"{case}.pkl", f"{case}.b2nd", f"{case}_seg.b2nd", f"{case}.npz"):
                if name in sizes:
                    is_label = name.endswith("_seg.b2nd")  # small, and other labels often are as large
                    what = hashlib.sha256((self.data / name).read_bytes()).hexdigest() if is_label else sizes[name]
                    lines.append(f"{name} {what}")
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def with_plans_of(self, other: Preprocessed) -> Preprocessed:
        """This dataset with the other's plans, so that both train the same network."""
        plans = {**other.plans, "dataset_name": self.folder.name}
        return Preprocessed(self.folder, plans, other.configuration, self.dataset_json)


def open_preprocessed(dataset: str, plans_name: str, configuration: str) -> Preprocessed:
    """Find a preprocessed dataset.

    Raises:
        UserError: the dataset, its plans, the configuration or its data are not there, or it is a cascade's.
    """
    folder = dataset_folder("nnUNet_preprocessed", dataset)
    file = folder / f"{plans_name}.json"
    if not file.is_file():
        found = sorted(path.stem for path in folder.glob("*.json") if "configurations" in _keys(path))
        raise UserError(f"{file} does not exist; the plans there are {', '.join(found) or 'none'}")
    plans = read_json(file)
    resolved = resolve_configuration(plans, configuration)
    if resolved.get("previous_stage"):
        raise UserError(f"{configuration} is the second stage of a cascade, which this instrument does not train")
    resolved = {k: v for k, v in resolved.items() if k not in ("inherits_from", "pclmix", "next_stage")}
    # of plans that were copied by hand nnU-Net takes the name for the data's
    plans = {**plans, "dataset_name": folder.name, "configurations": {configuration: resolved}}
    plans.pop("pclmix", None)
    preprocessed = Preprocessed(folder, plans, configuration, _dataset_json(folder, "copy the raw dataset's"))
    if not preprocessed.data.is_dir() or not preprocessed.cases:
        raise UserError(
            f"{preprocessed.data} holds no preprocessed case; run nnUNetv2_preprocess -d {dataset} "
            f"-plans_name {plans_name} -c {configuration}"
        )
    return preprocessed


def dense_twin(scribbles: Preprocessed, dataset: str, cases: Sequence[str]) -> Preprocessed:
    """The dataset with the same images and dense training labels.

    Args:
        scribbles: the dataset with scribbles.
        dataset: number or name of the dense one, preprocessed for the same configuration.
        cases: cases that are trained or validated with.

    Returns:
        The dense dataset with the plans of ``scribbles``.

    Raises:
        UserError: it is not preprocessed alike, holds other cases or other images, or other labels.
    """
    folder = dataset_folder("nnUNet_preprocessed", dataset)
    cure = (
        f"preprocess dataset {dataset} with the plans of {scribbles.folder.name} "
        f"(nnUNetv2_plan_and_preprocess --no_pp, nnUNetv2_move_plans_between_datasets, nnUNetv2_preprocess)"
    )
    twin = Preprocessed(folder, {}, "", _dataset_json(folder, cure)).with_plans_of(scribbles)
    if not twin.data.is_dir():
        raise UserError(f"{twin.data} does not exist: {cure}")
    missing = sorted(set(cases) - set(twin.cases))
    if missing:
        raise UserError(f"{twin.data} lacks {len(missing)} of the {len(cases)} cases, {missing[0]} to begin with")
    if twin.dataset_json["labels"] != scribbles.dataset_json["labels"]:
        raise UserError(f"{folder.name} and {scribbles.folder.name} have different labels in their dataset.json")
    for case in (cases[0], cases[-1]):
        if not np.array_equal(_image(twin, case), _image(scribbles, case)):
            raise UserError(
                f"the image of {case} in {twin.data} is another than in {scribbles.data}; convert both from the same "
                f"images and preprocess them with the same plans"
            )
    return twin


def patients_of_fold(fold: Fold, cases: Sequence[str], dataset_json: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Training and validation cases of a fold.

    Args:
        fold: patients.
        cases: identifiers of all cases.
        dataset_json: the dataset's.

    Returns:
        Cases to train with, cases to validate with, both sorted.

    Raises:
        UserError: a side is empty, a name is nobody's, or a patient is on both sides.
    """
    known = [Case(case, patient, ()) for case, patient in zip(cases, patients_of(cases, dataset_json), strict=True)]
    validation, training = PatientList.parse(fold.validation), PatientList.parse(fold.training)
    validation.require_known(known, f"validation = '{fold.validation}'")
    training.require_known(known, f"training = '{fold.training}'")
    held_out = [case for case in known if validation.has(case)]
    patients = {case.patient for case in held_out}
    if not held_out:
        raise UserError("a fold names no validation patients; name them, e.g. validation = '81-100'")
    taught = [case for case in known if (training.has(case) if training else case.patient not in patients)]
    both = sorted(patients & {case.patient for case in taught})
    if both:
        raise UserError(f"patient {both[0]} is on both sides of the fold that validates with {fold.validation}")
    if not taught:
        raise UserError(f"nobody is left to train with in the fold that validates with {fold.validation}")
    return [case.identifier for case in taught], [case.identifier for case in held_out]


def patients_of(cases: Sequence[str], dataset_json: Mapping[str, Any]) -> list[str]:
    """Whose cases these are, as ``dataset.json`` records or names of a kind that is known tell, else a guess."""
    known, _ = known_patients([dataset_json], cases)
    return [known.get(case) or patient_of(case) for case in cases]


def patient_of(case: str) -> str:
    """A guess at whose case it is: all up to the first number (``patient021`` of ``patient021_frame01``)."""
    match = re.match(r"(.*?\d+)(?=_|$)", case)
    return match[1] if match else case


def _dataset_json(folder: Path, cure: str) -> dict[str, Any]:
    file = folder / "dataset.json"
    if not file.is_file():
        raise UserError(f"{file} does not exist: {cure}")
    return read_json(file)


def _image(dataset: Preprocessed, case: str) -> np.ndarray:
    from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class

    folder = str(dataset.data)
    return np.asarray(infer_dataset_class(folder)(folder, [case]).load_case(case)[0][:])


def _keys(path: Path) -> Iterable[str]:
    content = read_json(path)
    return content.keys() if isinstance(content, dict) else ()
