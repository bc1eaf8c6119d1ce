"""Signals before any step that touches files: a dataset is there whole or not at all, and the next one works."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.scribble_conversion.forking import Forker
from tests.scribble_conversion.sound import BUILDERS, Sound, assert_one_sentence, build

NAME = "Dataset009_New"
MOMENTS = int(os.environ.get("KILL_MOMENTS", "4"))
"""How many of the 100 to 300 steps each test tries, besides those that put the dataset into place."""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    made = Forker()
    yield made
    made.close()


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _is_whole(sound: Sound) -> bool:
    """Whether there is a dataset; one that there is has to be complete."""
    if not (sound.raw / NAME).exists():
        return False
    described = json.loads((sound.raw / NAME / "dataset.json").read_text())
    for folder in ("imagesTr", "labelsTr"):
        assert len(list((sound.raw / NAME / folder).iterdir())) == described["numTraining"]
    splits = sound.preprocessed / NAME / "splits_final.json"
    assert splits.read_bytes() == (sound.raw / NAME / "splits_final.json").read_bytes()
    return True


def _hidden(sound: Sound) -> list[Path]:
    return [path for folder in (sound.raw, sound.preprocessed) for path in folder.iterdir() if path.name[0] == "."]


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("reader", "replaces"), [("acdc", False), ("acdc", True), ("wsl4mis", False)])
def test_signals_at_random_moments(
    forker: Forker, tmp_path: Path, reader: str, sent: signal.Signals, replaces: bool
) -> None:
    sound = build(reader, tmp_path / "place")
    sources = _contents(sound.source)
    arguments = [*sound.arguments, *(["--overwrite"] if replaces else [])]
    environment = sound.environment()
    if replaces:  # with a dataset that can be told from the new one
        old_split = tmp_path / "old.json"
        old_split.write_text(json.dumps([{"train": ["patient001"], "val": ["patient021"]}]))
        assert forker.convert([*sound.arguments, "--split", str(old_split)], environment).status == 0
    kept = tmp_path / "kept"
    shutil.copytree(sound.place, kept)
    before = sound.listing()
    whole = forker.convert(arguments, environment, signal=0, step=-1)
    assert whole.status == 0
    last = range(max(1, whole.steps - 12), whole.steps + 1)  # the steps that put it into place
    moments = {*np.random.default_rng(7).integers(1, whole.steps + 1, MOMENTS).tolist(), *last}
    for moment in sorted(moments):
        shutil.rmtree(sound.place)
        shutil.copytree(kept, sound.place)
        done = forker.convert(arguments, environment, signal=int(sent), step=moment)
        assert done.steps >= moment
        if sent == signal.SIGKILL:
            assert done.status == -signal.SIGKILL
            # nnU-Net finds nothing, or something whole; the next attempt, whatever it says, puts the rest right
            attempt = forker.convert(list(sound.arguments), environment)
            assert attempt.status in (0, 1), attempt.told
            assert _is_whole(sound), moment
            if attempt.status == 1:
                assert "exists already" in attempt.told
        else:
            assert (done.status, done.told) in [(130, "error: interrupted\n"), (0, "")], (moment, done)
            assert not _hidden(sound), moment
            if not _is_whole(sound):
                assert sound.listing() == before
            assert not list((sound.place / "tmp").iterdir()), moment
        assert not _hidden(sound), moment
    assert forker.convert([*sound.arguments, "--overwrite"], environment).status == 0
    assert _is_whole(sound)
    assert _contents(sound.source) == sources


@pytest.mark.parametrize("reader", BUILDERS)
def test_a_full_disk(forker: Forker, tmp_path: Path, reader: str) -> None:
    """A limit on the size of files fails in writing like a full disk does."""
    sound = build(reader, tmp_path / "place")
    before = sound.listing()
    outcomes = set()
    for limit in (0, 40, 90, 150, 250, 400, 700, 1000):
        done = forker.convert(list(sound.arguments), sound.environment(), file_bytes=limit)
        outcomes.add(done.status)
        if done.status == 0:
            assert _is_whole(sound)
            assert limit >= 700
            break
        assert_one_sentence(done.told)
        assert "cannot be" in done.told
        assert sound.listing() == before, limit
    assert 1 in outcomes
