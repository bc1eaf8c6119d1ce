import numpy as np
import pytest
import torch
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader

from nnunetv2_pclmix.dataloading.factory import start_augmenter
from nnunetv2_pclmix.dataloading.loader import PCLMixDataLoader, mix_of_batch, strokes_of_batch
from nnunetv2_pclmix.dataloading.mix import apply_mix
from nnunetv2_pclmix.dataloading.transforms import outside_becomes_ignore


@pytest.fixture
def make_loader(make_trainer):
    trainer = make_trainer()
    trainer.initialize()
    dataset, _ = trainer.get_tr_and_val_datasets()
    patch = trainer.configuration_manager.patch_size
    scales = trainer._get_deep_supervision_scales()
    rotation, dummy_2d, initial, mirror = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
    transforms = trainer.get_training_transforms(
        patch, rotation, scales, mirror, dummy_2d, use_mask_for_norm=[False], ignore_label=4
    )

    def make(batch_size: int = 3, **options):
        options = {"transforms": transforms, "box_fraction": 0.2, **options}
        return PCLMixDataLoader(dataset, batch_size, initial, patch, trainer.label_manager, **options)

    return make


def test_the_twins_equal_recomputing_them_from_the_mix_that_travelled_along(make_loader):
    batch = next(make_loader())
    mix = mix_of_batch(batch)
    assert len(batch["target"]) > 1
    for values in (batch["data"], *batch["target"]):
        assert torch.equal(values[3:], apply_mix(values[:3], mix))


def test_worker_streams_differ_and_repeat(make_loader):
    def boxes(seed):
        np.random.seed(seed)  # noqa: NPY002  as nnU-Net's workers do
        torch.manual_seed(seed)
        loader = make_loader()
        return [next(loader) for _ in range(2)]

    first, again, other = boxes(1), boxes(1), boxes(2)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a["data"], b["data"])
        assert torch.equal(a["mix_boxes"], b["mix_boxes"])
    assert not torch.equal(first[0]["mix_boxes"], first[1]["mix_boxes"])
    assert not torch.equal(first[0]["mix_boxes"], other[0]["mix_boxes"])


def test_background_processes_give_whole_batches_from_different_streams(make_loader):
    augmenter = start_augmenter(make_loader(), 2, False, np.random.default_rng(0))
    try:
        batches = [next(augmenter) for _ in range(4)]
    finally:
        augmenter._finish()
    assert len({tuple(b["mix_boxes"].flatten().tolist()) for b in batches}) == 4
    for batch in batches:
        assert torch.equal(batch["data"][3:], apply_mix(batch["data"][:3], mix_of_batch(batch)))


@pytest.mark.parametrize("as_ignore", [True, False])
def test_what_lies_outside_the_image_is_unlabelled(make_trainer, as_ignore):
    trainer = make_trainer(pclmix={"padding_as_ignore": as_ignore})
    image, labels = torch.zeros(1, 64, 64), torch.full((1, 64, 64), -1, dtype=torch.int16)
    labels[:, 20:40, 20:40] = 2
    training = trainer.get_training_transforms((64, 64), 0.0, None, (), False, ignore_label=4)
    validation = trainer.get_validation_transforms(None, ignore_label=4)
    for pipeline in (training, validation):
        values = set(pipeline(image=image.clone(), segmentation=labels.clone())["segmentation"].unique().tolist())
        assert values == ({2, 4} if as_ignore else {2, 0})


def test_a_pipeline_without_the_step_is_noticed():
    from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms

    with pytest.raises(ValueError, match="expected a step that removes label -1"):
        outside_becomes_ignore(ComposeTransforms([]), 4)
    assert outside_becomes_ignore(ComposeTransforms([]), None) is not None


VOLUME = np.array([3, 400, 400])


def _corners(loader, force_fg: bool = False, count: int = 60) -> list[tuple[int, ...]]:
    """Patch corners for a 2D image of 3 slices of 400 x 400 with a scribbled voxel in the lower two."""
    voxels = np.array([[0, 1, 200, 200], [0, 2, 10, 10]])
    locations = {1: voxels, loader.annotated_classes_key: voxels}
    return [tuple(loader.get_bbox(VOLUME, force_fg, locations)[0]) for _ in range(count)]


def test_patches_from_anywhere(make_loader):
    np.random.seed(0)  # noqa: NPY002  nnU-Net draws from it
    assert len(set(_corners(make_loader(anywhere_share=0.0)))) == 2
    anywhere = _corners(make_loader(anywhere_share=1.0), count=300)
    assert {corner[0] for corner in anywhere} == {1, 2}  # nobody scribbled slice 0
    size = make_loader().patch_size
    for axis in (1, 2):  # all of the slice is shown, and as little beyond it as nnU-Net shows of dense labels
        places = [corner[axis] for corner in anywhere]
        assert -size[axis] // 2 <= min(places) < 10
        assert 390 < max(places) + size[axis] <= 400 + size[axis] // 2
    assert 5 < len(set(_corners(make_loader(anywhere_share=0.5)))) < 55
    forced = make_loader(anywhere_share=1.0)
    assert len(set(_corners(forced, force_fg=True))) == 2  # structures are still shown
    assert forced.has_ignore


def _noted(loader, locations, corner, volume=VOLUME):
    """What a loader notes of a patch at a corner of a slice, of 400 x 400 voxels by default."""
    loader._annotated, loader._present, loader._outside, loader._within = [], [], [], []
    with pytest.MonkeyPatch.context() as patch:
        box = (list(corner), [c + s for c, s in zip(corner, loader.patch_size, strict=True)])
        patch.setattr(nnUNetDataLoader, "get_bbox", lambda *_, **__: box)
        loader.get_bbox(volume, False, locations)
    return loader._annotated[0], loader._present[0], loader._outside[0]


def test_a_patch_knows_whether_and_with_what_its_slice_was_scribbled(make_loader):
    loader = make_loader()
    locations = {
        1: np.array([[0, 1, 20, 20]]),
        2: np.array([[0, 1, 21, 21], [0, 2, 21, 21]]),
        3: [],  # nnU-Net's for a class without voxels
        loader.annotated_classes_key: np.array([[0, 1, 20, 20], [0, 2, 21, 21]]),
    }
    nothing = [False] * 3
    assert _noted(loader, locations, (0, 0, 0)) == (False, [True] * 3, nothing)  # nobody scribbled it
    assert _noted(loader, locations, (1, 0, 0)) == (True, [True, True, False], nothing)
    assert _noted(loader, locations, (2, 0, 0)) == (True, [False, True, False], nothing)
    assert next(loader)["annotated"].tolist() == [True] * 3  # every slice of the phantoms is scribbled


def test_strokes_outside_of_a_patch_and_far_from_it(make_loader):
    loader = make_loader()
    margin, size = (np.subtract(loader.patch_size, loader.final_patch_size) // 2)[1], loader.final_patch_size[1]
    stroke = [[0, 1, 100, y] for y in range(90, 110)]
    wide = [[0, 1, 100, y] for y in range(100, 100 + 3 * size)]
    locations = {1: np.array(stroke), 2: np.array(wide), 3: [], loader.annotated_classes_key: np.array(stroke)}

    def at(x, y):
        """The final patch begins at that place of slice 1."""
        return _noted(loader, locations, (1, x - margin, y - margin))

    assert at(100 - size // 2, 85) == (True, [True, True, False], [False, True, False])  # holds all of the first
    assert at(100 - size // 2, 95) == (True, [True, True, False], [True, True, False])  # and half of it
    half = size // 2
    assert at(100 + half, 85)[1:] == ([True, True, False], [True, True, False])
    assert at(100 + half + 1, 85)[1:] == ([False, False, False], [True, True, False])  # too far below both
    assert at(100 - half, 110 - 1 + half)[1][0]
    assert not at(100 - half, 110 + half)[1][0]  # too far beside the first
    assert at(100 - half, 100 + 6 * size - 2)[1] == [False, True, False]  # within reach of a stroke that long
    assert not at(100 - half, 100 + 6 * size)[1][1]


@pytest.mark.parametrize("shift", [-1, 0, 1])
def test_a_patch_that_holds_its_slice_holds_all_strokes(make_loader, shift):
    """A voxel aside it no longer does."""
    loader = make_loader()
    rows, columns = loader.final_patch_size[1:]
    margin = np.subtract(loader.patch_size, loader.final_patch_size)[1:] // 2
    corners = [[0, 1, 0, 0], [0, 1, rows - 1, columns - 1]]
    locations = {1: np.array(corners), 2: np.array([[0, 2, 5, 5]]), 3: [], loader.annotated_classes_key: corners}
    here = (1, shift - margin[0], -margin[1])
    annotated, present, outside = _noted(loader, locations, here, np.array([3, rows, columns]))
    assert (annotated, present) == (True, [True, False, False])
    assert outside == [shift != 0, False, False]


def test_structures_of_a_batch_are_those_of_its_slices(make_loader):
    loader = make_loader()
    batch = next(loader)
    patches, present = (
        batch["target"][0][:3] if isinstance(batch["target"], list) else batch["target"][:3],
        batch["present"],
    )
    assert present.shape == (3, 3)
    for patch, structures in zip(patches, present.tolist(), strict=True):
        seen = set(patch.unique().tolist())
        assert all(structures[c - 1] for c in seen & {1, 2, 3})


def test_a_stroke_in_the_patch_counts_though_nnunet_lists_none(make_loader):
    """As it may be in one of many slices, because nnU-Net lists a sample of a large structure's voxels."""
    loader = make_loader()
    locations = {1: [], 2: [], 3: np.array([[0, 0, 5, 5]]), loader.annotated_classes_key: np.array([[0, 1, 20, 20]])}
    assert _noted(loader, locations, (1, 0, 0))[1] == [False, False, False]
    patch = np.full((1, 1, 8, 8), 4)
    patch[0, 0, 2, 3] = 2
    loader._look_at(patch)
    assert loader._present == [[False, True, False]]


def test_strokes_that_augmentation_takes_away_are_noted(make_loader):
    loader = make_loader()
    margin = (np.subtract(loader.patch_size, loader.final_patch_size) // 2)[1:]
    here, beside = [0, 1, 5, 5], [0, 1, 5 + 2 * loader.final_patch_size[1], 5]
    strokes = {1: np.array([here]), 2: np.array([here, beside]), 3: np.array([beside])}
    locations = {**strokes, loader.annotated_classes_key: np.array([here, beside])}
    _noted(loader, locations, (1, *-margin))
    patch = np.full((1, 1, 8, 8), 4)
    assert loader._look_at(patch) == [[True, True, False]]
    patch[0, 0, 2, 3] = 2
    assert loader._look_at(patch) == [[True, False, False]]


def test_a_batch_notes_lost_strokes(make_loader, monkeypatch):
    """With an augmentation that takes all of them away."""
    loader = make_loader()
    assert not next(loader)["lost"].any()
    monkeypatch.setattr(
        loader, "transforms", lambda **each: {"image": each["image"], "segmentation": each["segmentation"] * 0 + 4}
    )
    batch = next(loader)
    assert batch["lost"].shape == (3, 3)
    assert batch["lost"].any()
    assert strokes_of_batch(batch).lost is batch["lost"]


def test_a_batch_looks_at_what_its_patches_show(make_loader, monkeypatch):
    """Even where nnU-Net lists nothing but that the slices are scribbled."""
    loader = make_loader()
    monkeypatch.setattr(loader, "_strokes_of", lambda _, key, __: np.zeros((int(key not in (1, 2, 3)), 3), int))
    batch = next(loader)
    target = batch["target"][0] if isinstance(batch["target"], list) else batch["target"]
    expected = [[bool((patch == label).any()) for label in (1, 2, 3)] for patch in target[:3]]
    assert batch["present"].tolist() == expected
    assert any(map(any, expected))


def test_nothing_is_concluded_of_dense_patches(make_loader):
    loader = make_loader()
    loader._present = [[False, False, True], [False, False, False]]
    sparse, dense = np.full((1, 8, 8), 4), np.zeros((1, 8, 8))
    sparse[0, 0, :3] = 1
    loader._within = [[False] * 3] * 2
    loader._look_at(np.stack([sparse, dense]))
    assert loader._present == [[True, False, True], [True] * 3]


def test_labels_that_came_after_preprocessing_are_told(make_trainer):
    labels = {"background": 0, "RV": 1, "MYO": 2, "LV": 3, "scar": 4, "ignore": 5}
    trainer = make_trainer(change_dataset={"labels": labels})
    trainer.initialize()
    with pytest.raises(
        ValueError, match=r"was preprocessed when dataset.json had other labels.* preprocess Dataset.* again"
    ):
        trainer.get_dataloaders()
