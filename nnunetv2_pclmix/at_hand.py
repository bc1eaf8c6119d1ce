"""Whether a step may look at the values that it computes with."""

import torch
from torch import Tensor


def is_at_hand(values: Tensor) -> bool:
    """Whether values may be asked for: on a CPU, which has them; a GPU would be waited for, and a graph broken."""
    return values.device.type == "cpu" and not torch.compiler.is_compiling()
