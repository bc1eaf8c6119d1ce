"""Class-wise queue of feature vectors (PCLMix, section "Uncertainty-guided Pixel Contrastive Learning")."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MemoryQueue(nn.Module):
    """A ring of ``length`` feature vectors per class; the newest overwrite the oldest.

    As published: 500 class-mean embeddings per class. Differs from the authors' code, whose queue starts as random
    vectors (here empty rows are marked and never used) and leaves background out (here it is a class like the
    others). All state lives in buffers, so that a checkpoint holds it; no operation waits for the device.

    Args:
        num_classes: classes C, background included.
        length: vectors per class K.
        dimension: length of a vector D.
    """

    features: Tensor  # (C, K, D)
    written: Tensor  # (C,) vectors written so far to each class's ring

    def __init__(self, num_classes: int, length: int, dimension: int) -> None:
        super().__init__()
        if min(num_classes, length, dimension) < 1:
            raise ValueError(f"expected positive sizes, got {num_classes} classes of {length} x {dimension}")
        self.register_buffer("features", torch.zeros(num_classes, length, dimension))
        self.register_buffer("written", torch.zeros(num_classes, dtype=torch.long))

    @property
    def length(self) -> int:
        """Vectors per class."""
        return self.features.shape[1]

    def filled(self) -> Tensor:
        """(C, K) bool: which rows hold a vector."""
        rows = torch.arange(self.length, device=self.written.device)
        return rows < self.written[:, None]

    @torch.no_grad()
    def enqueue(self, vectors: Tensor, valid: Tensor) -> None:
        """Append vectors to their class's ring.

        Args:
            vectors: (N, C, D), at most one vector per image and class; any float type.
            valid: (N, C) bool; which of them exist. With more than K valid vectors for a class the last K stay.

        Raises:
            ValueError: if the shapes do not fit the queue.
        """
        num_classes, length, dimension = self.features.shape
        if vectors.shape[1:] != (num_classes, dimension) or valid.shape != vectors.shape[:2]:
            raise ValueError(
                f"expected vectors (N, {num_classes}, {dimension}) and valid (N, {num_classes}), "
                f"got {tuple(vectors.shape)} and {tuple(valid.shape)}"
            )
        order = valid.long().cumsum(0)  # 1 for the first valid vector of a class, 2 for the second, ...
        total = order[-1] if len(order) else torch.zeros_like(self.written)
        stays = valid & (order > total - length)
        row = (self.written + order - 1) % length
        # what does not stay goes to a row behind the ring, so that the shapes do not depend on the data
        row = torch.where(stays, row, length)
        ring = torch.cat([self.features, self.features.new_zeros(num_classes, 1, dimension)], 1)
        classes = torch.arange(num_classes, device=row.device).expand_as(row)
        ring[classes, row] = vectors.to(ring.dtype)
        self.features.copy_(ring[:, :length])
        self.written.add_(total)
