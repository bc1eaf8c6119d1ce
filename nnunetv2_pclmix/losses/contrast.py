"""Pixel contrast: which voxels are anchors, and InfoNCE against the class queue (PCLMix, pixel contrast)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from nnunetv2_pclmix.at_hand import is_at_hand
from nnunetv2_pclmix.precision import at_least_float32

SHORTEST = 1e-12  # length of an embedding that still has a direction, as in torch's normalize


class Anchors(NamedTuple):
    """Chosen voxels of a batch; a fixed number, so that no shape depends on the data.

    Attributes:
        voxels: (A,) int64 into the batch's voxels, flattened image by image.
        labels: (A,) int64 class of each.
        valid: (A,) bool; the rest is filling.
    """

    voxels: Tensor
    labels: Tensor
    valid: Tensor


def choose_anchors(
    labels: Tensor,
    hard: Tensor,
    num_classes: int,
    *,
    max_views: int,
    max_anchors: int,
    generator: torch.Generator | None = None,
) -> Anchors:
    """Choose up to ``max_views`` voxels per image and class, ``max_anchors`` in all, half of them hard.

    Each image and class that occurs gets the same number of views, v = min(max_views, max_anchors / pairs). Half of
    them are hard voxels; where hard or easy ones are too few, the other kind fills up. As published, but an image
    and class with fewer voxels than v gives what it has, where the authors' code lets the smallest one set v for all.

    Args:
        labels: (N, P) class of each voxel; any value outside 0..C-1 is never an anchor.
        hard: (N, P) bool; voxels that the main decoder gets wrong.
        num_classes: number of classes C.
        max_views: anchors per image and class at most.
        max_anchors: anchors in all at most.
        generator: source of randomness on the labels' device.

    Returns:
        The anchors, ``min(max_anchors, N P)`` of them with filling.
    """
    num_voxels = labels.shape[1]
    classes = torch.arange(num_classes, device=labels.device)
    member = labels[:, None, :] == classes[:, None]  # (N, C, P)
    pairs = member.any(2).sum().clamp(min=1)
    views = (max_anchors // pairs).clamp(min=1, max=max_views)
    # each voxel belongs to at most one class, so ranks can be taken per image over (class, kind) groups at once
    noise = torch.rand(labels.shape, device=labels.device, generator=generator)
    hard_member, easy_member = member & hard[:, None], member & ~hard[:, None]
    n_hard, n_easy = hard_member.sum(2), easy_member.sum(2)  # (N, C)
    take_hard = torch.minimum(n_hard, torch.maximum((views - n_easy), views // 2))
    take_easy = torch.minimum(n_easy, views - take_hard)
    inside = (labels >= 0) & (labels < num_classes)
    safe_label = torch.where(inside, labels, 0).long()
    kind = safe_label * 2 + hard  # group of each voxel
    group = torch.where(inside, kind, 2 * num_classes)
    order = torch.argsort(group.to(noise.dtype) + noise * 0.999, dim=1)  # by group, at random within it
    sorted_group = group.gather(1, order)
    start = torch.searchsorted(sorted_group, sorted_group)  # first place of each group
    rank = torch.arange(num_voxels, device=labels.device) - start
    take = torch.stack([take_easy, take_hard], 2).flatten(1)  # (N, 2C), group order
    take = F.pad(take, (0, 1))
    chosen_sorted = rank < take.gather(1, sorted_group)
    chosen = torch.zeros_like(inside).scatter_(1, order, chosen_sorted)
    score = chosen.flatten().float() + noise.flatten() * 0.5
    top = torch.topk(score, min(max_anchors, score.numel()))
    return Anchors(top.indices, safe_label.flatten()[top.indices], chosen.flatten()[top.indices])


def class_means(embeddings: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Mean direction of each class's embeddings in each image, of unit length: what the queue stores.

    Args:
        embeddings: (N, D, P), of any length; each counts as if it had unit length.
        labels: (N, P) class of each voxel; other values belong to no class.
        num_classes: number of classes C.

    Returns:
        (N, C, D) means, and (N, C) bool, which of them exist.
    """
    member = labels[:, None, :] == torch.arange(num_classes, device=labels.device)[:, None]
    length = embeddings.square().sum(1, keepdim=True).sqrt().clamp(min=SHORTEST)
    with torch.autocast(embeddings.device.type, enabled=False):  # half precision does not count to 100,000
        sums = torch.einsum("ncp,ndp->ncd", member / length, embeddings)  # less to divide than the embeddings
    means = F.normalize(sums, dim=2)
    return means, member.any(2) & (sums.norm(dim=2) > 0)


class _InfoNCE(torch.autograd.Function):
    """The arithmetic of ``info_nce`` with its gradient written out.

    The gradient is as cheap as the loss and needs the same exponentials, so both are made at once, in place, and only
    (A, D) numbers are kept for the backward pass instead of several (A, C K).
    """

    @staticmethod
    def forward(
        ctx: Any, anchors: Tensor, labels: Tensor, valid: Tensor, queue: Tensor, filled: Tensor, temperature: float
    ) -> Tensor:
        num_classes, length, dimension = queue.shape
        rows = torch.arange(len(anchors), device=anchors.device)
        flat_queue = queue.reshape(-1, dimension)
        scores = ((anchors / temperature) @ flat_queue.T).view(-1, num_classes, length)
        own = scores[rows, labels]  # (A, K)
        # the largest negative is taken off, so that the exponentials that are summed stay in range
        everywhere = is_at_hand(filled) and bool(filled.all())
        if not everywhere:
            scores.masked_fill_(~filled, -math.inf)
        per_class = scores.amax(2)
        per_class[rows, labels] = scores.new_full((), -math.inf)  # a number of the host would be waited for
        largest = per_class.amax(1, keepdim=True).clamp(min=torch.finfo(scores.dtype).min)
        scores.sub_(largest[:, :, None]).exp_()
        scores[rows, labels] = scores.new_zeros(())  # what is left are the negatives
        total = scores.sum((1, 2))[:, None]
        gap = largest + total.log() - own  # -inf where there is no negative
        n_positive = filled.sum(1)[labels]
        counts = valid & (n_positive > 0)
        # weight of each (anchor, positive) in the loss
        share = (counts.to(scores.dtype) / (n_positive.clamp(min=1) * counts.sum().clamp(min=1)))[:, None]
        if not everywhere:
            share = filled[labels] * share
        # softplus(gap); log1p takes the CPU five times as long
        loss = gap.clamp(min=0).sub_(gap.abs().sigmoid_().log_()).mul_(share).sum()
        slope = gap.sigmoid_().mul_(share)
        scores.mul_((slope.sum(1, keepdim=True) / total.clamp(min=torch.finfo(scores.dtype).tiny))[:, :, None])
        scores[rows, labels] = slope.neg_()
        ctx.save_for_backward((scores.flatten(1) @ flat_queue).div_(temperature))
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple:
        (saved,) = ctx.saved_tensors
        return saved * gradient, None, None, None, None, None


def info_nce(
    anchors: Tensor, labels: Tensor, valid: Tensor, queue: Tensor, filled: Tensor, temperature: float
) -> Tensor:
    """InfoNCE of anchors against the class queue.

    For an anchor of class c: the mean over the filled rows j of class c of
    ``-log(exp(s_j) / (exp(s_j) + sum of exp(s_k) over the filled rows k of other classes))`` with ``s`` the inner
    product over the temperature; then the mean over valid anchors whose class has rows. In float32 at least,
    whatever the autocast. Differentiable once, with respect to the anchors. Differs from the authors' code in that
    empty rows are no negatives and that no self-contrast mask is laid over queue columns.

    Args:
        anchors: (A, D) unit length.
        labels: (A,) class of each.
        valid: (A,) bool.
        queue: (C, K, D) unit length where filled.
        filled: (C, K) bool.
        temperature: 0.07 as published.

    Returns:
        A scalar; zero, with a gradient of zero, where there is no anchor or no positive.
    """
    with torch.autocast(anchors.device.type, enabled=False):
        anchors = at_least_float32(anchors)
        if is_at_hand(valid):  # often half of them are filling
            anchors, labels, valid = anchors[valid], labels[valid], valid[valid]
        return _InfoNCE.apply(anchors, labels, valid, queue.to(anchors.dtype), filled, temperature)
