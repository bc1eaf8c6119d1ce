import math

import numpy as np
import pytest
import torch

from nnunetv2_pclmix import pseudo_label
from nnunetv2_pclmix.pseudo_label import (
    classes_of,
    contrast_labels,
    entropy,
    largest_binary_entropy,
    stroke_voxels_per_class,
    voxels_per_class,
)
from tests import oracles


def test_entropy_equals_the_plain_loop():
    probabilities = oracles.softmax(np.random.default_rng(0).normal(size=(2, 3, 2, 4)))
    assert entropy(torch.from_numpy(probabilities)).numpy() == pytest.approx(oracles.entropy(probabilities), abs=1e-9)


def test_the_least_certain_region_counts():
    probabilities = torch.tensor([[0.0, 0.5, 0.1], [1.0, 0.9, 0.2]], dtype=torch.float64)[None]
    both = [oracles.entropy(torch.stack([p, 1 - p], 1).numpy())[0] for p in probabilities.unbind(1)]
    assert largest_binary_entropy(probabilities)[0].numpy() == pytest.approx(np.maximum(*both), abs=1e-9)


def test_entropy_of_certainty_and_of_indecision():
    probabilities = torch.tensor([[1.0, 0.5], [0.0, 0.5]])[None]
    assert entropy(probabilities)[0].tolist() == pytest.approx([0.0, math.log(2)])


def test_labels_are_the_scribble_else_the_certain_prediction_else_none():
    predicted, certain = torch.tensor([[0, 0, 0, 1]]), torch.tensor([[True, True, False, False]])
    scribbles = torch.tensor([[1, 2, 2, 0]])
    assert contrast_labels(predicted, certain, scribbles, ignore_label=2).tolist() == [[1, 0, 2, 0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 4, 5, 6), (1, 1, 3, 3), (1, 300, 2, 2, 2), (2, 3, 0, 4)])
def test_the_most_probable_class_is_the_first_of_the_largest(dtype, shape):
    values = np.random.default_rng(0).integers(-3, 4, shape).astype(np.float32)  # with many equals
    values[values == -3] = -np.inf
    classes = classes_of(torch.from_numpy(values).to(dtype))
    assert classes.dtype == torch.int16
    assert np.array_equal(classes.numpy(), values.argmax(1))


@pytest.mark.parametrize("looked_at", [True, False])
@pytest.mark.parametrize("dtype", [torch.int16, torch.long])
def test_voxels_of_other_values_are_not_counted(monkeypatch, looked_at, dtype):
    monkeypatch.setattr(pseudo_label, "is_at_hand", lambda _: looked_at)
    labels = torch.tensor([[-1, 0, 1, 1], [3, 4, 255, -1]], dtype=dtype)
    assert voxels_per_class(labels, 4).tolist() == [1, 2, 0, 1]
    assert voxels_per_class(labels[:, :0], 4).tolist() == [0, 0, 0, 0]


def test_dense_labels_are_no_strokes():
    scribbles = torch.full((3, 4, 4), 5)
    scribbles[0, 0] = torch.tensor([1, 1, 0, 2])
    scribbles[1, :2] = 3  # just half of it is labelled
    scribbles[2, :3] = 2
    assert stroke_voxels_per_class(scribbles, 5, 5).tolist() == [1, 2, 1, 8, 0]
    assert scribbles[2, 0, 0] == 2
