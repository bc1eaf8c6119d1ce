"""Other kinds of files than NIfTI, through the command line: what goes in comes out, and damage is noticed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.experiment_planning.verify_dataset_integrity import check_cases, verify_labels
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from PIL import Image
from skimage import io

from scribble_conversion.cli import main
from tests.scribble_conversion.conftest import SIZE, Workplace, write_volume

VOLUMES = (".nrrd", ".mha", ".gipl", ".nii.gz")
PICTURES = (".png", ".bmp", ".tif")
SHAPE_2D = (13, 17)
NAMES = ("a", "b", "c")
DATASET = "Dataset007_Scribbles"


def _arguments(place: Workplace, *more: str) -> list[str]:
    folders = ["--images", str(place.root / "images"), "--scribbles", str(place.root / "scribbles")]
    return ["nifti", *folders, "-d", "7", "-np", "1", "--unlabelled-value", "255", *more]


def _fill(place: Workplace, image_ending: str, label_ending: str, colours: int = 0) -> dict[str, np.ndarray]:
    """Three cases of random images and scribbles, three classes; returns the scribbles."""
    rng = np.random.default_rng(0)
    flat = image_ending in PICTURES
    shape = SHAPE_2D if flat else SIZE[::-1]
    labels = {}
    for name in NAMES:
        drawn = rng.random(shape) < 0.4
        labels[name] = np.where(drawn, rng.integers(0, 3, shape), 255).astype(np.uint8)
        image = place.root / "images" / f"{name}{image_ending}"
        scribble = place.root / "scribbles" / f"{name}_scribble{label_ending}"
        if flat:
            for file, array in (
                (image, rng.integers(0, 255, (*shape, colours) if colours else shape).astype(np.uint8)),
                (scribble, labels[name]),
            ):
                file.parent.mkdir(exist_ok=True)
                io.imsave(file, array, check_contrast=False)
        else:
            write_volume(image, rng.integers(-500, 500, shape).astype(np.int16))
            write_volume(scribble, labels[name])
    return labels


@pytest.mark.parametrize("ending", VOLUMES)
def test_volumes_keep_their_bytes_and_labels_their_geometry(workplace: Workplace, ending: str) -> None:
    labels = _fill(workplace, ending, ending)
    before = workplace.contents()
    assert main(_arguments(workplace)) == 0
    assert workplace.contents() == before
    assert workplace.dataset_json()["file_ending"] == ending
    assert workplace.dataset_json()["overwrite_image_reader_writer"] == "SimpleITKIO"
    for name in NAMES:
        source = workplace.root / "images" / f"{name}{ending}"
        image = workplace.raw / DATASET / "imagesTr" / f"{name}_0000{ending}"
        label = workplace.raw / DATASET / "labelsTr" / f"{name}{ending}"
        assert image.read_bytes() == source.read_bytes()
        written, original = sitk.ReadImage(str(label)), sitk.ReadImage(str(source))
        assert written.GetPixelID() == sitk.sitkUInt8
        expected = np.where(labels[name] == 255, 3, labels[name])
        np.testing.assert_array_equal(sitk.GetArrayFromImage(written), expected)
        # NRRD stores the product of spacing and direction, whose parts are rounded when they are taken apart
        np.testing.assert_allclose(written.GetSpacing(), original.GetSpacing(), rtol=1e-12)
        np.testing.assert_allclose(written.GetDirection(), original.GetDirection(), atol=1e-12)
        assert written.GetOrigin() == original.GetOrigin()
        assert verify_labels(str(label), SimpleITKIO, [0, 1, 2, 3])
        assert check_cases([str(image)], str(label), 1, SimpleITKIO)


@pytest.mark.parametrize("pair", [(".nii.gz", ".nrrd"), (".mha", ".nii.gz"), (".png", ".tif")])
def test_labels_may_be_of_another_kind_than_images(workplace: Workplace, pair: tuple[str, str]) -> None:
    labels = _fill(workplace, *pair)
    assert main(_arguments(workplace)) == 0
    written = workplace.label(f"labelsTr/a{pair[0]}")
    np.testing.assert_array_equal(written.squeeze(), np.where(labels["a"] == 255, 3, labels["a"]))


@pytest.mark.parametrize("ending", PICTURES)
@pytest.mark.parametrize(("colours", "names"), [(0, ["image"]), (3, ["R", "G", "B"]), (4, ["R", "G", "B", "A"])])
def test_pictures(workplace: Workplace, ending: str, colours: int, names: list[str]) -> None:
    if colours == 4 and ending == ".bmp":
        pytest.skip("scikit-image writes no BMP with transparency")
    labels = _fill(workplace, ending, ending, colours)
    assert main(_arguments(workplace)) == 0
    assert list(workplace.dataset_json()["channel_names"].values()) == names
    assert workplace.dataset_json()["file_ending"] == ending
    assert workplace.dataset_json()["overwrite_image_reader_writer"] == "NaturalImage2DIO"
    for name in NAMES:
        image = workplace.raw / DATASET / "imagesTr" / f"{name}_0000{ending}"
        label = workplace.raw / DATASET / "labelsTr" / f"{name}{ending}"
        assert image.read_bytes() == (workplace.root / "images" / f"{name}{ending}").read_bytes()
        np.testing.assert_array_equal(workplace.label(f"labelsTr/{name}{ending}")[0], labels[name].clip(max=3))
        assert verify_labels(str(label), NaturalImage2DIO, [0, 1, 2, 3])
        assert check_cases([str(image)], str(label), len(names), NaturalImage2DIO)


def test_tiff_becomes_tif(workplace: Workplace) -> None:
    _fill(workplace, ".tif", ".png")
    for name in NAMES:
        file = workplace.root / "images" / f"{name}.tif"
        file.rename(file.with_suffix(".tiff"))
    assert main(_arguments(workplace)) == 0
    assert workplace.dataset_json()["file_ending"] == ".tif"
    assert workplace.label("labelsTr/a.tif").shape == (1, *SHAPE_2D)


@pytest.mark.parametrize("ending", [".png", ".bmp"])
def test_labels_with_a_palette_are_its_indices(workplace: Workplace, ending: str) -> None:
    labels = _fill(workplace, ".png", ending)
    for name in NAMES:
        coloured = Image.fromarray(labels[name]).convert("P")
        coloured.putdata(labels[name].ravel().tolist())
        coloured.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0] + [9, 9, 9] * 253)
        coloured.save(workplace.root / "scribbles" / f"{name}_scribble{ending}")
    assert io.imread(workplace.root / "scribbles" / f"a_scribble{ending}").ndim == 3
    assert main(_arguments(workplace)) == 0
    np.testing.assert_array_equal(workplace.label("labelsTr/a.png")[0], labels["a"].clip(max=3))


def test_several_grey_pictures_are_channels(workplace: Workplace) -> None:
    _fill(workplace, ".png", ".png")
    for name in NAMES:
        file = workplace.root / "images" / f"{name}.png"
        shutil.copy(file, file.with_name(f"{name}_0001.png"))
        file.rename(file.with_name(f"{name}_0000.png"))
    assert main(_arguments(workplace)) == 0
    assert workplace.dataset_json()["channel_names"] == {"0": "channel_0", "1": "channel_1"}


Damage = Callable[[Path], None]


def _half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _ten_bytes_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])


def _empty(file: Path) -> None:
    file.write_bytes(b"")


def _text(file: Path) -> None:
    file.write_text("404: Not Found")


def _flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-6] ^= 0xFF
    file.write_bytes(content)


def _recompressed_and_flipped(file: Path) -> None:
    sitk.WriteImage(sitk.ReadImage(str(file)), str(file), True)
    _flipped(file)


def _recompressed_and_cut(file: Path) -> None:
    sitk.WriteImage(sitk.ReadImage(str(file)), str(file), True)
    _ten_bytes_short(file)


DAMAGED: list[tuple[str, str, Damage, str]] = [
    *((kind, ending, damage, "") for kind in ("image", "scribble") for ending in (".nrrd", ".mha", ".gipl")
      for damage in (_half, _ten_bytes_short, _empty, _text)),
    *((kind, ending, damage, "") for kind in ("image", "scribble") for ending in (".nrrd", ".mha")
      for damage in (_recompressed_and_flipped, _recompressed_and_cut)),
    *((kind, ending, damage, "is damaged or no") for kind in ("image", "scribble") for ending in PICTURES
      for damage in (_half, _empty, _text)),
    ("image", ".mha", _ten_bytes_short, "is truncated, it lacks 10 bytes"),
    ("scribble", ".gipl", _ten_bytes_short, "is truncated, it lacks 10 bytes"),
    ("image", ".mha", _recompressed_and_cut, "compressed voxels end too early"),
    ("image", ".png", _flipped, ""),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "ending", "damage", "expected"), DAMAGED)
def test_damage_is_one_sentence(
    workplace: Workplace, capfd: pytest.CaptureFixture[str], kind: str, ending: str, damage: Damage, expected: str
) -> None:
    _fill(workplace, ending, ending)
    file = workplace.root / ("images/b" if kind == "image" else "scribbles/b_scribble")
    file = file.with_name(file.name + ending)
    if damage is _flipped:
        io.imsave(file, np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8), check_contrast=False)
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
    else:
        damage(file)
    told = workplace.refused(capfd, _arguments(workplace, "--labels", "one", "two"))
    assert str(file) in told
    assert expected in told
    assert "download or export it again" in told


def test_a_missing_permission_is_told(workplace: Workplace, capfd: pytest.CaptureFixture[str]) -> None:
    if os.name != "posix" or os.getuid() == 0:
        pytest.skip("permissions do not bind this user")
    _fill(workplace, ".png", ".png")
    (workplace.root / "images" / "b.png").chmod(0)
    assert "check its permissions" in workplace.refused(capfd, _arguments(workplace))


@pytest.mark.parametrize(
    ("ending", "content", "expected"),
    [
        (".mha", b"ObjectType = Image\nNDims = 3\nDimSize = 11 9 4\nElementType = MET_SHORT\nElementDataFile = b.raw\n",
         "keeps its voxels in another file"),
        (".nrrd", b"NRRD0004\ntype: short\ndimension: 3\nsizes: 11 9 4\nencoding: raw\ndata file: b.raw\n\n",
         "keeps its voxels in another file"),
        (".mha", b"ObjectType = Image\nNDims = 3\n", "has no ElementDataFile"),
        (".gipl", bytes(300), "voxel type is unknown"),
    ],
)  # fmt: skip
def test_headers(
    workplace: Workplace, capfd: pytest.CaptureFixture[str], ending: str, content: bytes, expected: str
) -> None:
    _fill(workplace, ending, ending)
    file = workplace.root / "images" / f"b{ending}"
    file.write_bytes(content)
    told = workplace.refused(capfd, _arguments(workplace))
    assert str(file) in told
    assert expected in told


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".gipl", ".tif"])
def test_nan_is_refused(workplace: Workplace, capfd: pytest.CaptureFixture[str], ending: str) -> None:
    _fill(workplace, ending, ending)
    file = workplace.root / "images" / f"b{ending}"
    array = np.zeros(SHAPE_2D if ending == ".tif" else SIZE[::-1], np.float32)
    array[1, 2] = np.nan
    if ending == ".tif":
        io.imsave(file, array, check_contrast=False)
    else:
        write_volume(file, array)
    assert f"{file} holds NaN or infinite values" in workplace.refused(capfd, _arguments(workplace))


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_volumes_of_colours_or_two_dimensions(
    workplace: Workplace, capfd: pytest.CaptureFixture[str], ending: str
) -> None:
    _fill(workplace, ending, ending)
    file = workplace.root / "images" / f"b{ending}"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((*SIZE[::-1], 3), np.uint8), isVector=True), str(file))
    assert "expected single real numbers" in workplace.refused(capfd, _arguments(workplace))
    write_volume(file, np.zeros((9, 11), np.int16))
    assert "has 2 dimensions, expected 3" in workplace.refused(capfd, _arguments(workplace))


@pytest.mark.parametrize("ending", PICTURES)
def test_a_label_in_colour_is_refused(workplace: Workplace, capfd: pytest.CaptureFixture[str], ending: str) -> None:
    _fill(workplace, ending, ending)
    file = workplace.root / "scribbles" / f"b_scribble{ending}"
    io.imsave(file, np.zeros((*SHAPE_2D, 3), np.uint8), check_contrast=False)
    told = workplace.refused(capfd, _arguments(workplace))
    assert str(file) in told
    assert "is a colour image" in told
    assert "single-channel image of integers" in told


def test_pages_are_refused(workplace: Workplace, capfd: pytest.CaptureFixture[str]) -> None:
    _fill(workplace, ".tif", ".tif")
    file = workplace.root / "images" / "b.tif"
    io.imsave(file, np.zeros((6, *SHAPE_2D), np.uint8), check_contrast=False)
    told = workplace.refused(capfd, _arguments(workplace))
    assert f"{file} has 6 pages, expected one 2D image" in told


def test_a_label_of_another_size_is_refused(workplace: Workplace, capfd: pytest.CaptureFixture[str]) -> None:
    _fill(workplace, ".png", ".png")
    file = workplace.root / "scribbles" / "b_scribble.png"
    io.imsave(file, np.zeros(SHAPE_2D[::-1], np.uint8), check_contrast=False)
    told = workplace.refused(capfd, _arguments(workplace))
    assert f"{file} does not lie on" in told
    assert "size, (13, 17) instead of (17, 13)" in told


def test_grey_and_colour_do_not_mix(workplace: Workplace, capfd: pytest.CaptureFixture[str]) -> None:
    _fill(workplace, ".png", ".png")
    grey = workplace.root / "images" / "b.png"
    io.imsave(grey, np.zeros((*SHAPE_2D, 3), np.uint8), check_contrast=False)
    told = workplace.refused(capfd, _arguments(workplace))
    assert "different numbers of channels (c has 1, b has 3)" in told
    for name in NAMES:
        file = workplace.root / "images" / f"{name}.png"
        shutil.copy(file, file.with_name(f"{name}_0000.png"))
        io.imsave(file.with_name(f"{name}_0001.png"), np.zeros((*SHAPE_2D, 4), np.uint8), check_contrast=False)
        file.unlink()
    assert "all of them as grey images or all as colour images" in workplace.refused(capfd, _arguments(workplace))


def test_kinds_do_not_mix(workplace: Workplace, capfd: pytest.CaptureFixture[str]) -> None:
    _fill(workplace, ".nrrd", ".nrrd")
    file = workplace.root / "images" / "b.nrrd"
    sitk.WriteImage(sitk.ReadImage(str(file)), str(file.with_suffix(".mha")))
    file.unlink()
    assert "the images are of different kinds" in workplace.refused(capfd, _arguments(workplace))


def test_channels_have_to_lie_on_each_other(workplace: Workplace, capfd: pytest.CaptureFixture[str]) -> None:
    """Also where the difference is header rounding, which nnU-Net does not forgive between channels."""
    _fill(workplace, ".mha", ".mha")
    for name in NAMES:
        file = workplace.root / "images" / f"{name}.mha"
        file.rename(file.with_name(f"{name}_0000.mha"))
        shutil.copy(file.with_name(f"{name}_0000.mha"), file.with_name(f"{name}_0001.mha"))
    assert main(_arguments(workplace, "-n", "Fine")) == 0
    second = workplace.root / "images" / "b_0001.mha"
    write_volume(second, np.zeros(SIZE[::-1], np.int16), spacing=(1.4063, 1.25, 9.5))
    told = workplace.refused(capfd, _arguments(workplace, "-n", "Fine", "--overwrite"))
    assert f"{second} does not lie on" in told
    assert "spacing, (1.4063, 1.25, 9.5) instead of (1.40625, 1.25, 9.5) mm" in told


@pytest.mark.slow
def test_nnunet_plans_and_preprocesses_pictures(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import plan_and_preprocess_entry

    rng = np.random.default_rng(0)
    for folder in ("images", "scribbles"):
        (workplace.root / folder).mkdir()
    for name in NAMES:
        labels = np.zeros((64, 80), np.uint8)
        labels[20:44, 20:50] = 1
        image = labels[..., None] * 80 + rng.integers(0, 50, (64, 80, 3))
        strokes = np.full_like(labels, 255)
        strokes[32] = labels[32]
        io.imsave(workplace.root / "images" / f"{name}.png", image.astype(np.uint8))
        io.imsave(workplace.root / "scribbles" / f"{name}_scribble.png", strokes, check_contrast=False)
    assert main(_arguments(workplace)) == 0
    for variable in ("raw", "preprocessed"):
        monkeypatch.setattr(f"nnunetv2.paths.nnUNet_{variable}", str(getattr(workplace, variable)))
    command = "nnUNetv2_plan_and_preprocess -d 7 -c 2d -np 1 -npfp 1 --verify_dataset_integrity"
    monkeypatch.setattr("sys.argv", command.split())
    plan_and_preprocess_entry()
    made = workplace.preprocessed / DATASET
    assert (made / "nnUNetPlans.json").is_file()
    assert len(list((made / "nnUNetPlans_2d").glob("*_seg.b2nd"))) == len(NAMES)


@pytest.mark.parametrize("ending", VOLUMES)
def test_endings_may_be_in_capitals_or_are_told(
    workplace: Workplace, capfd: pytest.CaptureFixture[str], ending: str
) -> None:
    labels = _fill(workplace, ending, ending)
    for file in [*workplace.root.glob("images/*"), *workplace.root.glob("scribbles/*")]:
        file.rename(file.with_name(file.name.removesuffix(ending) + ending.upper()))
    if ending in (".mha", ".gipl"):  # which SimpleITK does not read then
        assert f"to end in {ending}" in workplace.refused(capfd, _arguments(workplace))
        return
    assert main(_arguments(workplace)) == 0
    for name in NAMES:
        written = workplace.label(f"labelsTr/{name}{ending}")
        np.testing.assert_array_equal(written, np.where(labels[name] == 255, 3, labels[name]))


def test_an_ending_of_mixed_case_is_told(workplace: Workplace, capfd: pytest.CaptureFixture[str]) -> None:
    _fill(workplace, ".nii.gz", ".nii.gz")
    file = workplace.root / "images" / "b.nii.gz"
    file.rename(file.with_name("b.Nii.gz"))
    told = workplace.refused(capfd, _arguments(workplace))
    assert "b.Nii.gz cannot be read under this name; rename it to end in .nii or .nii.gz" in told
