import numpy as np

from nnunetv2_pclmix.monitoring import describe_shares, label_names, shares, vanished_classes


def test_a_class_with_fewer_pseudo_labels_than_scribbles_has_vanished():
    assert vanished_classes(np.array([1000, 3, 50]), np.array([10, 5, 5])) == [1]


def test_a_class_without_scribbles_cannot_vanish():
    assert vanished_classes(np.array([1000, 0]), np.array([10, 0])) == []


def test_shares():
    assert shares(np.array([3, 1])).tolist() == [0.75, 0.25]
    assert shares(np.zeros(2)).tolist() == [0, 0]
    assert describe_shares(["background", "RV"], np.array([3, 1])) == "background 0.7500, RV 0.2500"


def test_names_of_labels():
    assert label_names({"background": 0, "RV": 1, "ignore": 2}, 2) == ["background", "RV"]
    assert label_names({"background": 0, "heart": [1, 2], "LV": [2], "scar": 3}, 4) == ["background", "1", "2", "scar"]
