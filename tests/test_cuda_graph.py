"""When a step is captured, and what happens where it cannot be; capturing itself needs a GPU (``tests/gpu``)."""

import numpy as np
import torch
from torch import nn

from nnunetv2_pclmix import cuda_graph
from nnunetv2_pclmix.cuda_graph import GraphedStep
from nnunetv2_pclmix.objective import StepResult
from nnunetv2_pclmix.training_step import StepInput
from tests.step import PATCHES, Step


class _Counted(nn.Module):
    made = 0

    def __init__(self) -> None:
        super().__init__()
        _Counted.made += 1

    def forward(self, step: StepInput) -> StepResult:
        return StepResult(step.images.sum(), *[step.images.mean().requires_grad_()] * 5)


def _input(step: Step, progress: float) -> StepInput:
    drawn = step.objective.draw(step.mix, PATCHES, progress, np.random.default_rng(0))
    return StepInput(step.images, step.targets, drawn, step.strokes)


def _capture(monkeypatch, capture):
    captured = []

    def make_graphed_callables(step, sample, **options):
        assert options == {"allow_unused_input": True}  # nnU-Net's coarsest scale gets no gradient
        captured.append(sample[0])
        return capture(step)

    monkeypatch.setattr(cuda_graph, "make_graphed_callables", make_graphed_callables)
    return captured


def test_the_second_step_of_the_same_shapes_is_captured(monkeypatch):
    captured = _capture(monkeypatch, lambda step: step)
    step, said = Step(torch.device("cpu"), torch.float32), []
    run = GraphedStep(_Counted, said.append)
    counts = []
    for progress in (0.0, 0.05, 0.06, 0.5, 0.6, 0.7):  # from 0.1 on patches learn from pseudo-labels, too
        result = run(_input(step, progress))
        counts.append(len(captured))
        assert torch.equal(result.loss.detach(), step.images.sum())
    assert counts == [0, 1, 1, 1, 2, 2]
    assert not any(each.requires_grad for each in result[1:])
    assert captured[0].images is not step.images
    assert torch.equal(captured[0].images, step.images)
    assert len(captured[0].drawn.own) == 0
    assert len(captured[1].drawn.own) == PATCHES
    assert said == []


def test_a_step_that_cannot_be_captured_runs_as_usual(monkeypatch):
    def fails(step):
        raise RuntimeError("out of memory")

    captured = _capture(monkeypatch, fails)
    step, said = Step(torch.device("cpu"), torch.float32), []
    run = GraphedStep(_Counted, said.append)
    for _ in range(4):
        assert torch.equal(run(_input(step, 0.5)).loss.detach(), step.images.sum())
    assert len(captured) == 1
    assert len(said) == 1
    assert "out of memory" in said[0]
