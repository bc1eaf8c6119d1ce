"""A step as a CUDA graph: the GPU is told of its thousands of kernels at once instead of one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree  # torch's own way to reach the tensors in tuples and lists

from nnunetv2_pclmix.step_data import StepInput, StepResult

Run = Callable[[StepInput], StepResult]
Result = TypeVar("Result")


class GraphedStep:
    """Replays a step as a CUDA graph wherever its tensors have the shapes of the step before.

    The first step with other shapes runs as usual, so that everything that is built, compiled or chosen on first use
    is; the second one is captured. At most one graph is kept, because it holds the memory of a whole step. Where
    capturing fails, steps go on as usual.

    Args:
        run: computes a step and its gradients; the host must not have to wait for the GPU in it, nor copy anything.
        parameters: what the gradients are of.
        say: told, in words, where a step cannot be captured.
    """

    def __init__(self, run: Run, parameters: Iterable[nn.Parameter], say: Callable[[str], object]) -> None:
        self._run, self._parameters, self._say = run, list(parameters), say
        self._shapes: list[tuple[torch.Size, torch.dtype]] = []
        self._replay: Run | None = None
        self._bytes = 0  # that the graph holds
        self._failed = False

    def __call__(self, step: StepInput) -> StepResult:
        shapes = [(each.shape, each.dtype) for each in _tensors(step)]
        if self._failed or shapes != self._shapes:
            self._shapes, self._replay = shapes, None
            return self._run(step)
        if self._replay is None:
            torch.cuda.empty_cache()  # the graph has memory of its own
            before = torch.cuda.memory_reserved()
            try:
                self._replay = capture(self._run, self._parameters, step)
            except RuntimeError as error:
                self._failed = True
                self._say(f"a step could not be made a CUDA graph, which costs time and nothing else: {error}")
                _drop_gradients(self._parameters)
                return self._run(step)
            self._bytes = torch.cuda.memory_reserved() - before
        return self._replay(step)

    def make_room(self) -> None:
        """Before something else needs memory: give the graph's back unless as much is free anyway.

        The next step is captured again, which takes as long as some steps.
        """
        if self._replay is not None and torch.cuda.mem_get_info()[0] < self._bytes:
            self.release()

    def release(self) -> None:
        """Give the graph's memory back, gradients included."""
        self._replay = None
        _drop_gradients(self._parameters)
        torch.cuda.empty_cache()


def _tensors(step: StepInput) -> list[Tensor]:
    """Of a step, in order; what is not known of its strokes is none."""
    return [each for each in pytree.tree_leaves(step) if isinstance(each, Tensor)]


def _drop_gradients(parameters: Iterable[nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = None


def capture(run: Run, parameters: Sequence[nn.Parameter], step: StepInput) -> Run:
    """Capture a step and its gradients.

    Args:
        run: see ``GraphedStep``.
        parameters: whose gradients are not there yet.
        step: an example.

    Returns:
        What replays the step on other tensors of the same shapes. Its result and gradients live in the graph's memory,
        until the next replay.

    Raises:
        RuntimeError: where something in the step cannot be captured, or memory is short.
    """
    inputs: StepInput = pytree.tree_map_only(Tensor, Tensor.clone, step)
    # the graph makes gradients of its own
    graph, captured = record(lambda: run(inputs), lambda: _drop_gradients(parameters))
    result = StepResult(*(each.detach() for each in captured))
    gradients = [parameter.grad for parameter in parameters]

    def replay(step: StepInput) -> StepResult:
        for here, given in zip(_tensors(inputs), _tensors(step), strict=True):
            here.copy_(given, non_blocking=True)
        graph.replay()
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return result

    return replay


def record(
    call: Callable[[], Result], between: Callable[[], object] = lambda: None
) -> tuple[torch.cuda.CUDAGraph, Result]:
    """Record what a call has a GPU do.

    Args:
        call: called twice, first as usual, so that what libraries keep for each stream is made outside of the graph.
        between: called in between.

    Returns:
        The graph and what the call returned, which lives in the graph's memory.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        call()
    torch.cuda.current_stream().wait_stream(stream)
    between()
    graph = torch.cuda.CUDAGraph()
    # thread_local, because nnU-Net's loader pins memory in a thread of its own meanwhile
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
        result = call()
    return graph, result
