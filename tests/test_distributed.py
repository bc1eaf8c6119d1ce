"""Two processes (gloo; on the CPU, or sharing a GPU), each with half of a batch, against one process with all of it."""

from __future__ import annotations

import socket
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from torch import distributed as dist
from torch import multiprocessing
from torch.nn.parallel import DistributedDataParallel

from nnunetv2_pclmix.config import PCLMixConfig
from nnunetv2_pclmix.dataloading.mix import draw_mix, images_of_a_step
from nnunetv2_pclmix.distributed import gather_for_queue, leave_constants_alone, most_patches
from nnunetv2_pclmix.label_space import ClassSpace
from nnunetv2_pclmix.losses.partial import PartialCrossEntropyLoss
from nnunetv2_pclmix.memory_queue import MemoryQueue
from nnunetv2_pclmix.network.build import add_training_parts
from nnunetv2_pclmix.objective import PCLMixObjective
from nnunetv2_pclmix.teacher import Teacher
from tests.network.test_dual_decoder import _unet

IGNORE, STEPS, PATCH = 4, 3, (32, 32)
CPU = torch.device("cpu")
DECODERS_ONLY = {
    "original_weight": 0.0,
    "mixed_weight": 0.0,
    "mix_consistency_weight": 0.0,
    "pseudo_label_weight": 0.0,
    "contrast_weight": 0.0,
    "auxiliary_drop_path": 0.0,
}


def _train(
    rank: int, world: int, settings: dict, images_per_rank: list[int], device: torch.device = CPU
) -> dict[str, torch.Tensor]:
    """A few steps of plain gradient descent; each rank sees its share of the same images."""
    torch.manual_seed(0)
    config = PCLMixConfig(**settings)
    network = add_training_parts(_unet(), 4, PATCH, config).to(device).train()
    model = DistributedDataParallel(network) if world > 1 else network
    loss = PartialCrossEntropyLoss(IGNORE)
    queue = MemoryQueue(4, 9, config.embedding_dimension).to(device)
    every_scale = DeepSupervisionWrapper(loss, (0.6, 0.3, 0.1))
    objective = PCLMixObjective(config, ClassSpace(4, IGNORE), every_scale, loss, queue)
    teacher = Teacher(network, 0.9)
    optimizer = torch.optim.SGD(network.parameters(), 0.05)
    first = sum(images_per_rank[:rank])
    for step in range(STEPS):
        rng = np.random.default_rng(step)
        data = torch.from_numpy(rng.normal(size=(sum(images_per_rank), 1, *PATCH)).astype(np.float32)).to(device)
        labels = torch.from_numpy(rng.choice([0, 1, 2, 3, IGNORE, IGNORE], (len(data), 1, *PATCH))).to(device)
        mine = slice(first, first + images_per_rank[rank])
        x, t = torch.cat([data[mine], data[mine].flip(2)]), torch.cat([labels[mine], labels[mine].flip(2)])
        mix = draw_mix(images_per_rank[rank], PATCH, 0.2, rng)
        targets = [t, t[..., ::2, ::2], t[..., ::4, ::4]]
        taught = teacher(x[: images_per_rank[rank]])
        result = objective(model(x), targets, mix, 1.0, rng, taught=taught)
        optimizer.zero_grad()
        result.loss.backward()
        assert [n for n, p in network.named_parameters() if p.grad is None] == []
        optimizer.step()
        teacher.follow(network)
        vectors, valid = result.queue_vectors, result.queue_valid
        if world > 1:
            vectors, valid = gather_for_queue(vectors, valid, max(images_per_rank))
        queue.enqueue(vectors, valid)
    weights = {f"weights.{k}": v.detach() for k, v in network.named_parameters()}
    weights |= {f"teacher.{k}": v for k, v in teacher.named_parameters()}
    return {**weights, **{f"queue.{k}": v for k, v in queue.state_dict().items()}}


def _rank(rank: int, port: int, folder: str, settings: dict, images_per_rank: list[int], device: torch.device) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        torch.save(_train(rank, 2, settings, images_per_rank, device), Path(folder) / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _two_ranks(
    folder: Path, settings: dict, images_per_rank: list[int], device: torch.device = CPU
) -> list[dict[str, torch.Tensor]]:
    multiprocessing.spawn(_rank, (_free_port(), str(folder), settings, images_per_rank, device), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", map_location="cpu") for rank in range(2)]


@pytest.mark.parametrize("images_per_rank", [[2, 2], [3, 2]])
def test_ranks_agree_in_weights_and_queue(tmp_path, images_per_rank):
    first, second = _two_ranks(tmp_path, {}, images_per_rank)
    assert first["queue.written"].min() > 0
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_two_ranks_equal_one_process_with_all_images_where_the_loss_is_a_mean_over_images(tmp_path):
    ranks = _two_ranks(tmp_path, DECODERS_ONLY, [2, 2])
    whole = _train(0, 1, DECODERS_ONLY, [4])
    for name, value in whole.items():
        if name.startswith("weights."):
            assert torch.allclose(value, ranks[0][name], atol=1e-5), name


def test_more_images_than_announced_are_refused():
    with pytest.raises(ValueError, match="expected at most 1 images on a rank, got 2"):
        gather_for_queue(torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool), 1)


@pytest.mark.parametrize("shares", [(0.875, 0.125), (2.0, 0.5), (0.05, 0.75)])
def test_no_rank_draws_more_patches_than_there_is_room_for(shares):
    for planned in range(2, 65):
        for ranks in range(2, min(8, planned) + 1):
            of_ranks = [planned // ranks + (rank < planned % ranks) for rank in range(ranks)]
            drawn = [images_of_a_step(of_rank, *shares)[0] for of_rank in of_ranks]
            assert most_patches(planned, ranks, *shares) == max(drawn)


def _validate(rank: int, port: int, batch_norm: bool) -> None:
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", address, rank=rank, world_size=2, timeout=timedelta(seconds=60))
    try:
        network = add_training_parts(_unet(), IGNORE, PATCH, PCLMixConfig())
        if batch_norm:
            network.norm = torch.nn.BatchNorm2d(2)
        network = DistributedDataParallel(network).eval()
        assert network.will_sync_module_buffers()
        leave_constants_alone(network)
        assert network.will_sync_module_buffers() == batch_norm
        if rank == 0 and not batch_norm:  # it has the only validation case
            network(torch.zeros(1, 1, *PATCH))
        dist.barrier()
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_rank_without_a_validation_case_is_not_waited_for(batch_norm):
    multiprocessing.spawn(_validate, (_free_port(), batch_norm), nprocs=2)
