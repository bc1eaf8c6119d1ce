import math

import numpy as np
import pytest
import torch

from nnunetv2_pclmix.pseudo_label import contrast_labels, entropy, mean_probabilities
from tests import oracles


def test_entropy_and_mean_equal_the_plain_loop():
    rng = np.random.default_rng(0)
    main, auxiliary = rng.normal(size=(2, 3, 2, 4)), rng.normal(size=(2, 3, 2, 4))
    mean = mean_probabilities(torch.from_numpy(main), torch.from_numpy(auxiliary))
    expected = (oracles.softmax(main) + oracles.softmax(auxiliary)) / 2
    assert mean.numpy() == pytest.approx(expected, abs=1e-6)  # float32 whatever comes in
    assert entropy(torch.from_numpy(expected)).numpy() == pytest.approx(oracles.entropy(expected), abs=1e-9)


def test_entropy_of_certainty_and_of_indecision():
    probabilities = torch.tensor([[1.0, 0.5], [0.0, 0.5]])[None]
    assert entropy(probabilities)[0].tolist() == pytest.approx([0.0, math.log(2)])


def test_labels_are_the_scribble_else_the_certain_prediction_else_none():
    probabilities = torch.tensor([[0.99, 0.99, 0.5, 0.5], [0.01, 0.01, 0.5, 0.5]])[None]
    scribbles = torch.tensor([[1, 2, 2, 0]])
    assert contrast_labels(probabilities, scribbles, 2, threshold=0.5).tolist() == [[1, 0, 2, 0]]
