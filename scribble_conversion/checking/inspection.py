"""All checks of a dataset, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from scribble_conversion.checking.case import CaseFacts, CaseJob, Scope, examine_case
from scribble_conversion.checking.coverage import Scribbled, check_coverage
from scribble_conversion.checking.dataset import DENSE_FOLDER, RawDataset
from scribble_conversion.checking.declared import check_declared
from scribble_conversion.checking.duplicates import check_duplicates
from scribble_conversion.checking.finding import Finding
from scribble_conversion.checking.layout import check_layout
from scribble_conversion.checking.preprocessed import check_preprocessed
from scribble_conversion.checking.splits import check_held_out_cases, check_splits
from scribble_conversion.checking.unlabelled import check_unlabelled
from scribble_conversion.checking.volumes import Reader, choose_reader
from scribble_conversion.checking.widths import check_widths
from scribble_conversion.parallel import number_of_processes, run_all
from scribble_conversion.recorded import scribble_notes
from scribble_conversion.target import DEFAULT_PLANS

Item = TypeVar("Item")
RESAMPLED_CASES = 8


@dataclass(frozen=True)
class Inspection:
    """What was found in a dataset.

    Attributes:
        dataset: the dataset.
        reader: nnU-Net's reader for its files; None where there is not a single file to read.
        facts: what was found in each case, in the order of the dataset's cases.
        findings: what is wrong, errors first.
    """

    dataset: RawDataset
    reader: Reader | None
    facts: tuple[CaseFacts, ...]
    findings: tuple[Finding, ...]

    @property
    def scribbled(self) -> list[Scribbled]:
        """The training cases with sound scribbles."""
        return [Scribbled(case.identifier, case.label) for case in self.facts if case.label is not None]


def inspect(
    dataset: RawDataset,
    processes: int | None = None,
    plans: str = DEFAULT_PLANS,
    resampled_cases: int = RESAMPLED_CASES,
) -> Inspection:
    """Run all checks.

    Args:
        dataset: the dataset.
        processes: how many processes; None for nnU-Net's default.
        plans: the name of the plan, if there is one, with which resampling is tried.
        resampled_cases: on how many cases, evenly chosen.

    Returns:
        What was found.

    Raises:
        UserError: if nnU-Net cannot read such files at all, or if a case does not fit into memory.
    """
    findings = [*check_declared(dataset), *check_layout(dataset)]
    example = next((path for case in dataset.cases for path in case.images if path.is_file()), None)
    if example is None:
        return Inspection(dataset, None, (), _ordered(findings))
    reader = choose_reader(dataset.content, example)
    scope = Scope.of(dataset, reader)
    jobs = [CaseJob(case, scope) for case in dataset.cases]
    facts = tuple(run_all(examine_case, jobs, number_of_processes(processes, len(jobs)), "checking"))
    findings += [finding for case in facts for finding in case.findings]
    inspection = Inspection(dataset, reader, facts, ())
    findings += _check_scribbles(inspection)
    findings += _check_thin(inspection, scope, processes, plans, resampled_cases)
    pairs = sorted(zip(dataset.cases, facts, strict=True), key=lambda pair: not pair[0].test)  # of one name the trained
    digests = {found.identifier: found.digest for _, found in pairs if found.digest is not None}
    findings += check_duplicates(digests, frozenset(case.identifier for case in dataset.cases if case.test))
    findings += check_splits(dataset, digests)
    findings += check_held_out_cases(dataset)
    findings += check_preprocessed(dataset, reader)
    return Inspection(dataset, reader, facts, _ordered(findings))


def evenly(items: Sequence[Item], number: int) -> list[Item]:
    """Choose ``number`` of the items, the first and the last among them."""
    if number >= len(items):
        return list(items)
    if number <= 1:
        return list(items[:number])
    return [items[round(index * (len(items) - 1) / (number - 1))] for index in range(number)]


def _check_scribbles(inspection: Inspection) -> Iterator[Finding]:
    dataset, scribbled = inspection.dataset, inspection.scribbled
    folder = str(scribble_notes(dataset.content).get("dense_labels") or DENSE_FOLDER)
    pairs = zip(dataset.cases, inspection.facts, strict=True)
    strokes = {found.identifier: found.strokes for case, found in pairs if not case.test}
    dense_values = frozenset[int]().union(*(case.dense_values for case in inspection.facts))
    yield from check_unlabelled(scribbled, dataset.ignore, strokes)
    yield from check_coverage(scribbled, dataset.values, dataset.ignore, folder, dense_values)


def _check_thin(
    inspection: Inspection, scope: Scope, processes: int | None, plans: str, number: int
) -> Iterator[Finding]:
    """By the plan where there is one, by the widths where there is none."""
    dataset = inspection.dataset
    path = plans_file(dataset, plans)
    unsound = {name for case in inspection.facts for finding in case.findings for name in finding.cases}
    names = {case.identifier for case in inspection.facts if case.strokes} - unsound
    if path is None:
        yield from check_widths(inspection.facts, dataset.values)
    elif number > 0:
        from scribble_conversion.checking.resampling import check_resampling  # slow to import, with torch

        chosen = evenly([case for case in dataset.training if case.identifier in names], number)
        yield from check_resampling(dataset, scope, chosen, path, processes)


def plans_file(dataset: RawDataset, plans: str) -> Path | None:
    """The plans of that name, None where the dataset has none."""
    if dataset.preprocessed is None:
        return None
    path = dataset.preprocessed / f"{plans}.json"
    return path if path.is_file() else None


def _ordered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Errors first, otherwise as they came."""
    return tuple(sorted(findings, key=lambda finding: finding.level))
