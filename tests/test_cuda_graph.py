"""When a step is captured, and what happens where it cannot be; capturing itself needs a GPU (``tests/gpu``)."""

from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch

from nnunetv2_pclmix import cuda_graph
from nnunetv2_pclmix.cuda_graph import GraphedStep
from nnunetv2_pclmix.step_data import StepInput, StepResult
from tests.step import PATCHES, Step


@pytest.fixture
def step() -> Step:
    return Step(torch.device("cpu"), torch.float32)


def _input(step: Step, progress: float) -> StepInput:
    drawn = step.objective.draw(step.mix, PATCHES, progress, np.random.default_rng(0))
    return StepInput(step.images, step.targets, drawn, step.strokes)


def test_what_is_not_known_of_strokes_is_passed_over(step):
    given = _input(step, 0.5)
    less = given._replace(strokes=given.strokes._replace(outside=None, lost=None))
    graphed = GraphedStep(_result, step.network.parameters(), print)
    assert torch.equal(graphed(less).loss, _result(given).loss)


def _result(step: StepInput) -> StepResult:
    return StepResult(step.images.sum(), *[step.images.mean()] * 5)


def test_the_second_step_of_the_same_shapes_is_captured(monkeypatch, step):
    done = []

    def run(batch):
        done.append("run")
        return _result(batch)

    def capture(run, parameters, batch):
        assert parameters == list(step.network.parameters())
        done.append(f"capture {len(batch.drawn.own)}")
        return lambda batch: done.append("replay") or _result(batch)

    monkeypatch.setattr(cuda_graph, "capture", capture)
    graphed = GraphedStep(run, step.network.parameters(), pytest.fail)
    for progress in (0.0, 0.05, 0.06, 0.5, 0.6, 0.7):  # from 0.1 on patches learn from pseudo-labels, too
        assert torch.equal(graphed(_input(step, progress)).loss, step.images.sum())
    assert done == ["run", "capture 0", "replay", "replay", "run", f"capture {PATCHES}", "replay", "replay"]


def test_a_step_that_cannot_be_captured_runs_as_usual(monkeypatch, step):
    tried, said = [], []

    def capture(run, parameters, batch):
        tried.append(run(batch))
        raise RuntimeError("out of memory")

    def run(batch):
        assert all(parameter.grad is None for parameter in step.network.parameters())
        for parameter in step.network.parameters():
            parameter.grad = torch.ones_like(parameter)
        return _result(batch)

    monkeypatch.setattr(cuda_graph, "capture", capture)
    graphed = GraphedStep(run, step.network.parameters(), said.append)
    for _ in range(4):
        step.network.zero_grad()
        assert torch.equal(graphed(_input(step, 0.5)).loss, step.images.sum())
    assert len(tried) == 1
    assert len(said) == 1
    assert "out of memory" in said[0]


def test_the_graph_makes_room_where_memory_is_short(monkeypatch, step):
    captured, reserved = [], iter([100, 150, 100, 150])

    def capture(run, parameters, batch):
        captured.append(batch)
        return _with_gradients

    def _with_gradients(batch):
        for parameter in step.network.parameters():
            parameter.grad = torch.ones_like(parameter)
        return _result(batch)

    monkeypatch.setattr(cuda_graph, "capture", capture)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: next(reserved))
    graphed = GraphedStep(_with_gradients, step.network.parameters(), pytest.fail)
    graphed.make_room()  # there is no graph yet
    for free, captures in ((50, 1), (49, 2), (50, 2)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda free=free: (free, 1000))
        graphed(_input(step, 0.5))
        graphed(_input(step, 0.5))
        assert len(captured) == captures - (free < 50)
        graphed.make_room()
        graphed(_input(step, 0.5))
        assert len(captured) == captures
    graphed.release()
    assert all(parameter.grad is None for parameter in step.network.parameters())


def test_what_is_captured_reads_its_own_tensors_and_hands_out_its_own_gradients(monkeypatch, step):
    """With stand-ins for CUDA: the order of things, and whose memory is used."""
    parameters, done = list(step.network.parameters()), []

    class Stream:
        def wait_stream(self, other):
            done.append("wait")

    class Graph:
        def replay(self):
            done.append("replay")

    @contextmanager
    def graph(graph, stream, capture_error_mode):
        assert capture_error_mode == "thread_local"  # another thread pins memory meanwhile
        assert all(parameter.grad is None for parameter in parameters)
        yield done.append("capture")

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    seen = []

    def run(batch):
        done.append("run")
        seen.append(batch)
        for parameter in parameters[1:]:
            parameter.grad = torch.full_like(parameter, len(seen))
        return _result(batch)

    first, second = _input(step, 0.5), _input(step, 0.7)
    replay = cuda_graph.capture(run, parameters, first)
    assert done == ["wait", "run", "wait", "capture", "run"]
    assert seen[0].images is seen[1].images is not first.images
    step.network.zero_grad()
    result = replay(second._replace(images=first.images + 1))
    assert done[-1] == "replay"
    assert torch.equal(seen[1].images, first.images + 1)
    assert torch.equal(seen[1].drawn.patch_weights, second.drawn.patch_weights)
    assert torch.equal(result.loss, first.images.sum())  # what the stand-in captured
    assert parameters[0].grad is None
    assert all((parameter.grad == 2).all() for parameter in parameters[1:])
