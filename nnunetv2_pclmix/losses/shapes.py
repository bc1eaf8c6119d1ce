"""The one place where the losses complain about shapes."""

from __future__ import annotations

from torch import Tensor


def check_labels(logits: Tensor, labels: Tensor) -> None:
    """Raise ``ValueError`` unless labels are (N, *grid) for logits (N, C, *grid)."""
    if labels.shape != (logits.shape[0], *logits.shape[2:]):
        raise ValueError(
            f"expected labels of shape {(logits.shape[0], *logits.shape[2:])} for logits "
            f"{tuple(logits.shape)}, got {tuple(labels.shape)}"
        )


def check_same(first: Tensor, second: Tensor) -> None:
    """Raise ``ValueError`` unless both tensors have one shape."""
    if first.shape != second.shape:
        raise ValueError(f"expected equal shapes, got {tuple(first.shape)} and {tuple(second.shape)}")
