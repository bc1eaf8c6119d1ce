"""A whole step, as a GPU sees it."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from nnunetv2.training.loss.compound_losses import DC_and_BCE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nnunetv2_pclmix import closed_world
from nnunetv2_pclmix.label_space import RegionSpace
from nnunetv2_pclmix.objective import PCLMixObjective
from nnunetv2_pclmix.step_data import StepInput
from nnunetv2_pclmix.terms import TERMS
from nnunetv2_pclmix.training_step import one_pass
from tests.step import CLASSES, IGNORE, PATCHES, Step


class _NoWaiting(TorchDispatchMode):
    """Refuses copies to a device for which the host has to wait."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name, kwargs = func.overloadpacket.__name__, kwargs or {}
        tensors = [a for a in args if isinstance(a, torch.Tensor)]
        devices = {tensor.device.type for tensor in tensors}
        if name == "copy_" and len(devices) > 1:
            assert len(args) > 2 and args[2], "a copy to the device that blocks"
        if name == "_to_copy" and kwargs.get("device") is not None and tensors[0].device != kwargs["device"]:
            assert kwargs.get("non_blocking"), "a copy to the device that blocks"
        return func(*args, **kwargs)


class _NoCopying(TorchDispatchMode):
    """Refuses copies from one device to another, which a CUDA graph would repeat from memory long freed."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [a for a in tree_leaves((args, out)) if isinstance(a, torch.Tensor) and a.ndim]  # indices, too
        assert len({tensor.device.type for tensor in tensors}) < 2, f"{func} copies to another device"
        return out


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("settings", [{}, {"teacher_decay": 0.9}, {"preset": "published"}])
def test_a_step_copies_nothing_to_the_device_after_what_is_drawn(monkeypatch, settings, dim, regions):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # there is none for such tensors
    device = torch.device("meta")
    step = Step(device, torch.float32, dim, **settings)
    objective, strokes = step.objective, step.strokes
    if regions:
        space, loss = RegionSpace([(1, 2, 3), (2, 3), 3, 1], [1, 2, 3, 1], CLASSES, IGNORE), _region_loss()
        every_scale = DeepSupervisionWrapper(loss, (0.6, 0.3, 0.1))
        objective = PCLMixObjective(objective.config, space.to(device), every_scale, loss, step.queue)
        strokes = strokes._replace(present=torch.ones(PATCHES, 4, dtype=torch.bool, device=device))
    drawn = objective.draw(step.mix, PATCHES, 0.5, np.random.default_rng(0)).to(device)
    with _NoCopying():
        batch = StepInput(step.images, step.targets, drawn, strokes)
        one_pass(step.network, objective, batch, 1, step.teacher).loss.backward()
        with pytest.raises(AssertionError, match="copies to another device"):
            step.mix.boxes.to(device)


def _region_loss() -> DC_and_BCE_loss:
    """nnU-Net's for regions with an ignore label."""
    return DC_and_BCE_loss(
        {},
        {"batch_dice": True, "smooth": 1e-5, "do_bg": True, "ddp": False},
        use_ignore_label=True,
        dice_class=MemoryEfficientSoftDiceLoss,
    )


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("settings", [{}, {"teacher_decay": 0.9}, {"preset": "published"}])
def test_a_step_needs_no_value_of_a_tensor(monkeypatch, settings, dim):
    """A meta tensor has none: nothing that a GPU would have to be waited for, no shape that depends on the data."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # there is none for such tensors
    step = Step(torch.device("meta"), torch.float32, dim, **settings)
    with _NoWaiting():
        assert step().shape == (len(TERMS),)
    assert step.network.encoder.stages[0][0].convs[0].conv.weight.grad is not None


@pytest.mark.parametrize(
    "settings", [{}, {"teacher_decay": 0.9}, {"preset": "published"}, {"mix_consistency_certain_only": True}]
)
def test_a_compiled_objective_is_compiled_once_and_agrees_with_eager(monkeypatch, settings):
    torch._dynamo.reset()
    monkeypatch.setattr(closed_world, "_is_never_looked_at", lambda device: True)  # as on a GPU
    eager, compiled = (Step(torch.device("cpu"), torch.float32, **settings) for _ in range(2))
    counters.clear()
    compiled.objective.compile(backend="aot_eager")
    torch._dynamo.config.error_on_recompile = True
    try:
        for progress in (0.5, 0.6):
            terms = [step(progress).tolist() for step in (eager, compiled)]
            for name, a, b in zip(TERMS, *terms, strict=True):
                assert b == pytest.approx(a, rel=1e-5, abs=1e-6), name
    finally:
        torch._dynamo.config.error_on_recompile = False
    assert all("_grow_stepwise" in reason for reason in counters["graph_break"]), counters["graph_break"]
    for a, b in zip(eager.network.parameters(), compiled.network.parameters(), strict=True):
        assert a.grad is None or torch.allclose(a.grad, b.grad, rtol=1e-3, atol=1e-5)


def test_the_objective_is_compiled_without_what_stops_on_a_single_twin(monkeypatch):
    """Seen on a GPU: inductor joins sums over one image with those over several and stops in an assertion."""
    from torch._inductor import config

    asked = []
    monkeypatch.setattr(torch, "compile", lambda function, **options: asked.append(options) or function)
    step = Step(torch.device("cpu"), torch.float32)
    step.objective.compile()
    assert [options["dynamic"] for options in asked] == [False] * 3
    expected = {"triton.mix_order_reduction": False} if hasattr(config.triton, "mix_order_reduction") else None
    assert all(options.get("options") == expected for options in asked)
