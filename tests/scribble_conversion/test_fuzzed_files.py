"""Headers and streams with random changes: a readable dataset or one sentence, in little time and memory.

``FUZZ_SECONDS`` sets how long each test runs, ``FUZZ_SEED`` where it starts; a failure tells the number of its example.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.imageio.reader_writer_registry import determine_reader_writer_from_dataset_json

from tests.scribble_conversion.forking import Forker
from tests.scribble_conversion.sound import Sound, assert_one_sentence, build

SECONDS = float(os.environ.get("FUZZ_SECONDS", "3"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
LONGEST = 30
"""Seconds for one example, on a busy machine."""
MEMORY = 6 * 2**30
"""Address space; the libraries alone reserve some gigabytes."""
FIELDS = {"h": range(40, 56, 2), "f": (*range(76, 120, 4), *range(256, 328, 4)), "H": (70, 72, 252, 254), "i": (0,)}
"""The numbers in a NIfTI-1 header, by their format."""
VALUES = {
    "h": (0, 1, -1, 2, 7, 8, 255, 30000, -30000, 32767),
    "H": (0, 1, 2, 3, 4, 16, 32, 64, 128, 256, 512, 768, 1024, 1536, 2304, 65535),
    "f": (0, -1, 1, 0.5, 1e-40, 1e-5, 352, 1e5, 1e12, 3e38, float("nan"), float("inf"), -float("inf")),
    "i": (0, 348, 540, 1543569408, -1),
}
Mutation = Callable[[bytes, np.random.Generator], bytes]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    made = Forker()
    yield made
    made.close()


def _bytes_changed(content: bytes, rng: np.random.Generator, beginning: int = 400) -> bytes:
    """A few bytes near the beginning replaced, or one bit turned."""
    changed = bytearray(content)
    for place in rng.integers(0, min(beginning, len(changed)), rng.integers(1, 5)):
        changed[place] = rng.choice((0, 255, changed[place] ^ 1 << int(rng.integers(8)), int(rng.integers(256))))
    return bytes(changed)


def _fields_changed(content: bytes, rng: np.random.Generator) -> bytes:
    """A few fields of a NIfTI header set to values that are at the edge of sense or beyond."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        form = str(rng.choice(list(FIELDS)))
        struct.pack_into(f"<{form}", changed, int(rng.choice(FIELDS[form])), rng.choice(VALUES[form]).item())
    return bytes(changed)


def _length_changed(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut, continued, or with a piece missing, doubled or repeated."""
    start, end = sorted(rng.integers(0, len(content) + 1, 2).tolist())
    pieces = (content[:start], content + content[start:end], content[:start] + content[end:], content + bytes(end))
    return pieces[rng.integers(len(pieces))]


def _inside_gzip(mutation: Mutation) -> Mutation:
    return lambda content, rng: gzip.compress(mutation(gzip.decompress(content), rng), 1)


def _numbers_changed(content: bytes, rng: np.random.Generator) -> bytes:
    """Digits in a text header replaced."""
    places = [place for place in range(min(400, len(content))) if chr(content[place]).isdecimal()]
    changed = bytearray(content)
    for place in rng.choice(places, min(3, len(places)), replace=False):
        changed[place : place + 1] = rng.choice((b"0", b"9", b"-", b"99999", b"nan", b"."))
    return bytes(changed)


NIFTI: tuple[Mutation, ...] = (
    _inside_gzip(_fields_changed),
    _inside_gzip(_bytes_changed),
    _inside_gzip(_length_changed),
    _bytes_changed,
    _length_changed,
)
PLAIN: tuple[Mutation, ...] = (_bytes_changed, _length_changed)
TEXT: tuple[Mutation, ...] = (*PLAIN, _numbers_changed)


def _readable(sound: Sound) -> None:
    """Read every file of the dataset with the reader that nnU-Net takes for it."""
    (dataset,) = sound.raw.iterdir()
    described = json.loads((dataset / "dataset.json").read_text())
    reader = determine_reader_writer_from_dataset_json(described, verbose=False)()
    highest = described["labels"]["ignore"]
    for file in (dataset / "labelsTr").iterdir():
        image = dataset / "imagesTr" / file.name.replace(described["file_ending"], f"_0000{described['file_ending']}")
        voxels, about = reader.read_images([str(image)])
        labels, label_about = reader.read_seg(str(file))
        assert np.isfinite(voxels).all()
        assert voxels.shape[1:] == labels.shape[1:]
        assert labels.min() >= 0
        assert labels.max() <= highest
        np.testing.assert_allclose(about["spacing"], label_about["spacing"], rtol=1e-3)


@pytest.mark.parametrize(
    ("ending", "mutations"),
    [
        ("nifti", NIFTI),
        ("acdc", NIFTI),
        ("nrrd", TEXT),
        ("mha", TEXT),
        ("png", PLAIN),
        ("tif", PLAIN),
        ("wsl4mis", PLAIN),
    ],
)
@pytest.mark.parametrize("side", ["image", "label"])
def test_random_changes(
    forker: Forker,
    tmp_path: Path,
    ending: str,
    mutations: tuple[Mutation, ...],
    side: str,
    capfd: pytest.CaptureFixture,
) -> None:
    sound = build(ending, tmp_path / "place")
    file: Path = getattr(sound, side)
    sane = file.read_bytes()
    end = time.monotonic() + SECONDS / 2
    example = SEED
    outcomes = []
    while time.monotonic() < end or not outcomes:
        rng = np.random.default_rng((example, len(ending), side == "label"))
        file.write_bytes(mutations[rng.integers(len(mutations))](sane, rng))
        before = sound.listing()
        done = forker.convert(list(sound.arguments), sound.environment(), seconds=LONGEST, memory_bytes=MEMORY)
        assert done.status in (0, 1), (example, signal.strsignal(-done.status) if done.status < 0 else done.told)
        outcomes.append(done.status)
        if done.status == 1:
            assert_one_sentence(done.told)
            assert sound.listing() == before, example
        else:
            assert done.told == "", (example, done.told)
            _readable(sound)
            for folder in (sound.raw, sound.preprocessed):
                shutil.rmtree(folder)
                folder.mkdir()
        example += 1
    with capfd.disabled():
        if SECONDS > 10:
            print(f"\n{ending} {side}: {len(outcomes)} examples, {outcomes.count(1)} refused")
