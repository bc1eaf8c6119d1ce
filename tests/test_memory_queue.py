import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nnunetv2_pclmix.memory_queue import MemoryQueue
from tests.oracles import Ring

C, D = 3, 2


def _held(queue: MemoryQueue, c: int) -> set[tuple]:
    return {tuple(row) for row in queue.features[c][queue.filled()[c]].tolist()}


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_holds_what_a_list_of_the_newest_holds(seed, length, images):
    rng = np.random.default_rng(seed)
    queue, rings = MemoryQueue(C, length, D), [Ring(length) for _ in range(C)]
    for _ in range(5):  # empty, partly filled and wrapped
        vectors = torch.from_numpy(rng.normal(size=(images, C, D)).astype(np.float32))
        valid = torch.from_numpy(rng.random((images, C)) < 0.6)
        queue.enqueue(vectors, valid)
        for n in range(images):
            for c in range(C):
                if valid[n, c]:
                    rings[c].push(vectors[n, c].numpy())
        for c in range(C):
            assert _held(queue, c) == {tuple(v.tolist()) for v in rings[c].vectors}


def test_starts_empty_and_ignores_what_is_not_valid():
    queue = MemoryQueue(C, 4, D)
    assert not queue.filled().any()
    queue.enqueue(torch.ones(2, C, D), torch.zeros(2, C, dtype=torch.bool))
    assert not queue.filled().any()


def test_state_survives_a_checkpoint():
    queue, other = MemoryQueue(C, 4, D), MemoryQueue(C, 4, D)
    queue.enqueue(torch.randn(3, C, D), torch.ones(3, C, dtype=torch.bool))
    other.load_state_dict(queue.state_dict())
    extra = torch.randn(3, C, D)
    for q in (queue, other):
        q.enqueue(extra, torch.ones(3, C, dtype=torch.bool))
    assert torch.equal(queue.features, other.features)


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"expected vectors \(N, 3, 2\)"):
        MemoryQueue(C, 4, D).enqueue(torch.zeros(1, C, D + 1), torch.zeros(1, C, dtype=torch.bool))
