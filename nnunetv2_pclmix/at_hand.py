"""Whether a step may look at the values that it computes with, and what is quicker where it may."""

import torch
from torch import Tensor


def is_at_hand(values: Tensor) -> bool:
    """Whether values may be asked for: on a CPU, which has them; a GPU would be waited for, and a graph broken."""
    return values.device.type == "cpu" and not torch.compiler.is_compiling()


def either(condition: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """``torch.where`` of integers of one type, which takes the CPU twice as long as arithmetic does."""
    if not is_at_hand(condition):
        return torch.where(condition, one, other)
    return (one - other).mul_(condition).add_(other)  # integers wrap, so nothing is lost
