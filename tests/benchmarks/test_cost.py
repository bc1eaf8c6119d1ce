"""The scripts that time things still run, on next to nothing, and what they compare is the same on both sides."""

from __future__ import annotations

import importlib
import re

import pytest

FLOOR = "multiply-adds of the training network (the floor)"


@pytest.fixture
def ratios(monkeypatch, capsys):
    """Runs a script's ``main``; returns its table as (what, against) to ratio, and all that it printed."""
    monkeypatch.setattr("torch.set_num_threads", lambda _: None)

    def run(script, *arguments):
        importlib.import_module(f"benchmarks.{script}").main([*arguments, "--repeats", "1"])
        printed = capsys.readouterr().out
        rows = re.findall(r"^\| (.+) \| (.+) \| ([0-9.]+) \|$", printed, re.MULTILINE)
        return {(what, against): float(ratio) for what, against, ratio in rows}, printed

    return run


@pytest.mark.parametrize("pclmix", ["{}", '{"preset": "published"}'])
def test_step(ratios, pclmix):
    made, _ = ratios(
        "step", "--features", "4", "8", "16", "--patch-size", "32", "32", "--learn", "60", "--pclmix", pclmix
    )
    assert len(made) == 4
    assert made[FLOOR, "the planned network"] > 1
    step, above = (made["a training step", f"stock's step {to}"] for to in ("with as many images", "times the floor"))
    assert step / made[FLOOR, "the planned network"] == pytest.approx(above, abs=2e-3 * (1 + step))
    assert 0 < made["contrast with its gradient, and pseudo-labels", "a training step"] < 1


def test_step_with_a_teacher(ratios):
    pclmix = '{"teacher_decay": 0.9}'
    made, _ = ratios(
        "step", "--features", "4", "8", "16", "--patch-size", "32", "32", "--learn", "60", "--pclmix", pclmix
    )
    assert len(made) == 6
    asking = made["multiply-adds of a step, the teacher's forward pass included", "stock's step"]
    # of 8 images 7 are patches; the teacher has no projection head
    assert 1 + 7 / 8 / 3 < asking < made[FLOOR, "the planned network"] * (1 + 7 / 8 / 3)
    step, above = (made["a training step", f"stock's step {to}"] for to in ("with as many images", "times these"))
    assert step / asking == pytest.approx(above, abs=2e-3 * (1 + step))


def test_contrast(ratios):
    made, _ = ratios("contrast", "--images", "2", "--grid", "6", "5", "--anchors", "40")
    assert next(iter(made.values())) > 0


def test_loader(ratios, workspace):
    made, _ = ratios("loader", "-d", "511", "-p", "nnUNetPlansSmall", "-c", "2d_small", "--batches", "1")
    assert 0 < made["loading a patch, boxes and twins included", "nnU-Net's loader"] < 20


def test_inference(ratios, workspace):
    made, printed = ratios("inference", "-d", "511", "-p", "nnUNetPlansSmall", "-c", "2d_small")
    assert "logits identical" in printed
    assert made["parameters of the network", "nnU-Net's model"] == 1
    assert made["multiply-adds of the network", "nnU-Net's model"] == 1
