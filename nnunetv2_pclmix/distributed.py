"""What ranks of a distributed training have to tell each other beside gradients."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from nnunetv2_pclmix.dataloading.mix import images_of_a_step


def gather_for_queue(vectors: Tensor, valid: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The class means of all ranks, in the order of the ranks, so that every rank's queue gets the same.

    Args:
        vectors: (B, C, D) of this rank; B may differ between ranks.
        valid: (B, C) bool.
        size: the largest B of any rank.

    Returns:
        (ranks * size, C, D) and (ranks * size, C); filling is not valid.

    Raises:
        ValueError: if this rank has more than ``size``.
    """
    missing = size - len(vectors)
    if missing < 0:
        raise ValueError(f"expected at most {size} images on a rank, got {len(vectors)}")
    vectors = torch.cat([vectors, vectors.new_zeros(missing, *vectors.shape[1:])])
    valid = torch.cat([valid, valid.new_zeros(missing, *valid.shape[1:])])
    all_vectors = [torch.empty_like(vectors) for _ in range(dist.get_world_size())]
    all_valid = [torch.empty_like(valid, dtype=torch.uint8) for _ in all_vectors]
    dist.all_gather(all_vectors, vectors.contiguous())
    dist.all_gather(all_valid, valid.to(torch.uint8))
    return torch.cat(all_vectors), torch.cat(all_valid).bool()


def most_patches(planned: int, ranks: int, patch_fraction: float, twin_share: float) -> int:
    """The largest number of patches that a rank draws in a step; arguments as of ``check_equal_shares``."""
    shares = {planned // ranks, -(-planned // ranks)}  # more of a batch may be fewer patches, with more twins
    return max(images_of_a_step(share, patch_fraction, twin_share)[0] for share in shares)


def check_equal_shares(planned: int, ranks: int, patch_fraction: float, twin_share: float) -> None:
    """Make sure that each rank has as many images in a step: nnU-Net's ``batch_dice`` gathers the Dice of each.

    Args:
        planned: batch size of the plans, which nnU-Net shares among the ranks; some may have one more than others.
        ranks: number of them.
        patch_fraction: see ``images_of_a_step``.
        twin_share: likewise.

    Raises:
        ValueError: if there are more on some ranks than on others.
    """
    least, over = divmod(planned, ranks)
    fewest, most = (images_of_a_step(share, patch_fraction, twin_share) for share in (least, least + 1))
    if over and fewest != most:
        raise ValueError(
            f"the planned batch of {planned} gives {ranks} GPUs different numbers of images, which nnU-Net's "
            f"batch_dice cannot gather; plan a multiple of {ranks}, e.g. with nnUNetv2_pclmix small_plans "
            "--batch-size, or use another -num_gpus"
        )


def leave_constants_alone(network: DistributedDataParallel) -> None:
    """Let no rank wait to be told buffers that never change, but for a network with batch normalisation.

    The auxiliary decoder has some, which the planned networks have not. They would be sent in each step, and in the
    first validation a rank without a case, which does not ask for them, would be waited for.
    """
    if not any(isinstance(module, _BatchNorm) for module in network.modules()):
        network.broadcast_buffers = False
