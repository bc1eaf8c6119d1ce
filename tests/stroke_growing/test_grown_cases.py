import os
import signal

import numpy as np
import pytest
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2, nnUNetDatasetNumpy

from nnunetv2_pclmix.stroke_growing import grown_cases
from nnunetv2_pclmix.stroke_growing.grown_cases import Growth, grow_cases
from nnunetv2_pclmix.stroke_growing.random_walker import grow_strokes

IGNORE = 2
GROWTH = Growth(IGNORE, 50.0, 0.7, slicewise=True, spacing=(5.0, 1.0, 1.0))
SHAPE = (3, 20, 24)


def _case(number):
    """A bright box with strokes in two of three slices."""
    rng = np.random.default_rng(number)
    truth = np.zeros(SHAPE, np.int8)
    truth[:, 6:14, 8 : 14 + number] = 1
    strokes = np.full(SHAPE, IGNORE, np.int8)
    strokes[:2, 10, 10:13], strokes[:2, 2, 3:-3] = 1, 0
    return (truth + rng.normal(0, 0.05, SHAPE))[None].astype(np.float32), strokes[None], truth


pytestmark = pytest.mark.filterwarnings("ignore:Warning. Received empty chunks")  # of images as small as these


@pytest.fixture(params=[nnUNetDatasetBlosc2, nnUNetDatasetNumpy])
def dataset(request, tmp_path):
    source = tmp_path / "nnUNetPlans_2d"
    source.mkdir()
    for number, case in enumerate("abc"):
        data, strokes, _ = _case(number)
        request.param.save_case(data, strokes, {"class_locations": {1: np.array([[0, 0, 10, 10]])}}, str(source / case))
    return request.param(str(source))


def _labels(dataset, case):
    return np.asarray(dataset.load_case(case)[1][:])


def test_grown_strokes_are_read_instead_of_the_strokes(dataset, tmp_path, capsys):
    grown = grow_cases(dataset, ["a", "b"], tmp_path / "grown", GROWTH, 1)
    assert "growing strokes" in capsys.readouterr().err
    assert grown.identifiers == dataset.identifiers
    assert grown.grown == {"a", "b"}
    for number, case in enumerate("ab"):
        image, strokes, truth = _case(number)
        labels = _labels(grown, case)
        assert labels.shape == (1, *SHAPE)
        assert (labels[0, :2] == truth[:2]).mean() > 0.95
        assert (labels[0, 2] == IGNORE).all()  # nobody scribbled this slice
        for z in range(3):
            alone = grow_strokes(image[:, z], strokes[0, z], ignore_label=IGNORE, beta=50.0, certainty=0.7)
            assert np.array_equal(labels[0, z], alone)
        assert np.array_equal(np.asarray(grown.load_case(case)[0][:]), image)
        assert "class_locations" in grown.load_case(case)[3]  # still those of the strokes
    assert np.array_equal(_labels(grown, "c"), _case(2)[1])


def test_in_space_strokes_reach_slices_without_strokes(dataset, tmp_path):
    growth = Growth(IGNORE, 50.0, 0.7, slicewise=False, spacing=(1.0, 1.0, 1.0))
    labels = _labels(grow_cases(dataset, ["a"], tmp_path / "grown", growth, 1), "a")
    assert (labels[0] == _case(0)[2]).mean() > 0.9


def test_what_is_there_is_not_made_again_unless_the_case_is_newer_or_grown_otherwise(dataset, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(grown_cases, "grow_strokes", lambda i, s, **how: made.append(how["certainty"]) or s)
    folder = tmp_path / "grown"

    def count(growth=GROWTH):
        made.clear()
        grow_cases(dataset, ["a", "b"], folder, growth, 1)
        return len(made) // SHAPE[0]

    assert [count(), count()] == [2, 0]
    newer = tmp_path / "nnUNetPlans_2d" / "a.pkl"
    os.utime(newer, (newer.stat().st_atime + 100, newer.stat().st_mtime + 100))
    assert count() == 1
    other = Growth(IGNORE, 50.0, 0.9, slicewise=True, spacing=GROWTH.spacing)
    assert count(other) == 2
    assert len(list(folder.iterdir())) == 2


def test_densely_labelled_cases_are_left_to_themselves(tmp_path):
    source = tmp_path / "nnUNetPlans_2d"
    source.mkdir()
    data, _, truth = _case(0)
    nnUNetDatasetBlosc2.save_case(data, truth[None], {}, str(source / "a"))
    dataset = nnUNetDatasetBlosc2(str(source))
    for _ in range(2):  # made, and found again
        grown = grow_cases(dataset, ["a"], tmp_path / "grown", GROWTH, 1)
        assert grown.grown == frozenset()
    assert np.array_equal(_labels(grown, "a")[0], truth)


def test_several_processes_give_the_same(dataset, tmp_path, monkeypatch):
    alone = grow_cases(dataset, list("abc"), tmp_path / "one", GROWTH, 1)
    monkeypatch.setattr(grown_cases, "MANY_VOXELS", 0)
    together = grow_cases(dataset, list("abc"), tmp_path / "two", GROWTH, 2)
    for case in "abc":
        assert np.array_equal(_labels(alone, case), _labels(together, case))


class _Killed:
    """Growth of a process that the kernel kills for want of memory."""

    name = "killed"
    ignore_label = IGNORE

    def __call__(self, image, strokes):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_process_is_reported_with_a_cure(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(grown_cases, "MANY_VOXELS", 0)
    with pytest.raises(RuntimeError, match="want of memory; set nnUNet_def_n_proc"):
        grow_cases(dataset, list("abc"), tmp_path / "grown", _Killed(), 2)


def test_a_failure_leaves_no_file(dataset, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(grown_cases, "grow_strokes", fail)
    with pytest.raises(ZeroDivisionError):
        grow_cases(dataset, ["a"], tmp_path / "grown", GROWTH, 1)
    assert [p for p in (tmp_path / "grown").rglob("*") if p.is_file()] == []
