"""Ramps of the loss weights: pure functions of training progress.

Progress is the fraction of the training that is done, ``t / T`` in [0, 1]; every length is a fraction of the
training too, so that a schedule means the same for 1,000 and for 250,000 iterations.
"""

from __future__ import annotations

import math


def _check_progress(progress: float) -> None:
    if not 0.0 <= progress <= 1.0:
        raise ValueError(f"expected progress in [0, 1], got {progress}")


def gaussian_ramp(progress: float, start: float = 0.0, length: float = 1.0) -> float:
    """Weight ``exp(-5 (1 - s)^2)`` with ``s = (progress - start) / length`` clipped to [0, 1].

    The usual ramp of self-training (Laine and Aila 2017), which PCLMix uses for its consistency terms. Zero before
    ``start``, so that a term can be kept out of the first part of a training altogether.

    Args:
        progress: done fraction of the training, in [0, 1].
        start: fraction at which the ramp begins.
        length: fraction over which it rises; 0 means a step at ``start``.

    Returns:
        A weight in [0, 1].

    Raises:
        ValueError: for a progress outside [0, 1] or a negative length.
    """
    _check_progress(progress)
    if length < 0:
        raise ValueError(f"expected a non-negative ramp length, got {length}")
    if progress < start:
        return 0.0
    position = 1.0 if length == 0 else min((progress - start) / length, 1.0)
    return math.exp(-5.0 * (1.0 - position) ** 2)


def power_ramp(progress: float, start: float, exponent: float = 0.9) -> float:
    """Weight ``progress ** exponent`` from ``start`` on, zero before: the ramp of the contrastive term as published.

    Args:
        progress: done fraction of the training, in [0, 1].
        start: fraction at which the term begins.
        exponent: 0.9 in PCLMix.

    Returns:
        A weight in [0, 1].

    Raises:
        ValueError: for a progress outside [0, 1].
    """
    _check_progress(progress)
    return 0.0 if progress < start else progress**exponent


def entropy_threshold(progress: float, start_factor: float = 0.75) -> float:
    """Entropy in nats above which a pixel counts as uncertain: ``(a + (1 - a) ramp) ln 2``, ``a`` 0.75 as published.

    Args:
        progress: done fraction of the training, in [0, 1].
        start_factor: the factor ``a`` before ln 2 at the start of the ramp.

    Returns:
        The threshold in nats, rising to ln 2.
    """
    return (start_factor + (1.0 - start_factor) * gaussian_ramp(progress)) * math.log(2.0)
