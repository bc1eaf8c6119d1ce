"""The folder of one training: its definition, what it left, and what state it is in."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunetv2_pclmix.evaluation.report import JSON_NAME
from nnunetv2_pclmix.whole_file import whole_file

JUDGED, TRAINED, FAILED, BEGUN, NEW = "judged", "to judge", "failed", "begun", "to do"


@dataclass(frozen=True)
class RunFolder:
    """One training's folder; every file in it is replaced in one step."""

    path: Path

    @property
    def definition_file(self) -> Path:
        return self.path / "definition.json"

    @property
    def result_file(self) -> Path:
        """There when the training and its predictions are complete."""
        return self.path / "result.json"

    @property
    def failure_file(self) -> Path:
        return self.path / "failure.json"

    @property
    def resources_file(self) -> Path:
        return self.path / "resources.json"

    @property
    def scores_file(self) -> Path:
        return self.path / JSON_NAME

    @property
    def judging_file(self) -> Path:
        """With what it was judged."""
        return self.path / "judging.json"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    @property
    def results(self) -> Path:
        """This training's ``nnUNet_results``."""
        return self.path / "results"

    @property
    def last_checkpoint(self) -> Path | None:
        """nnU-Net's ``checkpoint_final.pth``; None where it is not at hand."""
        return next(iter(sorted(self.results.rglob("checkpoint_final.pth"))), None)

    def definition(self) -> dict[str, Any]:
        return read_json(self.definition_file)

    def result(self) -> dict[str, Any]:
        return read_json(self.result_file)

    def predictions(self) -> Path:
        """nnU-Net's validation folder."""
        return self.path / self.result()["predictions"]

    def state(self) -> str:
        """``JUDGED``, ``TRAINED``, ``FAILED``, ``BEGUN`` or ``NEW``."""
        if self.result_file.is_file() and self.scores_file.is_file():
            return JUDGED
        if self.failure_file.is_file():
            return FAILED
        if self.result_file.is_file():
            return TRAINED
        return BEGUN if self.log.is_file() else NEW

    def last_log_line(self) -> str:
        """The last line of the log that says something."""
        if not self.log.is_file():
            return ""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def record_failure(self, exit_status: int) -> str:
        """Write down that the training failed, and return why in one line."""
        reason = self.last_log_line() or "it wrote nothing"
        if exit_status < 0:
            reason = f"ended by signal {-exit_status} (9: often for lack of memory) after: {reason}"
        write_json(self.failure_file, {"last_line": reason, "exit_status": exit_status, "when": time.strftime("%F %T")})
        return reason


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file so that a kill leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
