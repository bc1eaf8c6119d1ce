import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nnunetv2_pclmix.closed_world import Strokes, vouch
from nnunetv2_pclmix.config import config_from_plans
from nnunetv2_pclmix.dataloading.mix import draw_mix
from nnunetv2_pclmix.label_space import ClassSpace, RegionSpace
from nnunetv2_pclmix.losses.partial import PartialCrossEntropyLoss, PartialRegionCrossEntropyLoss
from nnunetv2_pclmix.memory_queue import MemoryQueue
from nnunetv2_pclmix.network.dual_decoder import DualOutput
from nnunetv2_pclmix.objective import PCLMixObjective
from nnunetv2_pclmix.step_data import PseudoLabels
from nnunetv2_pclmix.terms import TERMS, term_weights
from tests import oracles

B, C, IGNORE, GRID, D = 3, 3, 3, (16, 24), 6


def _objective(preset: str = "published", **overrides):
    config = config_from_plans({"pclmix": {"preset": preset, **overrides}}, {})
    loss = PartialCrossEntropyLoss(IGNORE)
    queue = MemoryQueue(C, 7, D)
    return PCLMixObjective(config, ClassSpace(C, IGNORE), lambda m, t: loss(m[0], t[0]), loss, queue)


def _sample(seed: int = 0, ignored: float = 0.9):
    rng = np.random.default_rng(seed)
    main, auxiliary = (torch.from_numpy(rng.normal(size=(2 * B, C, *GRID)).astype(np.float32) * 2) for _ in range(2))
    embedding = torch.from_numpy(rng.normal(size=(2 * B, D, 2, 3)).astype(np.float32))
    labels = rng.integers(0, C, (2 * B, 1, *GRID))
    labels[rng.random(labels.shape) < ignored] = IGNORE
    output = DualOutput([main.requires_grad_()], auxiliary.requires_grad_(), embedding.requires_grad_())
    return output, [torch.from_numpy(labels)], draw_mix(B, GRID, 0.2, rng)


class _Coin:
    """A generator whose coin always falls on one side."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self) -> float:
        return self.value


@pytest.mark.parametrize(("coin", "inside", "outside"), [(0.1, 0, 1), (0.9, 1, 0)])
def test_published_terms_equal_the_plain_loops(coin, inside, outside):
    """All terms of the paper at once, on the network's outputs, float32 inputs against float64 loops."""
    objective = _objective()
    output, targets, mix = _sample()
    main, auxiliary = output.main[0].detach().double().numpy(), output.auxiliary.detach().double().numpy()
    labels = targets[0][:, 0].numpy()
    probabilities = [oracles.softmax(main[:B]), oracles.softmax(auxiliary[:B])]
    mixed = oracles.mix(probabilities[inside], probabilities[outside], mix.partners.numpy(), mix.boxes.numpy())
    pseudo, ones = mixed.argmax(1), np.ones((B, *GRID))
    expected = {
        "supervised_main": oracles.partial_cross_entropy(main[:B], labels[:B], IGNORE),
        "supervised_main_mixed": oracles.partial_cross_entropy(main[B:], labels[B:], IGNORE),
        "supervised_auxiliary": oracles.partial_cross_entropy(auxiliary[:B], labels[:B], IGNORE),
        "supervised_auxiliary_mixed": oracles.partial_cross_entropy(auxiliary[B:], labels[B:], IGNORE),
        "mix_consistency_main": oracles.weighted_cross_entropy(main[B:], pseudo, ones),
        "mix_consistency_auxiliary": oracles.weighted_cross_entropy(auxiliary[B:], pseudo, ones),
        "decoder_consistency": oracles.mean_squared_difference(main, auxiliary),
        "contrast": 0.0,  # the queue is empty
        "closed_world_main": 0.0,  # not in the paper
        "closed_world_auxiliary": 0.0,
        "pseudo_labels_main": 0.0,
        "pseudo_labels_auxiliary": 0.0,
    }
    result = objective(output, targets, mix, 0.5, _Coin(coin))
    for name, value in zip(TERMS, result.terms.tolist(), strict=True):
        assert value == pytest.approx(expected[name], rel=1e-5, abs=1e-6), name
    weights = {"supervised_main": 1, "supervised_main_mixed": 1, "supervised_auxiliary": 0.4}
    weights |= {"supervised_auxiliary_mixed": 0.4, "mix_consistency_main": 1, "mix_consistency_auxiliary": 0.4}
    weights |= {"decoder_consistency": math.exp(-5 * 0.25), "contrast": 0.1 * 0.5**0.9}
    total = sum(weight * expected[name] for name, weight in weights.items())
    assert result.loss.item() == pytest.approx(total, rel=1e-5)


def test_contrast_equals_its_parts_taken_at_full_resolution():
    """Labels are made on the coarse grid only; that must equal making them everywhere and then sampling."""
    objective = _objective(contrast_views=1000, contrast_anchors=10_000)
    output, targets, mix = _sample(ignored=0.5)
    rng = np.random.default_rng(1)
    rows = F.normalize(torch.from_numpy(rng.normal(size=(4, C, D)).astype(np.float32)), dim=2)
    objective.queue.enqueue(rows, torch.ones(4, C, dtype=torch.bool))
    result = objective(output, targets, mix, 0.5, _Coin(0.1))

    main, auxiliary = output.main[0].detach()[:B].double(), output.auxiliary.detach()[:B].double()
    mean = (oracles.softmax(main.numpy()) + oracles.softmax(auxiliary.numpy())) / 2
    threshold = (0.75 + 0.25 * math.exp(-5 * 0.25)) * math.log(2)
    full = targets[0][:B, 0].numpy().copy()
    certain = oracles.entropy(mean) <= threshold
    full = np.where(full != IGNORE, full, np.where(certain, mean.argmax(1), IGNORE))
    labels = F.interpolate(torch.from_numpy(full)[:, None].double(), (2, 3), mode="nearest-exact").long().numpy()
    embedding = F.normalize(output.embedding.detach()[:B], dim=1).double().numpy()
    anchors = embedding.reshape(B, D, -1).transpose(0, 2, 1).reshape(-1, D)
    flat = labels.reshape(-1)
    queue, filled = objective.queue.features.double().numpy(), objective.queue.filled().numpy()
    expected = oracles.info_nce(anchors, flat, flat != IGNORE, queue, filled, 0.07)
    assert result.terms[TERMS.index("contrast")].item() == pytest.approx(expected, rel=1e-4)
    means = oracles.class_means(embedding.reshape(B, D, -1), labels.reshape(B, -1), C)
    assert {(n, c) for n, c in np.argwhere(result.queue_valid.numpy())} == set(means)
    for (n, c), mean_vector in means.items():
        assert result.queue_vectors[n, c].numpy() == pytest.approx(mean_vector, abs=1e-5)


@pytest.mark.parametrize("preset", ["published", "default"])
@pytest.mark.parametrize("ignored", [0.9, 1.0])
@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_loss_and_gradients_are_finite(preset, ignored, progress):
    output, targets, mix = _sample(ignored=ignored)
    result = _objective(preset)(output, targets, mix, progress, _Coin(0.1))
    result.loss.backward()
    for tensor in (output.main[0], output.auxiliary, output.embedding):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


@pytest.mark.parametrize("preset", ["published", "default"])
def test_fewer_twins_than_patches(preset):
    """A mean over all images weighs patches and twins by their numbers; the other terms do not know the sizes."""
    output, targets, mix = _sample()
    whole = _objective(preset)(output, targets, mix, 0.5, _Coin(0.1))
    fewer = mix._replace(partners=mix.partners[:1], boxes=mix.boxes[:1])
    kept = [*range(B), B]
    output = DualOutput([output.main[0][kept]], output.auxiliary[kept], output.embedding[kept])
    result = _objective(preset)(output, [targets[0][kept]], fewer, 0.5, _Coin(0.1))
    main, auxiliary = output.main[0].detach().double().numpy(), output.auxiliary.detach().double().numpy()
    if preset == "default":
        main, auxiliary = oracles.softmax(main), oracles.softmax(auxiliary)
    expected = oracles.mean_squared_difference(main, auxiliary)
    assert result.terms[TERMS.index("decoder_consistency")].item() == pytest.approx(expected, rel=1e-5)
    for name in ("supervised_main", "supervised_auxiliary", "contrast", "closed_world_main"):
        k = TERMS.index(name)
        assert result.terms[k].item() == pytest.approx(whole.terms[k].item(), rel=1e-5, abs=1e-7), name
    assert result.pseudo_counts.sum() == math.prod(GRID)
    weights = term_weights(_objective(preset).config, 0.5)
    total = sum(weights[name] * value for name, value in zip(TERMS, result.terms.tolist(), strict=True))
    assert result.loss.item() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize(("coin", "inside", "outside"), [(0.1, 0, 1), (0.9, 1, 0)])
def test_weights_are_mixed_with_the_labels_they_belong_to(coin, inside, outside):
    objective, (_, _, mix), rng = _objective("default"), _sample(), np.random.default_rng(4)
    labels, weights = rng.integers(0, C, (2, B, *GRID)), rng.random((2, B, *GRID))
    pseudo = PseudoLabels(torch.from_numpy(labels), torch.from_numpy(weights), None)
    mixed = objective.mixed(pseudo, objective.draw(mix, B, 0.5, _Coin(coin)))
    for values, found in zip((labels, weights), mixed, strict=True):
        both = [each[:, None] for each in values]
        expected = oracles.mix(both[inside], both[outside], mix.partners.numpy(), mix.boxes.numpy())
        assert np.array_equal(found.numpy(), expected[:, 0])


@pytest.mark.parametrize("twins", [1, B])
@pytest.mark.parametrize("progress", [0.05, 0.5])
@pytest.mark.parametrize("preset", ["published", "default"])
@pytest.mark.parametrize("seed", range(4))
def test_those_pseudo_labels_are_asked_that_something_learns_from(preset, progress, twins, seed):
    objective, (_, _, mix), rng = _objective(preset), _sample(seed), np.random.default_rng(seed)
    drawn = objective.draw(mix._replace(partners=mix.partners[:twins], boxes=mix.boxes[:twins]), B, progress, rng)
    asked = drawn.asked.tolist()
    assert len(set(asked)) == len(asked)
    learned = set(torch.cat([drawn.own, drawn.inside, drawn.outside]).tolist())
    assert set(asked) >= learned
    if preset == "published" or progress > 0.1:
        assert set(asked) == learned
    assert len(drawn.own) == (B if preset == "default" and progress > 0.1 else 0)
    assert len(asked) == (twins if preset == "published" else B) + twins  # at all times, for what is compiled


def test_pseudo_labels_carry_no_gradient():
    objective = _objective(original_weight=0.0, mixed_weight=0.0, decoder_consistency_weight=0.0, contrast_weight=0.0)
    output, targets, mix = _sample()
    objective(output, targets, mix, 1.0, _Coin(0.1)).loss.backward()
    assert (output.main[0].grad[:B] == 0).all()
    assert (output.main[0].grad[B:] != 0).any()


def test_a_contrast_without_weight_is_not_computed(monkeypatch):
    output, targets, mix = _sample(ignored=0.5)
    with_it = _objective()(output, targets, mix, 0.5, _Coin(0.1))
    objective = _objective(contrast_weight=0.0)
    monkeypatch.setattr(objective, "contrast", None)
    without = objective(output, targets, mix, 0.5, _Coin(0.1))
    others = [i for i, name in enumerate(TERMS) if name != "contrast"]
    assert torch.equal(without.terms[others], with_it.terms[others])
    assert without.terms[TERMS.index("contrast")] == 0
    assert without.queue_vectors.shape == with_it.queue_vectors.shape
    assert not without.queue_valid.any()
    assert with_it.queue_valid.any()
    gradient = torch.autograd.grad(without.loss, output.embedding)[0]
    assert (gradient == 0).all()


def test_uncertain_pseudo_labels_can_be_left_out():
    undecided = DualOutput([torch.zeros(2 * B, C, *GRID)], torch.zeros(2 * B, C, *GRID), torch.randn(2 * B, D, 2, 3))
    _, targets, mix = _sample()
    result = _objective(mix_consistency_certain_only=True)(undecided, targets, mix, 0.5, _Coin(0.1))
    assert result.terms[TERMS.index("mix_consistency_main")] == 0
    result = _objective()(undecided, targets, mix, 0.5, _Coin(0.1))
    assert result.terms[TERMS.index("mix_consistency_main")].item() == pytest.approx(math.log(C), abs=1e-5)


def test_strokes_are_certain_wherever_the_prediction_is_not():
    undecided = DualOutput([torch.zeros(2 * B, C, *GRID)], torch.zeros(2 * B, C, *GRID), torch.randn(2 * B, D, 2, 3))
    _, targets, _ = _sample()
    objective, scribbles = _objective("default", mix_consistency_certain_only=True), targets[0][:B, 0]
    logits = undecided.auxiliary[:B]
    pseudo = objective.pseudo_labels(logits, logits, scribbles, torch.tensor(0.5), None)
    known = (scribbles != IGNORE).expand(pseudo.labels.shape)
    assert torch.equal(pseudo.weights, known.float())
    assert torch.equal(pseudo.labels[known], scribbles.expand(pseudo.labels.shape)[known])


def test_embeddings_of_twins_that_overflow_leave_the_loss_as_it_is():
    output, targets, mix = _sample()
    expected = _objective()(output, targets, mix, 0.5, _Coin(0.1)).loss
    embedding = output.embedding.detach().half()
    embedding[B:] = float("inf")
    result = _objective()(output._replace(embedding=embedding.requires_grad_()), targets, mix, 0.5, _Coin(0.1))
    result.loss.backward()
    assert result.loss.item() == pytest.approx(expected.item(), abs=1e-2)
    assert (embedding.grad[B:] == 0).all()


def test_counts():
    output, targets, mix = _sample()
    result = _objective()(output, targets, mix, 0.5, _Coin(0.1))
    assert result.pseudo_counts.sum() == B * math.prod(GRID)
    for c in range(C):
        assert result.scribble_counts[c] == (targets[0][:B] == c).sum()
    dense = [t.clone() for t in targets]
    dense[0][0] = 1
    result = _objective()(output, dense, mix, 0.5, _Coin(0.1))
    for c in range(C):  # a patch that is labelled for the most part has no strokes
        assert result.scribble_counts[c] == (targets[0][1:B] == c).sum()


def test_default_begins_the_unlabelled_terms_gently():
    config = config_from_plans({}, {})
    begin, end = term_weights(config, 0.0), term_weights(config, 1.0)
    assert begin["mix_consistency_main"] == 0 < end["mix_consistency_main"]
    assert begin["decoder_consistency"] < 0.01 * end["decoder_consistency"]


REGIONS, ORDER = [(1, 2), 2], [1, 2]  # the whole and its core


@pytest.mark.parametrize("preset", ["published", "default"])
@pytest.mark.parametrize(("coin", "inside", "outside"), [(0.1, 0, 1), (0.9, 1, 0)])
def test_terms_of_regions_equal_the_plain_loops(preset, coin, inside, outside):
    config = config_from_plans({"pclmix": {"preset": preset, "closed_world": False}}, {})
    loss = PartialRegionCrossEntropyLoss()
    space = RegionSpace(REGIONS, ORDER, C, IGNORE)
    objective = PCLMixObjective(config, space, lambda m, t: loss(m[0], t[0]), loss, MemoryQueue(C, 7, D))
    output, targets, mix = _sample()
    output = output._replace(main=[output.main[0][:, :2]], auxiliary=output.auxiliary[:, :2])
    main, auxiliary = output.main[0].detach().double().numpy(), output.auxiliary.detach().double().numpy()
    labels = targets[0][:, 0].numpy()
    unlabelled, maps = labels == IGNORE, np.stack([(labels == 1) | (labels == 2), labels == 2], 1)
    predicted = [oracles.region_labels(oracles.sigmoid(logits[:B]), ORDER)[:, None] for logits in (main, auxiliary)]
    if preset == "default":
        predicted = [np.where(unlabelled[:B, None], own, labels[:B, None]) for own in predicted]
    pseudo = oracles.mix(predicted[inside], predicted[outside], mix.partners.numpy(), mix.boxes.numpy())[:, 0]
    pseudo_maps, ones = np.stack([pseudo > 0, pseudo == 2], 1), np.ones((B, *GRID))
    expected = {}
    for name, logits in (("main", main), ("auxiliary", auxiliary)):
        for suffix, half in (("", slice(B)), ("_mixed", slice(B, None))):
            expected[f"supervised_{name}{suffix}"] = oracles.partial_region_cross_entropy(
                logits[half], maps[half], unlabelled[half]
            )
        consistency = oracles.region_cross_entropy(logits[B:], pseudo_maps, ones)
        if preset == "default":
            p = oracles.sigmoid(logits[B:])
            overlap, size = (p * pseudo_maps).sum((0, 2, 3)), (p + pseudo_maps).sum((0, 2, 3))
            consistency += float(np.mean(1 - 2 * overlap / size))
        expected[f"mix_consistency_{name}"] = consistency
        if preset == "default":  # the coin of this test falls on the same side both times
            teacher = predicted[0 if coin < 0.5 else 1][:, 0]
            own_maps = np.stack([teacher > 0, teacher == 2], 1)
            own = oracles.region_cross_entropy(logits[:B], own_maps, ones)
            p = oracles.sigmoid(logits[:B])
            overlap, size = (p * own_maps).sum((0, 2, 3)), (p + own_maps).sum((0, 2, 3))
            expected[f"pseudo_labels_{name}"] = own + float(np.mean(1 - 2 * overlap / size))
    compared = (main, auxiliary) if preset == "published" else (oracles.sigmoid(main), oracles.sigmoid(auxiliary))
    expected["decoder_consistency"] = oracles.mean_squared_difference(*compared)
    expected |= {"contrast": 0.0, "closed_world_main": 0.0, "closed_world_auxiliary": 0.0}
    expected.setdefault("pseudo_labels_main", 0.0)
    expected.setdefault("pseudo_labels_auxiliary", 0.0)
    result = objective(output, targets, mix, 0.5, _Coin(coin))
    for name, value in zip(TERMS, result.terms.tolist(), strict=True):
        assert value == pytest.approx(expected[name], rel=1e-5, abs=1e-6), name
    result.loss.backward()


def test_regions_without_any_label_are_zero():
    target = RegionSpace(REGIONS, ORDER, C, IGNORE).supervised_target(torch.full((1, 1, 4, 4), IGNORE))
    logits = torch.randn(1, 2, 4, 4, requires_grad=True)
    loss = PartialRegionCrossEntropyLoss()(logits, target)
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


def _closed_world_sample(regions: bool = False):
    """Every decoder predicts what it likes; image 0 lacks structure 2, nobody scribbled image 2."""
    output, targets, mix = _sample()
    if regions:
        output = output._replace(main=[output.main[0][:, :2]], auxiliary=output.auxiliary[:, :2])
    targets[0][2] = IGNORE
    targets[0][0][targets[0][0] == 2] = IGNORE
    present = torch.tensor([[True, False], [True, True], [True, True]])
    return output, targets, mix, Strokes(torch.tensor([True, True, False]), present)


def test_closed_world_terms_equal_the_plain_loops():
    objective = _objective("default")
    output, targets, mix, strokes = _closed_world_sample()
    result = objective(output, targets, mix, 0.0, _Coin(0.1), strokes)
    for name, logits in (("main", output.main[0]), ("auxiliary", output.auxiliary)):
        logits = logits.detach()[:B]
        allowed = logits.clone()
        allowed[0, 2] = -torch.inf
        predicted = allowed.argmax(1)
        vouched, _ = vouch(predicted, targets[0][:B, 0], C, IGNORE, strokes.annotated)
        possible = np.ones(logits.shape, bool)
        possible[0, 2] = False
        possible[:, 1:] &= ~((vouched == 0) & (predicted > 0)).numpy()[:, None]
        expected = oracles.possible_classes(logits.double().numpy(), possible)
        assert result.terms[TERMS.index(f"closed_world_{name}")].item() == pytest.approx(expected, rel=1e-5)
        assert expected > 0.1


def test_an_absent_structure_is_no_pseudo_label_and_strokes_stay():
    objective = _objective("default")
    output, targets, _, strokes = _closed_world_sample()
    pseudo = objective.pseudo_labels(output.main[0][:B], output.auxiliary[:B], targets[0][:B, 0], None, strokes)
    known = targets[0][:B, 0] != IGNORE
    for labels, weights in zip(pseudo.labels, pseudo.weights, strict=True):
        assert not (labels[0] == 2).any()
        assert (labels[2] == 2).any()
        assert torch.equal(labels[known], targets[0][:B, 0][known])
        assert (weights[known] == 1).all()


def test_strokes_outside_of_a_patch_leave_what_reaches_its_border_in_doubt():
    """Of one structure that fills patches without strokes, with strokes elsewhere in their images or without."""
    objective = _objective("default")
    logits = torch.zeros(2, C, 64, 64)
    logits[:, 1, :20] = 9.0
    scribbles = torch.full((2, 64, 64), IGNORE)
    outside = torch.zeros(2, C - 1, dtype=torch.bool)
    outside[0, 0] = True
    strokes = Strokes(torch.tensor([True, True]), torch.ones(2, C - 1, dtype=torch.bool), outside)
    pseudo = objective.pseudo_labels(logits, logits, scribbles, None, strokes.to(torch.device("cpu")))
    for labels, weights, islands in zip(pseudo.labels, pseudo.weights, pseudo.islands, strict=True):
        assert (labels[0, :20] == 1).all()
        assert (weights[0, :20] == 0).all()
        assert not islands[0].any()
        assert (labels[1] == 0).all()
        assert (weights[1] == 1).all()
        assert torch.equal(islands[1], torch.arange(64)[:, None].expand(64, 64) < 20)


@pytest.mark.parametrize("regions", [False, True])
def test_the_closed_world_pushes_absent_structures_down_from_the_first_step(regions):
    config = config_from_plans({"pclmix": {"original_weight": 0.0, "mixed_weight": 0.0, "contrast_weight": 0.0}}, {})
    space = RegionSpace(REGIONS, ORDER, C, IGNORE) if regions else ClassSpace(C, IGNORE)
    loss = PartialRegionCrossEntropyLoss() if regions else PartialCrossEntropyLoss(IGNORE)
    objective = PCLMixObjective(config, space, lambda m, t: loss(m[0], t[0]), loss, MemoryQueue(C, 7, D))
    output, targets, mix, strokes = _closed_world_sample(regions)
    output.main[0].retain_grad()
    result = objective(output, targets, mix, 0.0, _Coin(0.1), strokes)
    result.loss.backward()
    gradient = output.main[0].grad
    absent = 1 if regions else 2
    assert (gradient[0, absent] > 0).all()
    weight = term_weights(config, 0.0)
    assert weight["closed_world_main"] == 1.0
    assert weight["closed_world_auxiliary"] == 0.4


def test_without_notes_the_patches_speak_for_themselves():
    output, targets, mix = _sample()
    annotated = (targets[0][:B] != IGNORE).flatten(1).any(1)
    everything = Strokes(annotated, torch.ones(B, C - 1, dtype=torch.bool))
    alone = _objective("default")(output, targets, mix, 0.5, _Coin(0.1))
    noted = _objective("default")(output, targets, mix, 0.5, _Coin(0.1), everything)
    assert torch.equal(alone.terms, noted.terms)


@pytest.mark.parametrize(("coin", "teacher"), [(0.1, "main"), (0.9, "auxiliary")])
def test_pseudo_labels_of_the_patches_equal_the_plain_loops(coin, teacher):
    output, targets, mix = _sample()
    objective = _objective("default", closed_world=False)
    result = objective(output, targets, mix, 0.5, _Coin(coin))
    decoders = {"main": output.main[0], "auxiliary": output.auxiliary}
    labels = decoders[teacher].detach()[:B].double().numpy().argmax(1)
    strokes = targets[0][:B, 0].numpy()
    labels = np.where(strokes == IGNORE, labels, strokes)  # which have the last word, closed world or not
    ones = np.ones(labels.shape)
    for name, logits in decoders.items():
        values = logits.detach()[:B].double().numpy()
        expected = oracles.weighted_cross_entropy(values, labels, ones) + oracles.dice_loss(values, labels, ones)
        assert result.terms[TERMS.index(f"pseudo_labels_{name}")].item() == pytest.approx(expected, rel=1e-5)
    begin = objective(output, targets, mix, 0.05, _Coin(coin))
    assert begin.terms[TERMS.index("pseudo_labels_main")] == 0  # not before the mix consistency


REACH = 4  # farther than the border of the prediction below is off


def _two_tones():
    """A bright structure 1 in the right half, a dark background; the prediction's border is three voxels off."""
    images = torch.zeros(B, 1, *GRID)
    images[..., GRID[1] // 2 :] = 1.0
    logits = torch.zeros(2 * B, C, *GRID)
    logits[:, 1, :, GRID[1] // 2 + 3 :] = 1.0
    logits[:, 0, :, : GRID[1] // 2 + 3] = 1.0
    targets = torch.full((2 * B, 1, *GRID), IGNORE)
    targets[..., :, 2], targets[..., :, -2] = 0, 1
    output = DualOutput([logits], logits.clone(), torch.randn(2 * B, D, 2, 3))
    return output, [targets], images, (images[:, 0] > 0).long()


@pytest.mark.parametrize("closed_world", [True, False])
def test_pseudo_labels_follow_the_grey_values_of_the_strokes(closed_world):
    output, targets, images, truth = _two_tones()
    noisy = images + 0.05 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    arguments = output.main[0][:B], output.auxiliary[:B], targets[0][:B, 0], None, None, noisy
    predicted = output.main[0][:B].argmax(1)
    for weight, expected in ((4.0, truth), (0.0, predicted)):
        objective = _objective("default", closed_world=closed_world, appearance_weight=weight, appearance_radius=REACH)
        for labels in objective.pseudo_labels(*arguments).labels:
            assert torch.equal(labels, expected)


@pytest.mark.parametrize("closed_world", [True, False])
@pytest.mark.parametrize("asked", [[0, 1, 2, 4], [5, 0], []])
def test_grey_values_move_the_borders_of_the_pseudo_labels_that_are_asked(closed_world, asked):
    output, targets, images, truth = _two_tones()
    noisy = images + 0.05 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    main, scribbles = output.main[0][:B], targets[0][:B, 0]
    objective = _objective("default", closed_world=closed_world, appearance_radius=REACH)
    numbers = torch.tensor(asked, dtype=torch.long)
    pseudo = objective.pseudo_labels(main, output.auxiliary[:B], scribbles, None, None, noisy, numbers)
    expected = torch.stack([(truth if number in asked else main.argmax(1))[number % B] for number in range(2 * B)])
    assert torch.equal(pseudo.labels.flatten(0, 1), expected)
    assert torch.equal(pseudo.numbered(numbers)[0], truth[numbers % B])


@pytest.mark.parametrize("space", ["classes", "regions"])
def test_structures_that_look_alike_stay_as_predicted(space):
    output, targets, images, _ = _two_tones()
    scribbles = targets[0][:B, 0]
    scribbles[:, :, :5], scribbles[:, :, -5:] = 0, 1
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    moved = {}
    for margin in (0.0, 3.0):
        objective = _objective("default", closed_world=False, appearance_margin=margin, appearance_radius=REACH)
        main = output.main[0][:B]
        if space == "regions":
            objective.space = RegionSpace([(1, 2), 2], [1, 2], C, IGNORE)
            main = main[:, 1:] - 0.5
        predicted = objective.space.labels_of_logits(main)
        found = objective.pseudo_labels(main, main, scribbles, None, None, noise).labels[0]
        moved[margin] = (found != predicted).float().mean().item()
    assert moved[0.0] > 0.05
    assert moved[3.0] < 0.2 * moved[0.0]


def test_a_step_hands_its_images_to_the_pseudo_labels():
    output, targets, images, truth = _two_tones()
    _, _, mix = _sample()
    both = torch.cat([images, images])
    objective = _objective("default", appearance_margin=0.0, appearance_radius=REACH)
    result = objective(output, targets, mix, 0.5, _Coin(0.1), None, both)
    assert result.pseudo_counts[1] == truth.sum()
    published = _objective("published")(output, targets, mix, 0.5, _Coin(0.1), None, both)
    assert published.pseudo_counts[1] < truth.sum()


@pytest.mark.parametrize("radius", [0, 1, 2, 3, REACH])
def test_borders_move_no_farther_than_the_radius(radius):
    output, targets, images, truth = _two_tones()
    objective = _objective("default", closed_world=False, appearance_margin=0.0, appearance_radius=radius)
    arguments = output.main[0][:B], output.auxiliary[:B], targets[0][:B, 0], None, None, images
    wrong = (objective.pseudo_labels(*arguments).labels[0] != truth).sum()
    assert wrong == max(0, 3 - radius) * B * GRID[0]


def test_borders_move_less_along_an_axis_of_thick_slices():
    settings = {"closed_world": False, "appearance_margin": 0.0, "appearance_radius": REACH}
    config = config_from_plans({"pclmix": settings}, {})
    loss = PartialCrossEntropyLoss(IGNORE)
    output, targets, images, truth = _two_tones()
    found = {}
    for spacing in ([1.0, 1.0], [1.0, 5.0]):
        objective = PCLMixObjective(
            config, ClassSpace(C, IGNORE), lambda m, t: loss(m[0], t[0]), loss, MemoryQueue(C, 7, D), spacing
        )
        labels = objective.pseudo_labels(
            output.main[0][:B], output.auxiliary[:B], targets[0][:B, 0], None, None, images
        ).labels[0]
        found[spacing[1]] = (labels != truth).sum().item()
    assert found[1.0] == 0
    assert found[5.0] == 2 * B * GRID[0]
