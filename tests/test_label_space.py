"""What strokes make possible, for classes and for regions."""

import math

import pytest
import torch

from nnunetv2_pclmix.label_space import ClassSpace, RegionSpace

CLASSES = ClassSpace(3, 3)
REGIONS = RegionSpace([(1, 2), 2], [1, 2], 3, 3)  # the whole and its core


@pytest.mark.parametrize(("space", "channels"), [(CLASSES, 3), (REGIONS, 2)])
def test_absent_structures_and_islands_are_impossible(space, channels):
    present = torch.tensor([[True, False], [True, True]])
    islands = torch.zeros(2, 4, 5, dtype=torch.bool)
    islands[1, 2, 3] = True
    possible = space.possible(present, islands)
    assert possible.shape == (2, channels, 4, 5)
    structures = possible[:, space.first_structure :]
    assert possible[:, : space.first_structure].all()
    assert structures[0, 0].all()
    assert not structures[0, 1].any()
    assert not structures[1, :, 2, 3].any()
    assert structures[1].sum() == 2 * 4 * 5 - 2


def test_the_next_best_class_is_predicted_where_the_best_is_absent():
    logits = torch.tensor([0.0, 1.0, 2.0]).view(1, 3, 1, 1).repeat(2, 1, 2, 2)
    present = torch.tensor([[True, False], [True, True]])
    labels = CLASSES.labels_of_logits(CLASSES.only_present(logits, present))
    assert (labels[0] == 1).all()
    assert (labels[1] == 2).all()
    nothing = CLASSES.labels_of_logits(CLASSES.only_present(logits, torch.zeros(2, 2, dtype=torch.bool)))
    assert (nothing == 0).all()


def test_absent_regions_are_not_predicted():
    logits = torch.ones(1, 2, 2, 2)
    present = torch.tensor([[True, False]])
    assert (REGIONS.labels_of_logits(logits) == 2).all()
    assert (REGIONS.labels_of_logits(REGIONS.only_present(logits, present)) == 1).all()


def test_evidence_for_regions_is_that_of_labels_nearby():
    """Label 3 is in all regions, 1 and 2 look like what lies beside it, but are not near."""
    space = RegionSpace([(1, 2, 3), (2, 3), 3], [1, 2, 3], 4, 4)
    logits = torch.full((1, 3, 5), 2.0)
    evidence = torch.tensor([0.0, 9.0, 9.0, -3.0]).view(1, 4, 1).expand(1, 4, 5).clone()
    near = torch.tensor([True, False, False, True]).view(1, 4, 1).expand(1, 4, 5).clone()
    changed = space.with_evidence(logits, evidence, near)
    assert torch.allclose(changed, logits - 3.0)
    assert (space.labels_of_logits(changed) == 0).all()
    near[:, 1] = True
    changed = space.with_evidence(logits, evidence, near)  # of the whole: label 1 and 3 against background
    whole = torch.logsumexp(torch.tensor([9.0, -3.0]), 0) - math.log(2)
    assert torch.allclose(changed[:, 0], logits[:, 0] + whole)
    near[:] = False
    assert torch.equal(space.with_evidence(logits, evidence, near), logits)


@pytest.mark.parametrize(("space", "channels"), [(CLASSES, 3), (REGIONS, 2)])
def test_labels_of_what_is_present_are_those_of_its_logits(space, channels):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, channels, 9, 8, generator=generator)
    present = torch.tensor([[True, True], [True, False], [False, True], [False, False]])
    labels = space.labels_of_logits(logits, present)
    assert torch.equal(labels, space.labels_of_logits(space.only_present(logits, present)))
    assert not torch.equal(labels[1:], space.labels_of_logits(logits)[1:])
