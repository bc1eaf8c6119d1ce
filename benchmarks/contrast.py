"""The contrast against a straightforward version of the same mathematics with loops over images, classes and anchors.

    python benchmarks/contrast.py [--images 4] [--grid 28 24] [--classes 4] [--anchors 1024] [--repeats 5]

Both choose anchors, compute InfoNCE against a full queue with its gradient, make the class means and enqueue them.
The loops are the torch twin of the tests' oracle.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from timing import interleaved, print_table
from torch import Tensor

from nnunetv2_pclmix.config import PCLMixConfig
from nnunetv2_pclmix.losses.contrast import choose_anchors, class_means, info_nce
from nnunetv2_pclmix.memory_queue import MemoryQueue


def loop_anchors(labels: Tensor, hard: Tensor, classes: int, views: int, total: int) -> list[tuple[int, int, int]]:
    """(image, class, voxel) of each anchor."""
    pairs = [(n, c) for n in range(len(labels)) for c in range(classes) if (labels[n] == c).any()]
    views = max(1, min(views, total // max(1, len(pairs))))
    chosen = []
    for n, c in pairs:
        difficult = ((labels[n] == c) & hard[n]).nonzero()[:, 0]
        easy = ((labels[n] == c) & ~hard[n]).nonzero()[:, 0]
        n_hard = min(len(difficult), max(views - len(easy), views // 2))
        n_easy = min(len(easy), views - n_hard)
        for kind, number in ((difficult, n_hard), (easy, n_easy)):
            chosen += [(n, c, int(v)) for v in kind[torch.randperm(len(kind))[:number]]]
    return chosen


def loop_info_nce(embedding: Tensor, chosen: list[tuple[int, int, int]], queue: Tensor, temperature: float) -> Tensor:
    """Mean over anchors of the mean over positives; queue (C, K, D), full."""
    losses = []
    for n, c, voxel in chosen:
        anchor = embedding[n, :, voxel]
        negatives = torch.cat([queue[k] @ anchor / temperature for k in range(len(queue)) if k != c])
        positives = queue[c] @ anchor / temperature
        losses.append(F.softplus(negatives.logsumexp(0) - positives).mean())
    return torch.stack(losses).mean()


def loop_means(embedding: Tensor, labels: Tensor, classes: int) -> dict[tuple[int, int], Tensor]:
    means = {}
    for n in range(len(labels)):
        for c in range(classes):
            members = embedding[n][:, labels[n] == c]
            if members.shape[1]:
                means[n, c] = F.normalize(members.mean(1), dim=0)
    return means


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--grid", type=int, nargs="+", default=[28, 24])
    parser.add_argument("--classes", type=int, default=4)
    parser.add_argument("--anchors", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    device, config = torch.device(args.device), PCLMixConfig()
    voxels, dimension = int(torch.tensor(args.grid).prod()), config.embedding_dimension
    embedding = F.normalize(torch.randn(args.images, dimension, voxels, device=device), dim=1).requires_grad_()
    labels = torch.randint(0, args.classes, (args.images, voxels), device=device)
    hard = torch.rand(labels.shape, device=device) < 0.3
    queue = MemoryQueue(args.classes, config.queue_length, dimension).to(device)
    rows = F.normalize(torch.randn(config.queue_length, args.classes, dimension, device=device), dim=2)
    queue.enqueue(rows, torch.ones(rows.shape[:2], dtype=torch.bool, device=device))
    rings = [list(ring) for ring in queue.features]

    def ours() -> None:
        anchors = choose_anchors(labels, hard, args.classes, max_views=config.contrast_views, max_anchors=args.anchors)
        chosen = embedding.transpose(1, 2).reshape(-1, dimension)[anchors.voxels]
        temperature = config.contrast_temperature
        info_nce(chosen, anchors.labels, anchors.valid, queue.features, queue.filled(), temperature).backward()
        with torch.no_grad():
            queue.enqueue(*class_means(embedding, labels, args.classes))

    def loops() -> None:
        chosen = loop_anchors(labels, hard, args.classes, config.contrast_views, args.anchors)
        loop_info_nce(embedding, chosen, queue.features, config.contrast_temperature).backward()
        with torch.no_grad():
            for (_, c), mean in loop_means(embedding, labels, args.classes).items():
                rings[c] = [*rings[c], mean][-config.queue_length :]

    # the same mathematics: on the same anchors both give the same loss
    anchors = choose_anchors(labels, hard, args.classes, max_views=config.contrast_views, max_anchors=args.anchors)
    flat = embedding.detach().transpose(1, 2).reshape(-1, dimension)
    temperature = config.contrast_temperature
    one = info_nce(flat[anchors.voxels], anchors.labels, anchors.valid, queue.features, queue.filled(), temperature)
    places = zip(anchors.voxels.tolist(), anchors.labels.tolist(), anchors.valid.tolist(), strict=True)
    triples = [(voxel // voxels, label, voxel % voxels) for voxel, label, valid in places if valid]
    other = loop_info_nce(embedding.detach(), triples, queue.features, temperature)
    if not torch.allclose(one, other, rtol=1e-4):
        raise SystemExit(f"the two versions disagree: {one.item()} and {other.item()}")

    seconds = interleaved({"ours": ours, "loops": loops}, args.repeats, device)
    print_table(
        [("the contrast with its gradient and queue, in loops", "as it is", seconds["loops"] / seconds["ours"])]
    )
    print(f"\nours {seconds['ours'] * 1e3:.1f} ms, loops {seconds['loops'] * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
