"""``nnUNetTrainerPCLMix``: nnU-Net's hooks. The method itself lives in the modules this one imports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.collate_outputs import collate_outputs
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from torch import Tensor, nn
from torch import distributed as dist
from torch._dynamo import OptimizedModule

from nnunetv2_pclmix import checkpoint, monitoring
from nnunetv2_pclmix.config import config_from_plans
from nnunetv2_pclmix.cuda_graph import GraphedStep
from nnunetv2_pclmix.dataloading.factory import start_augmenters
from nnunetv2_pclmix.dataloading.loader import (
    PCLMixDataLoader,
    mix_of_batch,
    require_labels_of_today,
    strokes_of_batch,
)
from nnunetv2_pclmix.dataloading.mix import images_of_a_step
from nnunetv2_pclmix.dataloading.sampling import SUPERVISION, case_probabilities, supervision_of
from nnunetv2_pclmix.dataloading.transforms import outside_becomes_ignore
from nnunetv2_pclmix.distributed import (
    check_equal_shares,
    gather_for_queue,
    leave_constants_alone,
    most_patches,
)
from nnunetv2_pclmix.judge import judge_validation
from nnunetv2_pclmix.label_space import ClassSpace, LabelSpace, RegionSpace
from nnunetv2_pclmix.losses.partial import PartialCrossEntropyLoss, PartialRegionCrossEntropyLoss
from nnunetv2_pclmix.losses.supervised import PartialDiceCELoss
from nnunetv2_pclmix.memory_queue import MemoryQueue
from nnunetv2_pclmix.network.build import add_training_parts
from nnunetv2_pclmix.network.dual_decoder import DualDecoderUNet
from nnunetv2_pclmix.objective import PCLMixObjective
from nnunetv2_pclmix.step_data import StepInput, StepResult
from nnunetv2_pclmix.teacher import Teacher
from nnunetv2_pclmix.terms import TERMS, term_weights
from nnunetv2_pclmix.trained_model import remove_calibration
from nnunetv2_pclmix.training_state import capture_random_state, restore_random_state, seed_everything
from nnunetv2_pclmix.training_step import Ask, half_precision, one_pass

MAX_GRADIENT_NORM = 12.0  # nnU-Net's


class nnUNetTrainerPCLMix(nnUNetTrainer):
    """Learns dense segmentation from scribbles with PCLMix (Lei et al., ICIC 2024) in nnU-Net.

    Needs a dataset with an ignore label. Hyper-parameters come from the plans' ``pclmix`` entry, see
    ``PCLMixConfig``. Prediction uses nnU-Net's planned network alone, at the cost of plain nnU-Net.

    Raises:
        ValueError: on construction, for a dataset or a plan that is not supported, saying what to do.
    """

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),  # noqa: B008  nnU-Net's signature
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.config = config_from_plans(plans, self.configuration_manager.configuration)
        if not self.label_manager.has_ignore_label:
            raise ValueError(
                f"nnUNetTrainerPCLMix learns from scribbles and needs an ignore label, but the dataset.json of "
                f"{self.plans_manager.dataset_name} declares none; add 'ignore' as its highest label and preprocess "
                f"again, or make the dataset with nnUNetv2_convert_scribbles"
            )
        self._supervision = supervision_of(dataset_json)
        self._check_network()
        if len(self._get_deep_supervision_scales()) == 1:
            self.enable_deep_supervision = False  # nnU-Net's weight of the one scale of two stages is 0 / 0
        if self.config.initial_lr is not None:
            self.initial_lr = self.config.initial_lr
        if self.config.weight_decay is not None:
            self.weight_decay = self.config.weight_decay
        # inference builds the planned network through the class, training the dual one through the instance
        self.build_network_architecture = self._build_training_network
        self.rng = np.random.default_rng(self.config.seed)
        self.queue: MemoryQueue
        self.objective: PCLMixObjective
        self.teacher: Teacher | None = None
        self._ask_teacher: Ask | None = None  # the same, compiled where nnU-Net compiles
        self._gradients: Callable[[StepInput], StepResult]
        self._restored: dict[str, Any] | None = None
        self._misfit: Exception | None = None  # why a checkpoint can be judged with, but not continued
        self._step_in_epoch = 0

    # ---------------------------------------------------------------------------------------------- building

    def _check_network(self) -> None:
        """Build the network without memory for its weights; raises ``ValueError`` where that cannot be done."""
        channels = determine_num_input_channels(self.plans_manager, self.configuration_manager, self.dataset_json)
        with torch.device("meta"):
            self._build_training_network(
                self.plans_manager, self.configuration_manager, channels, self.label_manager.num_segmentation_heads
            )

    def initialize(self) -> None:
        if self.config.seed is not None:
            seed_everything(self.config.seed + self.local_rank)
        super().initialize()
        space = self._label_space().to(self.device)
        self.queue = MemoryQueue(space.num_labels, self.config.queue_length, self.config.embedding_dimension)
        self.queue.to(self.device)
        main = self._main_loss(of_logits=False)
        self.objective = PCLMixObjective(
            self.config,
            space,
            main if isinstance(main, DeepSupervisionWrapper) else lambda scores, targets: main(scores[0], targets[0]),
            self._one_scale(self.config.auxiliary_supervision, of_logits=False),
            self.queue,
            self.configuration_manager.spacing,
        )
        if self.config.teacher_decay is not None:
            self.teacher = Teacher(self._bare_network(), self.config.teacher_decay)
            self._ask_teacher = torch.compile(self.teacher) if self._do_i_compile() else self.teacher
        if self.is_ddp:
            leave_constants_alone(self.network)
        self._gradients = self._step_in_two_passes if self._two_passes else self._step_in_one_pass
        if not self.is_ddp:
            if self._do_i_compile():
                self.objective.compile()
            if self.device.type == "cuda" and self.config.cuda_graph and not self._two_passes:
                say = partial(self.print_to_log_file, "PCLMix:")
                self._gradients = GraphedStep(self._step_in_one_pass, self.network.parameters(), say)
        self._register_log_keys()
        self.print_to_log_file(f"PCLMix: {self.config}")
        self.print_to_log_file(
            f"PCLMix: {self.batch_size} patches and {self.num_twins} mixed twins per step "
            f"(the plans' batch size is {self.configuration_manager.batch_size}), "
            f"{'one after the other' if self._two_passes else 'together'} through the network"
        )
        if self._anywhere_share > 0:
            self.print_to_log_file(
                f"PCLMix: {100 * self._anywhere_share:.0f} % of the patches that are not centred on a structure are "
                "drawn from anywhere in the image"
            )

    def _build_training_network(
        self,
        plans_manager: Any,
        configuration_manager: Any,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        planned = nnUNetTrainer.build_network_architecture(
            plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
        )
        # a plan made for a card has to fit on it; the CPU has memory and no time
        recompute = self.device.type == "cuda"
        patch_size = configuration_manager.patch_size
        return add_training_parts(planned, num_output_channels, patch_size, self.config, recompute=recompute)

    def _set_batch_size_and_oversample(self) -> None:
        super()._set_batch_size_and_oversample()
        self.batch_size: int
        shares = self.config.patch_fraction, self.config.twin_share
        self.batch_size, self.num_twins = images_of_a_step(self.batch_size, *shares)
        # by the smallest share of a batch, so that all ranks do the same: they gather their Dice in each pass
        planned, ranks = self.configuration_manager.batch_size, dist.get_world_size() if self.is_ddp else 1
        least = planned // ranks
        gathered = "dice" in self.config.main_supervision + self.config.auxiliary_supervision
        if gathered and self.configuration_manager.batch_dice:
            check_equal_shares(planned, ranks, *shares)
        more = sum(images_of_a_step(least, *shares)) > least
        self._two_passes = more if self.config.two_passes is None else self.config.two_passes

    def do_split(self) -> tuple[list[str], list[str]]:
        """nnU-Net's; for a cascade without unlabelled cases of which its first stage predicted nothing.

        No fold of a first stage validates on unlabelled cases.
        """
        training, validation = super().do_split()
        if self.is_cascaded:
            before = Path(self.folder_with_segs_from_previous_stage)
            there = {file.stem for file in before.glob("*")} if before.is_dir() else set()
            asked = dict.fromkeys([*training, *validation])
            lacking = {case for case in asked if self._supervision.get(case) == "none" and case not in there}
            training, validation = ([case for case in each if case not in lacking] for each in (training, validation))
            if lacking:
                self.print_to_log_file(
                    f"PCLMix: leaves out {len(lacking)} unlabelled cases, of which the first stage predicted nothing"
                )
        return training, validation

    def _build_loss(self) -> nn.Module:
        return self._main_loss(of_logits=True)  # nnU-Net validates with it

    def _main_loss(self, *, of_logits: bool) -> nn.Module:
        """The supervised loss of the main decoder, with nnU-Net's weights of the scales; see ``_one_scale``."""
        loss, stock = self._one_scale(self.config.main_supervision, of_logits=of_logits), super()._build_loss()
        if not isinstance(stock, DeepSupervisionWrapper):
            return loss
        return DeepSupervisionWrapper(loss, [float(weight) for weight in stock.weight_factors])

    def _one_scale(self, kind: str, *, of_logits: bool) -> nn.Module:
        """The supervised loss for one scale.

        Args:
            kind: ``dice_ce``, which is nnU-Net's, or ``ce``.
            of_logits: False for the label space's scores, which for classes are logarithms of probabilities.
        """
        if kind == "dice_ce":
            stock = super()._build_loss()
            stock = stock.loss if isinstance(stock, DeepSupervisionWrapper) else stock
            return PartialDiceCELoss(stock, of_logits=of_logits) if isinstance(stock, DC_and_CE_loss) else stock
        if self.label_manager.has_regions:
            return PartialRegionCrossEntropyLoss()
        return PartialCrossEntropyLoss(self.label_manager.ignore_label, of_logits=of_logits)

    def _label_space(self) -> LabelSpace:
        labels = self.label_manager
        if labels.has_regions:
            num_labels = int(max(labels.all_labels)) + 1
            return RegionSpace(labels.foreground_regions, labels.regions_class_order, num_labels, labels.ignore_label)
        return ClassSpace(labels.num_segmentation_heads, labels.ignore_label)

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, Any]:
        if self.config.momentum is None:
            return super().configure_optimizers()
        optimizer = torch.optim.SGD(
            self.network.parameters(), self.initial_lr, momentum=self.config.momentum, weight_decay=self.weight_decay
        )
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)

    # ---------------------------------------------------------------------------------------------- loading

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple:
        """nnU-Net's, without axes to mirror where the configuration has no mirroring."""
        *others, mirror_axes = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        if not self.config.mirroring:
            mirror_axes = self.inference_allowed_mirroring_axes = None  # the checkpoint hands it on to the predictor
        return *others, mirror_axes

    @property
    def _anywhere_share(self) -> float:
        """Without the closed world a patch without strokes teaches little."""
        if self.config.anywhere_share is not None:
            return self.config.anywhere_share
        plan = self.configuration_manager
        if "median_image_size_in_voxels" not in plan.configuration:  # written by hand
            return 0.0
        patch_is_small = np.prod(plan.patch_size) < 0.5 * np.prod(plan.median_image_size_in_voxels)
        return float(patch_is_small and self.config.closed_world)

    def get_training_transforms(self, *args: Any, ignore_label: int | None = None, **kwargs: Any) -> BasicTransform:
        pipeline = nnUNetTrainer.get_training_transforms(*args, ignore_label=ignore_label, **kwargs)
        return outside_becomes_ignore(pipeline, ignore_label if self.config.padding_as_ignore else None)

    def get_validation_transforms(self, *args: Any, ignore_label: int | None = None, **kwargs: Any) -> BasicTransform:
        pipeline = nnUNetTrainer.get_validation_transforms(*args, ignore_label=ignore_label, **kwargs)
        return outside_becomes_ignore(pipeline, ignore_label if self.config.padding_as_ignore else None)

    def get_dataloaders(self) -> tuple:
        """nnU-Net's loaders, the training one with mixed twins."""
        if self.dataset_class is None:  # type: ignore[has-type]
            self.dataset_class = infer_dataset_class(self.preprocessed_dataset_folder)
        patch_size = self.configuration_manager.patch_size
        scales = self._get_deep_supervision_scales()
        rotation, dummy_2d, initial_patch_size, mirror_axes = (
            self.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        )
        labels = {
            "is_cascaded": self.is_cascaded,
            "foreground_labels": self.label_manager.foreground_labels,
            "ignore_label": self.label_manager.ignore_label,
        }
        regions = self.label_manager.foreground_regions if self.label_manager.has_regions else None
        training_transforms = self.get_training_transforms(
            patch_size,
            rotation,
            scales,
            mirror_axes,
            dummy_2d,
            use_mask_for_norm=self.configuration_manager.use_mask_for_norm,
            regions=None,  # the label space makes regions of labels, after they have been mixed
            **labels,
        )
        validation_transforms = self.get_validation_transforms(scales, regions=regions, **labels)
        training_set, validation_set = self.get_tr_and_val_datasets()
        require_labels_of_today(training_set, self.label_manager, self.plans_manager.dataset_name)
        sampling = {
            "oversample_foreground_percent": self.oversample_foreground_percent,
            "probabilistic_oversampling": self.probabilistic_oversampling,
        }
        training = PCLMixDataLoader(
            training_set,
            self.batch_size,
            initial_patch_size,
            patch_size,
            self.label_manager,
            transforms=training_transforms,
            sampling_probabilities=self._case_probabilities(training_set.identifiers),
            box_fraction=self.config.box_fraction,
            num_twins=self.num_twins,
            anywhere_share=self._anywhere_share,
            **sampling,
        )
        # as many images as a forward pass of the training has: one shape for torch.compile
        validation = nnUNetDataLoader(
            validation_set,
            self.batch_size if self._two_passes else self.batch_size + self.num_twins,
            patch_size,
            patch_size,
            self.label_manager,
            transforms=validation_transforms,
            **sampling,
        )
        seeds = None
        if self.config.seed is not None:  # a continued training does not see its first epochs' patches again
            seeds = np.random.default_rng([self.config.seed, self.local_rank, self.current_epoch])
        return start_augmenters(training, validation, self.device.type == "cuda", seeds)

    def _case_probabilities(self, cases: Sequence[str]) -> np.ndarray | None:
        probabilities = case_probabilities(
            cases, self._supervision, self.config.unlabelled_share, self.config.dense_share
        )
        if probabilities is not None:
            kinds = np.array([self._supervision.get(case, "scribble") for case in cases])
            shares = (f"{kind} {100 * probabilities[kinds == kind].sum():.0f} %" for kind in SUPERVISION)
            self.print_to_log_file(f"PCLMix: share of the patches by supervision of their case: {', '.join(shares)}")
        return probabilities

    # ---------------------------------------------------------------------------------------------- training

    @property
    def progress(self) -> float:
        """Fraction of the training that is done."""
        done = self.current_epoch * self.num_iterations_per_epoch + self._step_in_epoch
        return min(done / (self.num_epochs * self.num_iterations_per_epoch), 1.0)

    def on_train_start(self) -> None:
        if self._misfit is not None:
            raise RuntimeError(
                f"the checkpoint in {self.output_folder} holds training parts (auxiliary decoder, projection head, "
                "queue) of other sizes than the settings ask for; continue with the settings and the version it began "
                "with, or train anew without --c"
            ) from self._misfit
        super().on_train_start()
        group, asked = self.optimizer.param_groups[0], self.optimizer.defaults
        begun = group.get("initial_lr", self.initial_lr)
        if begun != self.initial_lr or any(group.get(name) != asked.get(name) for name in ("momentum", "weight_decay")):
            rate = f"initial learning rate {self.initial_lr}"
            if begun != self.initial_lr:
                rate += f" as it is set now (it began with {begun})"
            self.print_to_log_file(
                f"PCLMix: goes on with the momentum {group['momentum']} and weight decay {group['weight_decay']} it "
                f"began with, {rate}"
            )
        if self.teacher is not None and not self.teacher.updates:
            self.teacher.follow(self._bare_network())  # which may have got pretrained weights meanwhile
        if self._restored is not None:
            self._restore_random_streams(self._restored)
            self._restored = None

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._step_in_epoch = 0

    def on_validation_epoch_start(self) -> None:
        if isinstance(self._gradients, GraphedStep):
            self._gradients.make_room()
        super().on_validation_epoch_start()

    def on_train_end(self) -> None:
        if isinstance(self._gradients, GraphedStep):
            self._gradients.release()
        super().on_train_end()
        trained = self._step_in_epoch > 0  # a finished training that is continued stays as it is
        if trained and self.local_rank == 0 and not self.disable_checkpointing:
            remove_calibration(Path(self.output_folder))

    def train_step(self, batch: dict) -> dict:
        mix, strokes = mix_of_batch(batch), strokes_of_batch(batch)
        drawn = self.objective.draw(mix, len(strokes.annotated), self.progress, self.rng)
        data = batch["data"].to(self.device, non_blocking=True)
        target = batch["target"] if isinstance(batch["target"], list) else [batch["target"]]
        target = [t.to(self.device, non_blocking=True) for t in target]
        self.optimizer.zero_grad(set_to_none=True)
        result = self._gradients(StepInput(data, target, drawn.to(self.device), strokes.to(self.device)))
        self._enqueue(result, self._update_weights())
        if self.teacher is not None:
            self.teacher.follow(self._bare_network())
        self._step_in_epoch += 1
        return self._to_host(result)

    def _grey_channels(self) -> int:
        """How many of the input channels are images; a cascade's others are the previous stage's segmentation."""
        names = "modality" if "modality" in self.dataset_json else "channel_names"  # nnU-Net knows both
        return len(self.dataset_json[names])

    def _step_in_one_pass(self, step: StepInput) -> StepResult:
        """Gradients of a step from one forward of patches and twins together."""
        result = one_pass(self.network, self.objective, step, self._grey_channels(), self._ask_teacher)
        self._backward(result.loss)
        return result

    def _step_in_two_passes(self, step: StepInput) -> StepResult:
        """The same gradients with less memory: first the patches, then their twins."""
        size = len(step.strokes.annotated)
        grey = step.images[:size, : self._grey_channels()]
        with self.network.no_sync() if self.is_ddp else nullcontext():
            with half_precision(self.device):
                taught = None if self._ask_teacher is None else self._ask_teacher(step.images[:size])
                output = self.network(step.images[:size])
                targets = [t[:size] for t in step.targets]
                patches = self.objective.on_patches(output, targets, step.drawn, step.strokes, grey, taught)
            self._backward(patches.loss)
        with half_precision(self.device):
            output = self.network(step.images[size:])
            twins = self.objective.on_twins(output, [t[size:] for t in step.targets], patches, step.drawn)
        self._backward(twins.loss)
        return self.objective.whole(patches, twins)

    def _enqueue(self, result: StepResult, finite: Tensor) -> None:
        vectors, valid = result.queue_vectors, result.queue_valid & finite
        if self.is_ddp:
            planned, config = self.configuration_manager.batch_size, self.config
            most = most_patches(planned, dist.get_world_size(), config.patch_fraction, config.twin_share)
            vectors, valid = gather_for_queue(vectors, valid, most)
        self.queue.enqueue(vectors, valid)

    def _backward(self, loss: Tensor) -> None:
        (loss if self.grad_scaler is None else self.grad_scaler.scale(loss)).backward()

    def _update_weights(self) -> Tensor:
        """Optimiser step; a Boolean scalar, False, with the weights left alone, where the gradient is not finite."""
        if self.grad_scaler is not None:
            self.grad_scaler.unscale_(self.optimizer)
        finite = torch.nn.utils.clip_grad_norm_(self.network.parameters(), MAX_GRADIENT_NORM).isfinite()
        if self.grad_scaler is not None:
            self.grad_scaler.step(self.optimizer)  # which looks for itself
            self.grad_scaler.update()
        elif finite:
            self.optimizer.step()
        return finite

    def _to_host(self, result: StepResult) -> dict:
        """What the epoch's log needs, copied to the host at once; a term that is not finite is reported by name."""
        sizes = [1, len(TERMS), len(result.pseudo_counts), len(result.scribble_counts)]
        parts = [result.loss.detach()[None], result.terms, result.pseudo_counts, result.scribble_counts]
        loss, terms, pseudo, scribbles = np.split(
            torch.cat([p.float() for p in parts]).cpu().numpy(), np.cumsum(sizes)[:-1]
        )
        broken = [name for name, value in zip(TERMS, terms, strict=True) if not np.isfinite(value)]
        if not (broken or np.isfinite(loss[0])):
            broken = ["the sum of all terms"]
        if broken:
            self.print_to_log_file(
                f"WARNING: {', '.join(broken)} not finite in step {self._step_in_epoch} of epoch "
                f"{self.current_epoch}; this step changed neither the weights nor the queue"
            )
        return {"loss": loss[0], "terms": terms, "pseudo_counts": pseudo, "scribble_counts": scribbles}

    # ---------------------------------------------------------------------------------------------- logging

    def _register_log_keys(self) -> None:
        """nnU-Net's logger refuses unknown keys; a checkpoint of another kind of training may lack ours."""
        log = self.logger.local_logger.my_fantastic_logging
        keys = [f"pclmix_{name}" for name in TERMS] + [f"pclmix_weight_{name}" for name in TERMS]
        for key in [*keys, "pclmix_pseudo_label_shares"]:
            log.setdefault(key, [float("nan")] * self.current_epoch)

    def on_train_epoch_end(self, train_outputs: list[dict]) -> None:
        super().on_train_epoch_end([{"loss": o["loss"]} for o in train_outputs])
        outputs = collate_outputs(train_outputs)
        summary = [
            np.nanmean(np.where(np.isfinite(outputs["terms"]), outputs["terms"], np.nan), 0),
            outputs["pseudo_counts"].mean(0) / self.num_twins,
            outputs["scribble_counts"].mean(0) / self.batch_size,
        ]
        if self.is_ddp:
            gathered: list[Any] = [None] * dist.get_world_size()
            dist.all_gather_object(gathered, summary)
            summary = [np.mean(each, 0) for each in zip(*gathered, strict=True)]
        terms, pseudo, scribbles = summary
        weights = term_weights(self.config, self.progress)
        for name, value in zip(TERMS, terms, strict=True):
            self.logger.log(f"pclmix_{name}", float(value), self.current_epoch)
            self.logger.log(f"pclmix_weight_{name}", weights[name], self.current_epoch)
        self.logger.log("pclmix_pseudo_label_shares", monitoring.shares(pseudo).tolist(), self.current_epoch)
        self._print_epoch(terms, weights, pseudo, scribbles)

    def _print_epoch(self, terms: np.ndarray, weights: dict, pseudo: np.ndarray, scribbles: np.ndarray) -> None:
        listed = (f"{name} {value:.4f} (x {weights[name]:.4g})" for name, value in zip(TERMS, terms, strict=True))
        self.print_to_log_file("PCLMix terms (x weight):", ", ".join(listed))
        names = monitoring.label_names(self.dataset_json["labels"], len(pseudo))
        self.print_to_log_file("PCLMix share of each class: pseudo-labels", monitoring.describe_shares(names, pseudo))
        for c in monitoring.vanished_classes(pseudo, scribbles):
            self.print_to_log_file(
                f"WARNING: class {names[c]} is scribbled ({scribbles[c]:.3g} voxels per patch) but is vanishing from "
                f"the pseudo-labels ({pseudo[c]:.3g} voxels per image); if this lasts, lower mix_consistency_weight or "
                f"start the unlabelled terms later (mix_consistency_start) in the plans' pclmix entry"
            )

    # ---------------------------------------------------------------------------------------------- checkpoints

    def _bare_network(self) -> DualDecoderUNet:
        network: Any = self.network.module if self.is_ddp else self.network
        if isinstance(network, OptimizedModule):
            network = network._orig_mod
        return network

    def _loaders(self) -> dict[str, Any]:
        """Loaders that run in this process and so have a stream of their own to save."""
        augmenters = {"training": self.dataloader_train}
        return {
            name: augmenter.data_loader
            for name, augmenter in augmenters.items()
            if isinstance(getattr(augmenter, "data_loader", None), PCLMixDataLoader)
        }

    def save_checkpoint(self, filename: str) -> None:
        if self.local_rank != 0 or self.disable_checkpointing:
            super().save_checkpoint(filename)
            return
        state = {
            "training_only_weights": self._bare_network().training_only_state(),
            "queue": self.queue.state_dict(),
            "teacher": None if self.teacher is None else self.teacher.training_state(),
            "rng": self.rng.bit_generator.state,
            "random_state": capture_random_state(self.device),
            "loader_rng": {name: loader.rng.bit_generator.state for name, loader in self._loaders().items()},
        }
        checkpoint.save(super().save_checkpoint, Path(filename), state)

    def load_checkpoint(self, filename_or_checkpoint: dict | str) -> None:
        state = checkpoint.load(filename_or_checkpoint)
        try:
            super().load_checkpoint(filename_or_checkpoint)
        except ValueError as error:  # the optimiser's, which comes last, where the training parts are fewer or more
            if state is None:
                raise
            self._misfit = error
        self._keep_optimiser()
        self._register_log_keys()
        if state is None:
            return
        taught = state.get("teacher")  # earlier ones have none
        try:
            self._bare_network().load_training_only_state(state["training_only_weights"])
            self.queue.load_state_dict(state["queue"])
            if self.teacher is not None and taught is not None:
                self.teacher.load_training_state(taught)
        except RuntimeError as error:  # --val needs none of these
            self._misfit = error
        self._restored = {name: state[name] for name in ("rng", "random_state", "loader_rng")}

    def _keep_optimiser(self) -> None:
        """Where settings or defaults changed meanwhile: checkpoints hold the momentum, a learning rate must fit it."""
        group, asked = self.optimizer.param_groups[0], self.optimizer.defaults
        if group.get("momentum") != asked.get("momentum"):
            self.initial_lr = self.lr_scheduler.initial_lr = group["initial_lr"]

    def _restore_random_streams(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]
        if self.local_rank != 0:  # what was saved is the first one's, with which all would draw the same patches
            if self.config.seed is not None:  # nor those of the beginning again
                rng = np.random.default_rng([self.config.seed, self.local_rank, self.current_epoch])
                seed_everything(int(rng.integers(2**63)))
                for loader, own in zip(self._loaders().values(), rng.spawn(len(self._loaders())), strict=True):
                    loader.rng.bit_generator.state = own.bit_generator.state
            return
        for name, loader in self._loaders().items():
            if name in state["loader_rng"]:
                loader.rng.bit_generator.state = state["loader_rng"][name]
        restore_random_state(state["random_state"], self.device)

    # ---------------------------------------------------------------------------------------------- validation

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        super().perform_actual_validation(save_probabilities)
        if self.local_rank == 0:
            for line in judge_validation(Path(self.output_folder), self.plans_manager.dataset_name, self.dataset_json):
                self.print_to_log_file(line)
