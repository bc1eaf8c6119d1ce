"""Rules for borders let loose on labels that are right, of scribbled phantoms."""

import argparse
import re

import pytest

from benchmarks import borders, scribbled


def _figures(text):
    """(prediction, settings) to Dice and volume of each structure."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines()[2:]]
    return {
        (start, row.strip("`")): [[float(n) for n in re.findall(r"[\d.]+", cell)] for cell in cells[:-1]]
        for start, row, *cells in rows
    }


def test_what_is_right_stays_and_what_is_too_thick_becomes_thinner(workspace, capsys):
    off = '{"appearance_weight": 0}'
    borders.main(
        ["-d", "511", "--slices", "--every", "2", "--thicker", "MYO", "--thinner", "RV", "LV", "--pclmix", "{}", off]
    )
    figures = _figures(capsys.readouterr().out)
    assert len(figures) == 12
    assert figures["right", "before"] == figures["right", off] == [[1.0, 1.0]] * 3
    assert min(dice for dice, _ in figures["right", "{}"]) > 0.85
    thick = "MYO too thick"
    assert figures[thick, "before"] == figures[thick, off]
    myocardium = [figures[thick, row][1] for row in ("before", "{}")]
    assert myocardium[0][1] > 1.2
    assert myocardium[1][1] < myocardium[0][1]
    assert myocardium[1][0] > myocardium[0][0]
    for place, name in ((0, "RV"), (2, "LV")):
        before, after = (figures[f"{name} too thin", row][place] for row in ("before", "{}"))
        assert before[1] < 0.9
        assert after[1] > before[1]


def test_a_structure_becomes_thicker_and_thinner():
    disk = borders.torch.zeros(2, 7, 7, dtype=borders.torch.long)
    disk[0, 1:6, 1:6] = 1
    disk[0, 6] = 2
    disk[1] = 1  # has no neighbour
    thin = borders._thinner(disk, 1)
    assert (thin == 1).sum((1, 2)).tolist() == [9, 49]
    assert thin[0, 5, 2:5].tolist() == [2] * 3
    assert thin[0, 1].tolist() == [0] * 7
    assert borders.torch.equal(borders._thicker(thin, 1)[0, 2:5, 1:6], disk[0, 2:5, 1:6])


def test_nothing_at_all_is_right():
    none = borders.torch.zeros(3, dtype=borders.torch.bool)
    assert borders._score(none, none) == (1.0, 1.0)
    assert borders._score(~none, none) == (0.0, 3.0)


def test_an_unknown_setting_is_refused(workspace):
    with pytest.raises(ValueError, match="appearance"):
        borders.main(["-d", "511", "--pclmix", '{"apearance_weight": 0}'])


def test_an_unknown_structure_is_refused(workspace, capsys):
    with pytest.raises(SystemExit):
        borders.main(["-d", "511", "--thicker", "LA"])
    assert "no structure is called LA; choose one of RV, MYO, LV" in capsys.readouterr().err


def test_each_nth_case_is_taken(workspace):
    files = [scribbled.open_dataset(argparse.Namespace(d="511", every=every)).files for every in (1, 2)]
    assert files[1] == files[0][::2]
    assert len(files[0]) == len(list((workspace.raw / "labelsTr").iterdir()))
