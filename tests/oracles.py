"""The method's mathematics written a second time, from the paper's equations, in plain numpy loops.

Nothing here imports the package. Slow on purpose: a reader should see the equation.
"""

from __future__ import annotations

import itertools
import math

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """(N, C, *grid) -> probabilities, voxel by voxel."""
    out = np.zeros_like(logits, dtype=np.float64)
    for n in range(logits.shape[0]):
        for voxel in itertools.product(*(range(s) for s in logits.shape[2:])):
            values = [float(logits[(n, c, *voxel)]) for c in range(logits.shape[1])]
            largest = max(values)
            total = sum(math.exp(v - largest) for v in values)
            for c, v in enumerate(values):
                out[(n, c, *voxel)] = math.exp(v - largest) / total
    return out


def voxels(labels: np.ndarray):
    """Indices (n, *voxel) of all voxels of (N, *grid)."""
    return itertools.product(*(range(s) for s in labels.shape))


def log_probability(logits: np.ndarray, n: int, voxel: tuple[int, ...], label: int) -> float:
    values = [float(logits[(n, c, *voxel)]) for c in range(logits.shape[1])]
    largest = max(values)
    return values[label] - largest - math.log(sum(math.exp(v - largest) for v in values))


def partial_cross_entropy(logits: np.ndarray, labels: np.ndarray, ignore: int) -> float:
    total, count = 0.0, 0
    for n, *voxel in voxels(labels):
        label = int(labels[(n, *voxel)])
        if label != ignore:
            total -= log_probability(logits, n, tuple(voxel), label)
            count += 1
    return total / count if count else 0.0


def weighted_cross_entropy(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    total = 0.0
    for n, *voxel in voxels(labels):
        index = (n, *voxel)
        total -= weights[index] * log_probability(logits, n, tuple(voxel), int(labels[index]))
    return total / labels.size


def dice_loss(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    probabilities = softmax(logits)
    losses = []
    for c in range(logits.shape[1]):
        overlap = predicted = size = 0.0
        for n, *voxel in voxels(labels):
            index = (n, *voxel)
            p = probabilities[(n, c, *voxel)]
            y = float(labels[index] == c)
            overlap += weights[index] * p * y
            predicted += weights[index] * p
            size += weights[index] * y
        if size > 0:
            losses.append(1 - 2 * overlap / (predicted + size))
    return sum(losses) / len(losses) if losses else 0.0


def possible_classes(logits: np.ndarray, possible: np.ndarray) -> float:
    """Mean over voxels of minus the logarithm of the probability that the class is a possible one."""
    probabilities, total, count = softmax(logits), 0.0, 0
    for n, *voxel in voxels(logits[:, 0]):
        inside = sum(probabilities[(n, c, *voxel)] for c in range(logits.shape[1]) if possible[(n, c, *voxel)])
        total -= math.log(inside)
        count += 1
    return total / count


def possible_regions(logits: np.ndarray, possible: np.ndarray) -> float:
    """Minus the log probability that no impossible region holds the voxel, mean over voxels."""
    probabilities = sigmoid(logits)
    impossible = zip(probabilities.flat, possible.flat, strict=True)
    return -sum(math.log(1 - p) for p, allowed in impossible if not allowed) / logits[:, 0].size


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.array([1 / (1 + math.exp(-float(v))) for v in logits.flat]).reshape(logits.shape)


def region_cross_entropy(logits: np.ndarray, regions: np.ndarray, weights: np.ndarray) -> float:
    """Binary cross-entropy, summed over regions, mean over voxels; weights (N, *grid)."""
    probabilities, total = sigmoid(logits), 0.0
    for n, *voxel in voxels(weights):
        for r in range(logits.shape[1]):
            p = probabilities[(n, r, *voxel)]
            total -= weights[(n, *voxel)] * math.log(p if regions[(n, r, *voxel)] else 1 - p)
    return total / weights.size


def partial_region_cross_entropy(logits: np.ndarray, regions: np.ndarray, unlabelled: np.ndarray) -> float:
    """The same over labelled voxels only; unlabelled (N, *grid) bool."""
    labelled = ~unlabelled
    if not labelled.any():
        return 0.0
    return region_cross_entropy(logits, regions, labelled.astype(float)) * labelled.size / labelled.sum()


def region_labels(probabilities: np.ndarray, class_order: list[int]) -> np.ndarray:
    """Label of each voxel: the last region in the order that holds it, background where none does."""
    shape = (probabilities.shape[0], *probabilities.shape[2:])
    out = np.zeros(shape, dtype=int)
    for n, *voxel in itertools.product(*(range(s) for s in shape)):
        for r, value in enumerate(class_order):
            if probabilities[(n, r, *voxel)] > 0.5:
                out[(n, *voxel)] = value
    return out


def mean_squared_difference(first: np.ndarray, second: np.ndarray) -> float:
    return sum((float(a) - float(b)) ** 2 for a, b in zip(first.flat, second.flat, strict=True)) / first.size


def entropy(probabilities: np.ndarray) -> np.ndarray:
    shape = (probabilities.shape[0], *probabilities.shape[2:])
    out = np.zeros(shape)
    for n, *voxel in itertools.product(*(range(s) for s in shape)):
        for c in range(probabilities.shape[1]):
            p = float(probabilities[(n, c, *voxel)])
            if p > 0:
                out[(n, *voxel)] -= p * math.log(p)
    return out


def mix(values: np.ndarray, background: np.ndarray, partners: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """M values[i] + (1 - M) background[j], voxel by voxel on the full grid."""
    out = np.empty((len(boxes), *values.shape[1:]), values.dtype)
    for b in range(len(boxes)):
        i, j = partners[b]
        for voxel in itertools.product(*(range(s) for s in values.shape[2:])):
            inside = all(lower <= v < upper for v, (lower, upper) in zip(voxel, boxes[b], strict=True))
            for c in range(values.shape[1]):
                out[(b, c, *voxel)] = values[(i, c, *voxel)] if inside else background[(j, c, *voxel)]
    return out


def info_nce(anchors, labels, valid, queue, filled, temperature: float) -> float:
    """For each anchor: over its positives, the mean of -log(e^s+ / (e^s+ + sum over other classes' rows e^s-))."""
    losses = []
    for a in range(len(anchors)):
        if not valid[a]:
            continue
        positives, negatives = [], []
        for c, k in itertools.product(range(queue.shape[0]), range(queue.shape[1])):
            if filled[c, k]:
                s = sum(float(x) * float(y) for x, y in zip(anchors[a], queue[c, k], strict=True)) / temperature
                (positives if c == labels[a] else negatives).append(s)
        if not positives:
            continue
        terms = []
        for s in positives:
            largest = max([s, *negatives])
            total = math.exp(s - largest) + sum(math.exp(n - largest) for n in negatives)
            terms.append(-(s - largest - math.log(total)))
        losses.append(sum(terms) / len(terms))
    return sum(losses) / len(losses) if losses else 0.0


def class_means(embeddings: np.ndarray, labels: np.ndarray, num_classes: int) -> dict[tuple[int, int], np.ndarray]:
    """Unit-length mean embedding of each (image, class) that occurs; embeddings (N, D, P), labels (N, P)."""
    out = {}
    for n in range(len(labels)):
        for c in range(num_classes):
            members = [embeddings[n, :, p] for p in range(labels.shape[1]) if labels[n, p] == c]
            if members:
                mean = sum(members) / len(members)
                length = math.sqrt(sum(float(x) ** 2 for x in mean))
                if length > 0:
                    out[n, c] = mean / length
    return out


class Ring:
    """A list of the last K vectors of one class."""

    def __init__(self, length: int) -> None:
        self.length, self.vectors = length, []

    def push(self, vector: np.ndarray) -> None:
        self.vectors = [*self.vectors, vector][-self.length :]


def stroke_appearance(images, scribbles, num_labels, bins, reach, bandwidth, prior):
    """Log density of grey values among the strokes of each class, from smoothed histograms, and their overlaps."""
    size, channels, *grid = images.shape
    result = np.zeros((size, num_labels, *grid))
    overlap = np.ones((size, num_labels, num_labels))
    centres = [-reach + 2 * reach * k / (bins - 1) for k in range(bins)]
    for n in range(size):
        strokes = [v for v in np.ndindex(*grid) if 0 <= scribbles[n][v] < num_labels]
        for channel in range(channels):
            image = images[n, channel]
            grey = [float(image[v]) for v in strokes]
            mean = sum(grey) / max(1, len(grey))
            deviation = max(1e-6, math.sqrt(sum((g - mean) ** 2 for g in grey) / max(1, len(grey))))
            place = {v: min(bins - 1, max(0, round((float(image[v]) - mean) / deviation * (bins - 1) / (2 * reach)
                     + (bins - 1) / 2))) for v in np.ndindex(*grid)}  # fmt: skip
            smooth = np.zeros((num_labels, bins))
            for v in strokes:
                bump = [math.exp(-0.5 * ((c - centres[place[v]]) / bandwidth) ** 2) for c in centres]
                for k in range(bins):
                    smooth[scribbles[n][v], k] += bump[k] / sum(bump)
            pool = smooth.sum(0) / max(1, len(strokes))
            density = np.zeros((num_labels, bins))
            for c, k in np.ndindex(num_labels, bins):
                count = sum(scribbles[n][v] == c for v in strokes)
                density[c, k] = max((smooth[c, k] + prior * pool[k]) / (count + prior), 1e-12)
            for c, v in itertools.product(range(num_labels), np.ndindex(*grid)):
                result[n, c][v] += math.log(density[c, place[v]])
            for c, d in np.ndindex(num_labels, num_labels):
                overlap[n, c, d] *= sum(math.sqrt(density[c, k] * density[d, k]) for k in range(bins))
    return result, overlap


def box_around(grid, place, radius):
    """Places of the box around one, as far as it lies in the grid."""
    return itertools.product(
        *(range(max(0, p - r), min(size, p + r + 1)) for p, r, size in zip(place, radius, grid, strict=True))
    )


def thinness(labels, num_labels, edge, not_thin, thin):
    """Share of each class's voxels that are near another class, from 0 to 1 between two bounds."""
    result = []
    for c in range(num_labels):
        voxels = np.argwhere(labels == c).tolist()
        near = sum(len({int(labels[(n, *v)]) for v in box_around(labels.shape[1:], p, edge)}) > 1 for n, *p in voxels)
        result.append(min(1.0, max(0.0, (near / max(1, len(voxels)) - not_thin) / (thin - not_thin))))
    return np.array(result)


def odds_of_belonging(labels, scribbles, bins, num_labels, rim, num_bins, reach, bandwidth, common, least, most):
    """Log odds by the share of each grey value's voxels around a structure that its strokes have met."""
    size, *grid = labels.shape
    centres = [-reach + 2 * reach * k / (num_bins - 1) for k in range(num_bins)]

    def smooth(places, channel, n):
        result = np.zeros(num_bins)
        for v in places:
            bump = [math.exp(-0.5 * ((c - centres[bins[n, channel][v]]) / bandwidth) ** 2) for c in centres]
            result += np.array(bump) / sum(bump)
        return result

    odds = np.zeros((size, num_labels, *grid))
    for n, c in np.ndindex(size, num_labels):
        strokes = [v for v in np.ndindex(*grid) if scribbles[n][v] == c]
        around = [
            v
            for v in np.ndindex(*grid)
            if scribbles[n][v] == c or any(labels[n][w] == c for w in box_around(grid, v, rim))
        ]
        share = np.zeros(grid)
        for channel in range(bins.shape[1]):
            met, there = smooth(strokes, channel, n), smooth(around, channel, n)
            ratio = [m / max(t, 1e-6) for m, t in zip(met, there, strict=True)]
            best = max(r if t >= common * there.max() else 0.0 for r, t in zip(ratio, there, strict=True))
            for v in np.ndindex(*grid):
                share[v] += math.log(min(1.0, max(1e-6, ratio[bins[n, channel][v]] / max(best, 1e-6))))
        for v in np.ndindex(*grid):
            p = min(1 - 1e-6, max(1e-6, math.exp(share[v])))
            odds[n, c][v] = min(most, max(least, math.log(p / (1 - p))))
    return odds


def with_thin_structures(evidence, labels, scribbles, odds, thin, overlap, weight, near, fewest):
    """Evidence of thin classes: the best of the others that a voxel may become, and the odds."""
    result = evidence.copy()
    for n, c, *place in np.ndindex(*evidence.shape):
        others = {int(labels[(n, *v)]) for v in box_around(labels.shape[1:], place, near)} - {c}
        if not others or (scribbles[n] == c).sum() < fewest:
            continue
        best = max(sorted(others), key=lambda k: evidence[(n, k, *place)])
        share = thin[c] * (1 - thin[best]) * (1 - overlap[n, c, best])
        by_odds = evidence[(n, best, *place)] + weight * odds[(n, c, *place)]
        result[(n, c, *place)] += share * (by_odds - evidence[(n, c, *place)])
    return result
