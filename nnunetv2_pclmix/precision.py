"""Numbers precise enough for sums over whole images, whatever the autocast made of them."""

import torch
from torch import Tensor


def at_least_float32(values: Tensor) -> Tensor:
    """The values in float32, or in their own type where that is wider."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
