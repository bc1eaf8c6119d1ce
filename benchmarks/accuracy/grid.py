"""What to compare: a grid file (TOML or JSON) with a dataset, folds, rows and tables."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from scribble_conversion.console import UserError

TRAINERS = ("nnUNetTrainer", "nnUNetTrainerNoMirroring", "nnUNetTrainerPCLMix", "nnUNetTrainerPartialCE")
LABELS = ("scribbles", "dense")
PRECISIONS = ("float32", "bfloat16")

T = TypeVar("T")


def file_stem(table: str) -> str:
    """What the files of a table of that name are called, without their endings."""
    return re.sub(r"[^\w.-]+", "_", table)


@dataclass(frozen=True)
class Row:
    """One method.

    Attributes:
        name: as the table shows it.
        trainer: one of ``TRAINERS``.
        pclmix: the plans' ``pclmix`` entry for this row; replaces what the plans hold.
        labels: what the row trains with, ``scribbles`` or ``dense``.
    """

    name: str
    trainer: str
    pclmix: Mapping[str, Any] = field(default_factory=dict)
    labels: str = "scribbles"

    def __post_init__(self) -> None:
        _one_of(f"trainer of row '{self.name}'", self.trainer, TRAINERS)
        _one_of(f"labels of row '{self.name}'", self.labels, LABELS)
        if self.pclmix and self.trainer != "nnUNetTrainerPCLMix":
            raise UserError(f"row '{self.name}' has pclmix settings, which {self.trainer} does not read; remove them")
        if "seed" in self.pclmix:
            raise UserError(f"row '{self.name}' sets pclmix seed; name the seeds in the table instead")


@dataclass(frozen=True)
class Fold:
    """Patients as lists of numbers, ranges and names (``81-100,5``); no training patients: all others."""

    validation: str
    training: str = ""

    def __post_init__(self) -> None:
        for name in ("validation", "training"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise UserError(f'expected {name} of a fold as text like "81-100,5", got {value!r}')


@dataclass(frozen=True)
class Table:
    """Rows that are trained equally long and shown together.

    Attributes:
        name: names the files written.
        rows: names of rows, in order.
        epochs, iterations: steps are epochs times iterations; the learning rate falls once an epoch.
        seeds: one training per row, fold and seed.
        baseline: the row that the others are compared with.
    """

    name: str
    rows: tuple[str, ...]
    epochs: int
    iterations: int
    seeds: tuple[int, ...]
    baseline: str

    def __post_init__(self) -> None:
        for name in ("epochs", "iterations"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise UserError(f"table '{self.name}': expected a positive number of {name}, got {value!r}")
        if not self.seeds or any(type(seed) is not int or seed < 0 for seed in self.seeds):
            raise UserError(f"table '{self.name}': expected seeds of 0 or more, got {list(self.seeds)}")
        for what, values in (("seed", self.seeds), ("row", self.rows)):
            if len(set(values)) < len(values):
                raise UserError(f"table '{self.name}' names a {what} twice; name each once")
        if self.baseline not in self.rows:
            raise UserError(f"table '{self.name}': the baseline '{self.baseline}' is none of its rows")

    @property
    def steps(self) -> int:
        """Optimiser steps of every training."""
        return self.epochs * self.iterations


@dataclass(frozen=True)
class Grid:
    """Everything to compare.

    Attributes:
        name: names the default output folder.
        dataset: number or name of the preprocessed dataset with scribbles.
        plans, configuration: of that dataset.
        folds: whom to validate with.
        rows: the methods.
        tables: what to show together.
        dense_dataset: number or name of the dataset with the same images and dense training labels, for rows with
            ``labels = "dense"``.
        validation_iterations: batches of nnU-Net's own validation after each epoch, which only its log shows.
        precision: of the training networks' arithmetic on the CPU; weights, losses and predictions are float32 anyway.
    """

    name: str
    dataset: str
    plans: str
    configuration: str
    folds: tuple[Fold, ...]
    rows: tuple[Row, ...]
    tables: tuple[Table, ...]
    dense_dataset: str | None = None
    validation_iterations: int = 2
    precision: str = "float32"

    def __post_init__(self) -> None:
        for what, items in (("fold", self.folds), ("row", self.rows), ("table", self.tables)):
            if not items:
                raise UserError(f"the grid '{self.name}' has no {what}; add [[{what}s]]")
        _one_of(f"precision of the grid '{self.name}'", self.precision, PRECISIONS)
        stems = [file_stem(table.name) for table in self.tables]
        taken = ["plan", *stems, *(f"{stem}_curves" for stem in stems)]
        for table, stem in zip(self.tables, stems, strict=True):
            if taken.count(stem) > 1:
                raise UserError(f"the files of table '{table.name}' would replace others; name it otherwise")
            for name in table.rows:
                self.row(name)

    def row(self, name: str) -> Row:
        """The row of that name.

        Raises:
            UserError: there is none.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise UserError(
            f"the grid '{self.name}' has no row '{name}'; its rows are {', '.join(r.name for r in self.rows)}"
        )


def read_grid(path: Path, changes: Mapping[str, Any] | None = None) -> Grid:
    """Read and check a grid file.

    Args:
        path: ``.toml`` or ``.json``. Its entry ``include`` may name a second file, beside it, whose rows come first.
        changes: entries to replace: fields of ``Grid`` (``dataset``, ...), and for every table ``epochs``,
            ``iterations``, ``seeds``; ``only_rows`` and ``only_tables`` keep the rows and tables named.

    Returns:
        The grid.

    Raises:
        UserError: a mistake in the file, named in one sentence.
    """
    content = _load(path)
    if "include" in content:
        file = path.parent / str(content.pop("include"))
        content["rows"] = [*_entries(_load(file), "rows", file), *_entries(content, "rows", path)]
    given = {key: value for key, value in (changes or {}).items() if value is not None}
    only_rows, only_tables = given.pop("only_rows", None), given.pop("only_tables", None)
    for_tables = {key: given.pop(key) for key in ("epochs", "iterations", "seeds") if key in given}
    content.update(given)
    for key in ("dataset", "dense_dataset"):
        if isinstance(content.get(key), int):
            content[key] = str(content[key])
    try:
        rows = tuple(_build(Row, entry, path) for entry in _entries(content, "rows", path))
        _distinct("row", [row.name for row in rows], path)
        folds = tuple(_build(Fold, entry, path) for entry in _entries(content, "folds", path))
        tables = [{**entry, **for_tables} for entry in _entries(content, "tables", path)]
        _distinct("table", [entry.get("name") for entry in tables], path)
        tables = [_chosen(entry, [row.name for row in rows], only_rows) for entry in tables]
        if only_tables:
            _known("table", only_tables, [entry.get("name") for entry in tables])
            tables = [entry for entry in tables if entry.get("name") in only_tables]
        shown = list(dict.fromkeys(name for entry in tables for name in entry["rows"]))
        _known("row in the chosen tables", only_rows or (), shown)
        built = tuple(_build(Table, entry, path) for entry in tables)
        return _build(Grid, {**content, "rows": rows, "folds": folds, "tables": built}, path)
    except TypeError as error:
        raise UserError(f"{path}: {error}") from error


def _chosen(table: Mapping[str, Any], known: Sequence[str], only: Sequence[str] | None) -> dict[str, Any]:
    """The table with its rows spelled out, and only those asked for; the baseline always stays."""
    rows = table.get("rows", "all")
    rows = list(known) if rows == "all" else list(rows)
    if only is not None:
        _known("row", only, known)
        rows = [name for name in rows if name in only or name == table.get("baseline")]
    return {**table, "rows": tuple(rows), "seeds": tuple(table.get("seeds", ()))}


def _distinct(what: str, names: Sequence[Any], path: Path) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UserError(f"{path}: there are two {what}s called '{twice[0]}'; rename one")


def _known(what: str, names: Sequence[str], known: Sequence[Any]) -> None:
    for name in names:
        if name not in known:
            raise UserError(f"there is no {what} '{name}'; there are {', '.join(map(str, known))}")


def _entries(content: Mapping[str, Any], key: str, path: Path) -> list[Mapping[str, Any]]:
    """The tables of a list like ``[[rows]]``; none where there is no such list."""
    entries = content.get(key, [])
    if not isinstance(entries, list):
        raise UserError(f"{path}: expected {key} as a list of tables, in TOML [[{key}]] and not [{key}]")
    for entry in entries:
        if not isinstance(entry, Mapping):
            raise UserError(f"{path}: expected a table of entries for a {key[:-1]}, got {entry!r}")
    return entries


def _build(kind: type[T], entry: Mapping[str, Any], path: Path) -> T:
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    what = f"{kind.__name__.lower()} '{entry['name']}'" if "name" in entry else f"a {kind.__name__.lower()}"
    unknown = sorted(set(entry) - {f.name for f in fields})
    if unknown:
        raise UserError(
            f"{path}: {what} has the unknown entry {unknown[0]}; known are {', '.join(f.name for f in fields)}"
        )
    for f in fields:
        if f.name not in entry and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise UserError(f"{path}: {what} lacks the entry {f.name}")
    try:
        return kind(**entry)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _one_of(what: str, value: Any, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise UserError(f"{what}: expected {', '.join(allowed[:-1])} or {allowed[-1]}, got {value!r}")


def _load(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else _toml(text)
    except OSError as error:
        raise UserError(f"the grid {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"the grid {path} is no {path.suffix[1:].upper() or 'TOML'}: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"the grid {path} has to be a table of entries")
    return content


def _toml(text: str) -> dict[str, Any]:
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        try:
            import tomli as tomllib  # type: ignore[import-not-found, no-redef, unused-ignore]
        except ModuleNotFoundError as error:
            raise UserError(
                "Python 3.10 reads TOML with tomli; pip install tomli, or write the grid as JSON"
            ) from error
    return tomllib.loads(text)
