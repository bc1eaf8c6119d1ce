"""The averaged network against plain loops, and whose predictions become pseudo-labels."""

import numpy as np
import pytest
import torch

from nnunetv2_pclmix.config import PCLMixConfig
from nnunetv2_pclmix.network.build import add_training_parts
from nnunetv2_pclmix.teacher import Teacher
from nnunetv2_pclmix.terms import TERMS
from tests.network.test_dual_decoder import _unet
from tests.step import CLASSES, GRIDS, IGNORE, PATCHES, Step


def _network(seed: int = 0):
    torch.manual_seed(seed)
    return add_training_parts(_unet(), CLASSES, GRIDS[2], PCLMixConfig()).train()


def _next_weights(network, rng: np.random.Generator) -> None:
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.from_numpy(rng.normal(size=parameter.shape).astype(np.float32)))


@pytest.mark.parametrize("decay", [0.3, 0.9, 0.999])
def test_weights_are_the_average_that_plain_loops_say(decay):
    network, rng = _network(), np.random.default_rng(0)
    teacher = Teacher(network, decay)
    expected: dict[str, np.ndarray] = {}
    for step in range(12):
        _next_weights(network, rng)
        teacher.follow(network)
        keep = min(decay, step / (9 + step))
        for name, value in network.named_parameters():
            newest = value.detach().double().numpy()
            expected[name] = keep * expected[name] + (1 - keep) * newest if step else newest
    averaged = dict(teacher.network.named_parameters())
    assert set(averaged) == set(expected)
    for name, value in expected.items():
        assert averaged[name].double().numpy() == pytest.approx(value, rel=1e-4, abs=1e-5), name


def test_it_says_what_the_network_says_whose_weights_it_has():
    network, images = _network(), torch.randn(2, 1, 64, 48)
    teacher = Teacher(network, 0.9)
    main, auxiliary = teacher(images)
    skips = network.eval().encoder(images)
    assert torch.equal(main, network.decoder(skips)[0])
    assert torch.equal(auxiliary, network.auxiliary_decoder(skips))


def test_it_has_weights_of_its_own_which_learn_nothing_and_drops_nothing():
    network, images = _network(), torch.randn(2, 1, 64, 48)
    teacher = Teacher(network, 0.9)
    first = teacher(images)
    assert not any(each.requires_grad for each in first)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert network.decoder.deep_supervision
    assert all(parameter.requires_grad for parameter in network.parameters())
    _next_weights(network, np.random.default_rng(0))
    for mine, again in zip(first, teacher(images), strict=True):
        assert torch.equal(mine, again)


def test_running_statistics_are_those_of_the_network():
    network = _network()
    network.encoder.add_module("norm", torch.nn.BatchNorm2d(1))
    teacher = Teacher(network, 0.9)
    network.encoder.norm(3 + torch.randn(4, 1, 8, 8))
    teacher.follow(network)
    assert torch.equal(teacher.network.encoder.norm.running_mean, network.encoder.norm.running_mean)
    assert teacher.network.encoder.norm.num_batches_tracked == 1


def test_its_state_continues_the_average():
    network, rng = _network(), np.random.default_rng(0)
    teacher, again = Teacher(network, 0.9), Teacher(_network(1), 0.9)
    for _ in range(3):
        _next_weights(network, rng)
        teacher.follow(network)
    again.load_training_state(teacher.training_state())
    for each in (teacher, again):
        each.follow(network)
    for mine, theirs in zip(teacher.network.parameters(), again.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    with pytest.raises(RuntimeError, match=r"size mismatch|Missing key"):
        again.load_training_state({"weights": {"encoder.stages.0.0.convs.0.conv.weight": torch.zeros(1)}, "updates": 1})


def test_it_is_compiled_once_and_in_one_piece():
    torch._dynamo.reset()
    network, rng, images = _network(), np.random.default_rng(0), torch.randn(2, 1, 64, 48)
    teacher = Teacher(network, 0.9)
    compiled = torch.compile(teacher, backend="aot_eager", fullgraph=True)
    torch._dynamo.config.error_on_recompile = True
    try:
        for _ in range(3):
            for plain, fast in zip(teacher(images), compiled(images), strict=True):
                assert torch.allclose(plain, fast, atol=1e-5)
            _next_weights(network, rng)
            teacher.follow(network)
    finally:
        torch._dynamo.config.error_on_recompile = False


@pytest.mark.parametrize("value", [0.0, 1.0, -0.5, 1.5])
def test_a_decay_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match="teacher_decay between 0 and 1"):
        PCLMixConfig(teacher_decay=value)


def _with_an_island(step: Step) -> list[torch.Tensor]:
    """Two decoders' logits: anything on the left, then background, then a structure far from any stroke."""
    rng = np.random.default_rng(0)
    for target in step.targets:
        target[..., target.shape[-1] // 4 :] = IGNORE
    shape = (PATCHES, CLASSES, *step.images.shape[2:])
    logits = [torch.from_numpy(3 * rng.normal(size=shape)).to(step.images.dtype) for _ in range(2)]
    for each in logits:
        each[..., 12:] = 0.0
        each[:, 0, :, 12:36] = each[:, 1, :, 36:] = 9.0
    return logits


@pytest.mark.parametrize("coin", [1, 3])  # the two sides of both coins
@pytest.mark.parametrize("settings", [{}, {"closed_world": False}])
def test_what_is_learned_comes_from_the_teacher_and_islands_are_the_networks(settings, coin):
    """As if the network had predicted what the teacher says, in all terms of pseudo-labels, and in no other."""
    step = Step(torch.device("cpu"), torch.float64, **settings)
    output, taught = step.network(step.images), _with_an_island(step)

    def terms(logits):
        rng = np.random.default_rng(coin)
        result = step.objective(output, step.targets, step.mix, 0.5, rng, step.strokes, step.images, logits)
        return dict(zip(TERMS, result.terms.tolist(), strict=True)), result

    alone, _ = terms(None)
    own = output.main[0].detach()[:PATCHES], output.auxiliary.detach()[:PATCHES]
    same, _ = terms(own)
    other, result = terms(taught)
    for name in TERMS:
        learned = "pseudo" in name or ("consistency" in name and "mix" in name)
        assert same[name] == pytest.approx(alone[name], abs=1e-12), name
        assert (other[name] == pytest.approx(same[name], abs=1e-12)) != learned, name
    scribbles = step.targets[0][:PATCHES, 0]
    drawn = step.objective.draw(step.mix, PATCHES, 0.5, np.random.default_rng(coin))
    labels = step.objective.pseudo_labels(*taught, scribbles, None, step.strokes, step.images[:PATCHES])
    mixed, _ = step.objective.mixed(labels, drawn)
    counts = [(mixed == c).sum().item() for c in range(CLASSES)]
    assert result.pseudo_counts.tolist() == counts
