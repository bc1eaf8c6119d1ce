"""A step as a CUDA graph: the GPU is told of its thousands of kernels at once instead of one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.cuda import make_graphed_callables
from torch.utils import _pytree as pytree  # what make_graphed_callables itself takes its arguments apart with

from nnunetv2_pclmix.objective import StepResult
from nnunetv2_pclmix.training_step import StepInput


class _Known(NamedTuple):
    """Shapes of a step's tensors, and its graph once there is one."""

    shapes: tuple
    step: Callable[[StepInput], StepResult] | None


class GraphedStep:
    """Runs a step as a CUDA graph wherever its tensors have the shapes of the step before.

    The first step with other shapes runs as usual, so that everything that is built, compiled or chosen on first use
    is; the second one is captured. At most one graph is kept, because each holds the memory of a whole step. Where
    capturing fails, steps go on as usual.

    Args:
        make_step: makes the step to capture, a new one each time.
        say: told, in words, where a step cannot be captured.
    """

    def __init__(self, make_step: Callable[[], nn.Module], say: Callable[[str], object]) -> None:
        self._make_step, self._say = make_step, say
        self._plain = make_step()
        self._known = _Known((), None)
        self._failed = False

    def __call__(self, step: StepInput) -> StepResult:
        shapes = tuple((t.shape, t.dtype) for t in pytree.arg_tree_leaves(step))
        if self._failed or shapes != self._known.shapes:
            self._known = _Known(shapes, None)
            return self._plain(step)
        if self._known.step is None:
            try:
                self._known = _Known(shapes, self._captured(step))
            except RuntimeError as error:
                self._failed = True
                self._say(f"a step could not be made a CUDA graph, which costs time and nothing else: {error}")
                return self._plain(step)
        assert self._known.step is not None
        loss, *rest = self._known.step(step)
        return StepResult(loss, *(each.detach() for each in rest))

    def _captured(self, step: StepInput) -> Callable[[StepInput], StepResult]:
        torch.cuda.empty_cache()  # the graph has memory of its own
        sample = pytree.tree_map(Tensor.clone, step)  # where each step's tensors will be copied to
        captured = make_graphed_callables(self._make_step(), (sample,), allow_unused_input=True)
        return cast(Callable[[StepInput], StepResult], captured)
