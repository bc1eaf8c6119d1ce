from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def cuda() -> Iterator[torch.device]:
    """The CUDA device, with float32 as exact as on the CPU."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield torch.device("cuda", 0)
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32
