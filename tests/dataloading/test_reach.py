import numpy as np
import pytest

from nnunetv2_pclmix.dataloading.reach import whereabouts


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(
    ("place", "expected"),
    [
        (10, (True, False, True)),  # the patch's first voxel
        (9, (True, True, False)),
        (15, (True, False, True)),  # its last
        (16, (True, True, False)),
        (18, (True, True, False)),  # half a patch away
        (19, (False, True, False)),
    ],
)
def test_a_stroke_within_beside_and_far_from_a_patch(axis, place, expected):
    voxel = np.full((1, 2), 12)
    voxel[0, axis] = place
    assert whereabouts(voxel, [10, 10], [6, 6]) == expected


def test_one_stroke_within_and_one_outside():
    assert whereabouts(np.array([[12, 12], [12, 40]]), [10, 10], [6, 6]) == (True, True, True)


def test_no_stroke_is_neither():
    assert whereabouts(np.zeros((0, 2), int), [10, 10], [6, 6]) == (False, False, False)
