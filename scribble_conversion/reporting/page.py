"""The page: a template, a style sheet, a script and the data, all in one file that loads nothing."""

from __future__ import annotations

import base64
import datetime
import hashlib
import json
import secrets
from contextlib import suppress
from importlib import metadata, resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from scribble_conversion.checking.finding import count_levels, size_text
from scribble_conversion.checking.inspection import Inspection
from scribble_conversion.checking.output import summary
from scribble_conversion.console import UserError
from scribble_conversion.reporting.charts import HEIGHT, WIDTH, common_limit, histogram
from scribble_conversion.reporting.figures import class_figures, dataset_facts, unit_of

MAX_PROBLEMS = 200
"""Problems listed on the page."""


def render(inspection: Inspection, cases: list[dict[str, Any]]) -> str:
    """Make the page.

    Args:
        inspection: what was found in the dataset.
        cases: what ``gallery.draw_cases`` drew.

    Returns:
        HTML; every name in it is escaped, and its policy forbids to load anything.
    """
    classes = class_figures(inspection)
    unit = unit_of(inspection)
    style, script = _asset("page.css"), _asset("page.js")
    data = {
        "cases": cases,
        "classes": [{"value": one.value, "name": one.name, "colour": one.colour} for one in classes],
    }
    lengths = [[stroke.length for stroke in one.strokes] for one in classes]
    widths = [[stroke.width for stroke in one.strokes] for one in classes]
    charts = [
        (f"Length of the strokes along their skeleton ({unit})", _histograms(classes, lengths, unit)),
        (f"Width of the strokes, area divided by length ({unit})", _histograms(classes, widths, unit)),
    ]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_asset("page.html")).render(
        name=inspection.dataset.name,
        description=_text(inspection.dataset.content.get("description")),
        made=_made(),
        facts=dataset_facts(inspection),
        classes=classes,
        unit=unit,
        size_text=size_text,
        references=any(case.facts.present is not None for case in inspection.scribbled),
        charts=charts,
        chart_size=(WIDTH, HEIGHT),
        findings=inspection.findings[:MAX_PROBLEMS],
        more=max(0, len(inspection.findings) - MAX_PROBLEMS),
        counts=summary(inspection.findings),
        levels=count_levels(inspection.findings),
        cases=cases,
        shown=len(cases),
        total=len(inspection.dataset.training),
        outlines=any(one["outlines"] for case in cases for one in case["slices"]),
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        data=_embedded(data),
    )


def check_output(path: Path, overwrite: bool) -> None:
    """Refuse a place where the page cannot go, before any work is done.

    Raises:
        UserError: if the folder is missing, or something is there already that may not be replaced.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder; give a file with -o, e.g. {path / 'report.html'}")
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists already; give another file with -o, or replace it with --overwrite")
    if not path.parent.is_dir():
        raise UserError(f"the folder {path.parent} does not exist; make it, or give another file with -o")


def write(page: str, path: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        UserError: if it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial-{secrets.token_hex(4)}")
    try:
        partial.write_text(page, encoding="utf-8", errors="backslashreplace")  # names of files may be no UTF-8
        partial.replace(path)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}); check permissions and free space") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _histograms(classes: list[Any], values: list[list[float]], unit: str) -> list[Any]:
    """One histogram per class; the structures share an axis, the much longer background strokes have their own."""
    structures = [group for one, group in zip(classes, values, strict=True) if one.value != 0]
    limits = {True: common_limit(structures), False: common_limit(values[: len(values) - len(structures)])}
    return [
        histogram(one.name, one.colour, group, limits[one.value != 0], unit)
        for one, group in zip(classes, values, strict=True)
        if group
    ]


def _embedded(data: Any) -> Markup:
    """JSON that cannot end the element it stands in, whatever names it holds."""
    text = json.dumps(data, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _asset(name: str) -> str:
    return (resources.files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """How a content security policy names an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _made() -> str:
    try:
        version = f" {metadata.version('nnunetv2-pclmix')}"
    except metadata.PackageNotFoundError:
        version = ""
    return f"{datetime.date.today().isoformat()}, nnunetv2-pclmix{version}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
