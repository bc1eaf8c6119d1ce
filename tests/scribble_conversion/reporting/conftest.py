"""A converted dataset to report on, and what a page holds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scribble_conversion.cli import main
from tests.scribble_conversion.checking.hands import convert_strokes
from tests.scribble_conversion.conftest import Acdc


@pytest.fixture
def sound(acdc: Acdc, capsys: pytest.CaptureFixture[str]) -> Acdc:
    """A converted dataset with nothing wrong."""
    convert_strokes(acdc)
    capsys.readouterr()
    return acdc


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., Path]:
    """Run the command; the page it wrote."""

    def run(*arguments: str, dataset: str = "127") -> Path:
        page = tmp_path / "report.html"
        assert main(["report", dataset, "-o", str(page), "-np", "1", "--overwrite", *arguments]) == 0
        return page

    return run


@pytest.fixture
def data_of() -> Callable[[Path], dict[str, Any]]:
    """The data embedded in a page."""

    def find(page: Path) -> dict[str, Any]:
        found = re.search(
            r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL
        )
        assert found
        return json.loads(found[1])

    return find
