"""The habits of whoever draws: people differ, and one person draws all slices of a volume alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

COMPACT_KINDS = ("zigzag", "spiral", "loop", "line")
ELONGATED_KINDS = ("spine", "loop", "zigzag")
_COMPACT_SHARES = (0.4, 0.3, 0.25, 0.05)
_ELONGATED_SHARES = (0.3, 0.4, 0.3)
_LOYALTY = 0.7
"""Share of the strokes that are of the favourite kind."""


@dataclass(frozen=True)
class Hand:
    """How somebody draws.

    Attributes:
        compact: favourite stroke in round structures, one of ``COMPACT_KINDS``.
        elongated: favourite stroke in long ones, one of ``ELONGATED_KINDS``.
        distance: distance of the background's curve from the structures, over their radius.
        turns: how far around the structures it goes; 1 is once around.
        drift: how much farther out it ends than it began; 0 is not at all.
    """

    compact: str
    elongated: str
    distance: float
    turns: float
    drift: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Hand:
        """Draw somebody's habits."""
        return cls(
            compact=str(rng.choice(COMPACT_KINDS, p=_COMPACT_SHARES)),
            elongated=str(rng.choice(ELONGATED_KINDS, p=_ELONGATED_SHARES)),
            distance=float(rng.uniform(0.15, 0.5)),
            turns=float(rng.uniform(0.8, 1.5)),
            drift=float(rng.uniform(0.0, 1.3)),
        )

    def compact_kind(self, rng: np.random.Generator) -> str:
        """Choose the stroke for a round structure."""
        return self.compact if rng.random() < _LOYALTY else str(rng.choice(COMPACT_KINDS, p=_COMPACT_SHARES))

    def elongated_kind(self, rng: np.random.Generator) -> str:
        """Choose the stroke for a long structure."""
        return self.elongated if rng.random() < _LOYALTY else str(rng.choice(ELONGATED_KINDS, p=_ELONGATED_SHARES))
