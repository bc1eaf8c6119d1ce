"""Scribbles that nnU-Net's resampling loses, measured with the plan's own function on some of the cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from nnunetv2.preprocessing.cropping.cropping import crop_to_nonzero
from nnunetv2.preprocessing.resampling.default_resampling import compute_new_shape
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from scipy import ndimage
from scipy.spatial import KDTree

from scribble_conversion.checking.case import Scope
from scribble_conversion.checking.dataset import RawCase, RawDataset
from scribble_conversion.checking.finding import Finding, counted
from scribble_conversion.checking.volumes import read, read_label
from scribble_conversion.console import UserError
from scribble_conversion.parallel import number_of_processes, run_all
from scribble_conversion.source import name_some

LOST_SHARE = 0.01
"""Share of lost strokes above which there is a warning."""
_REACH = 1.5
"""Voxels around a stroke in which what is left of it may lie after resampling."""


@dataclass(frozen=True)
class ResamplingJob:
    """One case to resample as the plan says.

    Attributes:
        case: a scribbled case.
        scope: what to know of its dataset.
        plans: ``nnUNetPlans.json`` or another.
        configurations: those of different spacing.
    """

    case: RawCase
    scope: Scope
    plans: Path
    configurations: tuple[str, ...]


@dataclass(frozen=True)
class Loss:
    """What one configuration does to the strokes of one case: integer to strokes there were, and strokes lost."""

    case: str
    configuration: str
    strokes: dict[int, int]
    lost: dict[int, int]

    @property
    def vanished(self) -> list[int]:
        """The integers of which nothing is left."""
        return [value for value, number in self.strokes.items() if number and self.lost[value] == number]


def check_resampling(
    dataset: RawDataset, scope: Scope, cases: Sequence[RawCase], plans: Path, processes: int | None
) -> Iterator[Finding]:
    """Resample the scribbles of some cases as nnU-Net will, and count the strokes of which nothing is left.

    Args:
        dataset: the dataset.
        scope: what workers have to know of it.
        cases: the cases to try it on; sound ones with scribbles.
        plans: the plan's file.
        processes: as asked for with ``-np``.
    """
    configurations = spacings_of(plans)
    if configurations is None:
        yield Finding(
            "warning",
            "resampling",
            f"{plans} cannot be used as a plan, so what resampling loses was not measured",
            "plan again with nnUNetv2_plan_experiment",
        )
        return
    jobs = [ResamplingJob(case, scope, plans, tuple(configurations)) for case in cases]
    results = run_all(measure_losses, jobs, number_of_processes(processes, len(jobs)), "resampling")
    for name, spacing in configurations.items():
        losses = [loss for result in results for loss in result if loss.configuration == name]
        yield from _judge(dataset, plans, name, spacing, losses)


def spacings_of(plans: Path) -> dict[str, tuple[float, ...]] | None:
    """The configurations of a plan that differ in spacing, with it (mm, nnU-Net's order); None for an unfit file."""
    try:
        manager = PlansManager(str(plans))
        found: dict[str, tuple[float, ...]] = {}
        for name in manager.available_configurations:
            spacing = tuple(float(value) for value in manager.get_configuration(name).spacing)
            if spacing not in found.values():
                found[name] = spacing
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, AssertionError):
        return None
    return found


def measure_losses(job: ResamplingJob) -> list[Loss]:
    """Preprocess the label of one case as nnU-Net's preprocessor does, once per configuration.

    Raises:
        UserError: if the case does not fit into memory.
    """
    assert job.case.label is not None
    try:
        manager = PlansManager(str(job.plans))
        volumes = [read(path, job.scope.reader) for path in job.case.images]
        label, _ = read_label(job.case.label, job.scope.reader)
        axis = list(manager.transpose_forward).index(volumes[0].axis_across(job.scope.axis))
        order = [0, *(axis + 1 for axis in manager.transpose_forward)]
        data = np.vstack([volume.array for volume in volumes]).transpose(order)
        spacing = [volumes[0].spacing[axis] for axis in manager.transpose_forward]
        _, cropped, _ = crop_to_nonzero(data, label[None].transpose(order).copy())
        del data, volumes
        losses = []
        for name in job.configurations:
            configuration = manager.get_configuration(name)
            target = [float(value) for value in configuration.spacing]
            target = [*spacing[: len(spacing) - len(target)], *target]
            shape = compute_new_shape(cropped.shape[1:], spacing, target)
            after = configuration.resampling_fn_seg(cropped, shape, spacing, target)
            losses.append(_compare(job, name, cropped[0], np.asarray(after)[0], axis))
        return losses
    except MemoryError as error:
        raise UserError(f"{job.case.identifier} does not fit into memory; use fewer processes (-np 1)") from error


def lost_strokes(
    before: npt.NDArray[np.integer], after: npt.NDArray[np.integer], value: int, axis: int
) -> tuple[int, int]:
    """Count the strokes of one integer, and those of which nothing is left.

    Args:
        before: integers, three axes.
        after: the same resampled.
        value: the integer.
        axis: the axis along which the slices lie; where their number stays the same, each slice is looked at for
            itself, else strokes go through the slices.

    Returns:
        Strokes before, strokes lost.
    """
    touching = np.ones((3, 3, 3), dtype=bool)
    spacing = np.ones(3)
    if before.shape[axis] == after.shape[axis]:
        index: list[slice | int] = [slice(None)] * 3
        for side in (0, 2):
            index[axis] = side
            touching[tuple(index)] = False
        spacing[axis] = 10 * _REACH
    components, number = ndimage.label(before == value, touching)
    if number == 0:
        return 0, 0
    found = np.nonzero(after == value)
    scale = np.asarray(before.shape) / np.asarray(after.shape)
    places = tuple(
        np.minimum(((axis_found + 0.5) * factor).astype(np.intp), size - 1)
        for axis_found, factor, size in zip(found, scale, before.shape, strict=True)
    )
    # strokes are few voxels of many, which a map of the distances to them would have to visit
    strokes = np.nonzero(components)
    nearest = KDTree(np.stack(strokes, 1) * spacing)
    distances, which = nearest.query(np.stack(places, 1) * spacing, distance_upper_bound=_REACH * (1 + 1e-9))
    return number, number - len(np.unique(components[strokes][which[np.isfinite(distances)]]))


def _compare(
    job: ResamplingJob,
    name: str,
    before: npt.NDArray[np.integer],
    after: npt.NDArray[np.integer],
    axis: int,
) -> Loss:
    counts = {value: lost_strokes(before, after, value, axis) for value in job.scope.values}
    return Loss(
        job.case.identifier,
        name,
        {value: strokes for value, (strokes, _) in counts.items()},
        {value: lost for value, (_, lost) in counts.items()},
    )


def _judge(
    dataset: RawDataset, plans: Path, name: str, spacing: tuple[float, ...], losses: Sequence[Loss]
) -> Iterator[Finding]:
    """One warning for a configuration that loses more than a little."""
    total = sum(sum(loss.strokes.values()) for loss in losses)
    lost = sum(sum(loss.lost.values()) for loss in losses)
    vanished = [f"{dataset.values[value]} of {loss.case}" for loss in losses for value in loss.vanished]
    if not vanished and lost <= LOST_SHARE * total:
        return
    by_class = ", ".join(
        f"{label} {sum(loss.lost[value] for loss in losses)} of {sum(loss.strokes[value] for loss in losses)}"
        for value, label in dataset.values.items()
        if any(loss.lost[value] for loss in losses)
    )
    gone = f"; nothing is left of {name_some(vanished)}" if vanished else ""
    yield Finding(
        "warning",
        "resampling",
        f"configuration {name} of {plans.stem} ({' x '.join(f'{value:.3g}' for value in spacing)} mm) loses "
        f"{lost} of {counted(total, 'stroke')} in {counted(len(losses), 'sampled case')} ({by_class}){gone}",
        "scribble wider, or plan a finer spacing (nnUNetv2_plan_experiment -overwrite_target_spacing)",
        tuple(loss.case for loss in losses if any(loss.lost.values())),
    )
