import numpy as np
import pytest

from nnunetv2_pclmix.dataloading.sampling import case_probabilities, supervision_of

CASES = ["a", "b", "c", "d", "e", "f"]


def _shares(supervision, unlabelled=0.25, dense=None):
    return case_probabilities(CASES, supervision, unlabelled, dense)


def test_one_kind_is_drawn_as_nnunet_draws():
    assert _shares({}) is None
    assert _shares(dict.fromkeys(CASES, "dense"), dense=0.5) is None
    assert _shares({"a": "dense"}) is None  # by number, so every case alike


@pytest.mark.parametrize(
    ("supervision", "unlabelled", "dense", "expected"),
    [
        ({"a": "none", "b": "none"}, 0.25, None, [0.125, 0.125, 0.1875, 0.1875, 0.1875, 0.1875]),
        ({"a": "dense"}, 0.25, 0.5, [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]),
        ({"a": "dense", "b": "none"}, 0.2, 0.5, [0.4, 0.2, 0.1, 0.1, 0.1, 0.1]),
        ({"a": "dense", "b": "none"}, 0.0, None, [0.2, 0.0, 0.2, 0.2, 0.2, 0.2]),
        ({"a": "none", **dict.fromkeys("bcdef", "dense")}, 0.5, 0.1, [0.5, 0.1, 0.1, 0.1, 0.1, 0.1]),
    ],
)
def test_shares_by_kind(supervision, unlabelled, dense, expected):
    probabilities = _shares(supervision, unlabelled, dense)
    assert probabilities == pytest.approx(np.array(expected))
    assert probabilities.sum() == pytest.approx(1)


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(ValueError, match="none of the 6 training cases"):
        _shares(dict.fromkeys(CASES, "none"))


def test_unknown_supervision_is_refused():
    with pytest.raises(ValueError, match="of a is 'some'"):
        supervision_of({"scribbles": {"supervision": {"a": "some"}}})
    assert supervision_of({}) == {}


@pytest.mark.parametrize("noted", [None, [], {"supervision": None}, {"supervision": ["a"]}])
def test_notes_of_another_form_are_named(noted):
    with pytest.raises(ValueError, match=r"has something else under \"scribbles\" than"):
        supervision_of({"scribbles": noted})
