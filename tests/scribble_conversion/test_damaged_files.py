"""Damaged and unfit files in every format: one sentence with a cure, and nothing is left behind."""

from __future__ import annotations

import gzip
import math
import os
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from skimage import io

from scribble_conversion.cli import main
from tests.scribble_conversion.sound import BUILDERS, NIFTI_READERS, SHAPE, Sound, build

Damage = Callable[[Path], None]
NIFTI_SPACING = ("pixdim", (1, 2, 3))


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Sound]:
    """Makes the sound dataset of a reader and points nnU-Net and temporary files there."""

    def make(reader: str) -> Sound:
        sound = build(reader, tmp_path / "place")
        for variable, value in sound.environment().items():
            monkeypatch.setenv(variable, value)
        monkeypatch.setattr(tempfile, "tempdir", None)
        monkeypatch.delenv("nnUNet_def_n_proc", raising=False)
        return sound

    return make


@pytest.mark.parametrize("reader", BUILDERS)
def test_what_is_damaged_below_is_sound_by_itself(made: Callable[[str], Sound], reader: str) -> None:
    assert main(list(made(reader).arguments)) == 0


def _bytes(content: bytes) -> Damage:
    return lambda path: path.write_bytes(content) and None


def _cut(share: float) -> Damage:
    return lambda path: path.write_bytes(path.read_bytes()[: int(len(path.read_bytes()) * share)]) and None


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _flip_checksum(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(content)


def _garbage_behind(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"garbage")


def _surplus(path: Path) -> None:
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(2**26 + 2**20), compresslevel=1))


def _uncompressed(path: Path) -> None:
    path.write_bytes(gzip.decompress(path.read_bytes()))


def _header(*changes: tuple[str, int, float]) -> Damage:
    """Overwrite fields of a NIfTI-1 header: ``struct`` format, offset, value."""

    def damage(path: Path) -> None:
        content = bytearray(gzip.decompress(path.read_bytes()))
        for form, offset, value in changes:
            struct.pack_into(f"<{form}", content, offset, value)
        path.write_bytes(gzip.compress(bytes(content)))

    return damage


def _voxels(change: Callable[[np.ndarray], np.ndarray], components: bool = False) -> Damage:
    """Write other voxels in the same geometry where the shape is the same."""

    def damage(path: Path) -> None:
        old = sitk.ReadImage(str(path))
        image = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(old)), isVector=components)
        if image.GetSize() == old.GetSize():
            image.CopyInformation(old)
        sitk.WriteImage(image, str(path))

    return damage


def _one(value: float, dtype: type = np.float32) -> Damage:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.astype(dtype)
        array[1, 2, 3] = value
        return array

    return _voxels(change)


def _geometry(change: Callable[[sitk.Image], object]) -> Damage:
    def damage(path: Path) -> None:
        image = sitk.ReadImage(str(path))
        change(image)
        sitk.WriteImage(image, str(path))

    return damage


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("not_there"))


def _circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name(f".{path.name}"))
    path.with_name(f".{path.name}").symlink_to(path)


def _longdouble(path: Path) -> None:
    nibabel.Nifti1Image(np.zeros(SHAPE[::-1], np.float64), np.eye(4)).to_filename(path)
    _header(("h", 70, 1536), ("h", 72, 128))(path)


def _nifti2(path: Path) -> None:
    nibabel.Nifti2Image.from_image(nibabel.load(path)).to_filename(path)


NAN, INF = math.nan, math.inf
ANY_FILE: dict[str, tuple[Damage, str]] = {
    "of no bytes": (_empty, "damaged or no"),
    "text": (_bytes(b"404: Not Found\n"), "damaged or no"),
    "cut in the middle": (_cut(0.5), ""),
    "cut in the header": (_cut(0.05), ""),
    "a link that leads nowhere": (_dangling, "is a link to a file that is not there"),
    "links in a circle": (_circle, ""),
}
NIFTI: dict[str, tuple[Damage, str]] = {
    **ANY_FILE,
    "gzip of text": (_bytes(gzip.compress(b"404: Not Found\n")), "damaged or no NIfTI file"),
    "gzip of nothing": (_bytes(gzip.compress(b"")), "damaged or no NIfTI file"),
    "of a wrong checksum": (_flip_checksum, "damaged or no NIfTI file"),
    "followed by garbage": (_garbage_behind, "damaged or no NIfTI file"),
    "not compressed": (_uncompressed, "is not compressed, though its name ends in .gz; rename it to end in .nii"),
    "NIfTI-2": (_nifti2, "is a NIfTI-2 file, which SimpleITK does not read; save it as NIfTI-1"),
    "far too long": (_surplus, "goes on long after the voxels"),
    "of one row too few": (_header(("h", 44, 7)), "is truncated, it lacks"),
    "of 27 billion voxels": (_header(*[("h", offset, 30000) for offset in (42, 44, 46)]), "is truncated, it lacks"),
    "of more voxels than 64 bits count": (
        _header(("h", 40, 7), *[("h", 42 + 2 * axis, 32767) for axis in range(7)]),
        "is truncated, it lacks",
    ),
    "of no columns": (_header(("h", 42, 0)), "declares the size 0 x 6 x 3"),
    "of negative columns": (_header(("h", 42, -7)), "declares the size -7 x 6 x 3"),
    "of no dimensions": (_header(("h", 40, 0)), "damaged or no NIfTI file"),
    "of 9 dimensions": (_header(("h", 40, 9)), "damaged or no NIfTI file"),
    "of spacing 0": (_header(("f", 80, 0)), "has the spacing (0.0, 1.25, 9.0) in its header"),
    "of spacing NaN": (_header(("f", 84, NAN)), "has the spacing (1.5, nan, 9.0) in its header"),
    "of infinite spacing": (_header(("f", 88, INF)), "has the spacing (1.5, 1.25, inf) in its header"),
    "of negative spacing": (_header(("f", 80, -1.5)), "has the spacing (-1.5, 1.25, 9.0) in its header"),
    "of a NaN in the qform": (_header(("h", 252, 1), ("f", 256, NAN)), "has the qform"),
    "of a NaN in the sform": (_header(("h", 254, 1), ("f", 292, NAN)), "has the sform"),
    "skewed": (_header(("h", 252, 0), ("h", 254, 2), ("f", 284, 0.9)), "only supports orthonormal direction"),
    "of an sform of zeros": (
        _header(("h", 252, 0), ("h", 254, 2), *[("f", 280 + 4 * place, 0) for place in range(12)]),
        "only supports orthonormal direction",
    ),
    "of voxels beyond its end": (_header(("f", 108, 1e12)), "is truncated"),
    "of voxels beyond all bounds": (_header(("f", 108, 1e30)), "damaged or no NIfTI file"),
    "of voxels nowhere": (_header(("f", 108, NAN)), "damaged or no NIfTI file"),
    "of an unknown voxel type": (_header(("h", 70, 4242)), "damaged or no NIfTI file"),
    "of 128-bit floats": (_longdouble, ""),
    "2D": (_voxels(lambda array: array[0]), "has 2 dimensions, expected 3"),
    "4D": (_voxels(lambda array: np.stack([array] * 2)), "has 4 dimensions, expected 3"),
    "RGB": (_voxels(lambda array: np.stack([array.astype(np.uint8)] * 3, -1), True), "single real numbers"),
    "complex": (_voxels(lambda array: array.astype(np.complex64)), "single real numbers"),
    "with a NaN": (_one(NAN), "holds NaN or infinite values"),
    "with an infinite value": (_one(-INF), "holds NaN or infinite values"),
    "with a value that 32-bit floats lack": (_one(1e300, np.float64), "holds NaN or infinite values"),
}
"""What neither an image nor a label may be."""
NIFTI_LABELS: dict[str, tuple[Damage, str]] = {
    "with a fraction": (_one(1.5), "no integers (1.5)"),
    "with an undeclared code": (_one(77, np.uint8), "77"),
    "with axes swapped": (_voxels(lambda array: array.transpose(0, 2, 1).copy()), "they differ in size"),
    "of one slice too few": (_voxels(lambda array: array[1:]), "they differ in size"),
    "of another spacing": (_geometry(lambda image: image.SetSpacing((1.5, 1.25, 8.0))), "they differ in spacing"),
    "of another origin": (_geometry(lambda image: image.SetOrigin((0, 4, 0))), "they differ in origin"),
    "mirrored": (_geometry(lambda image: image.SetDirection((-1, 0, 0, 0, 1, 0, 0, 0, 1))), "they differ in direction"),
}


@pytest.mark.parametrize("reader", NIFTI_READERS)
@pytest.mark.parametrize("kind", NIFTI)
def test_nifti_images(made: Callable[[str], Sound], capfd: pytest.CaptureFixture[str], reader: str, kind: str) -> None:
    sound = made(reader)
    damage, sentence = NIFTI[kind]
    damage(sound.image)
    assert sentence in sound.refused(capfd, names=sound.image)


@pytest.mark.parametrize("reader", NIFTI_READERS)
@pytest.mark.parametrize("kind", [*NIFTI, *NIFTI_LABELS])
def test_nifti_labels(made: Callable[[str], Sound], capfd: pytest.CaptureFixture[str], reader: str, kind: str) -> None:
    sound = made(reader)
    damage, sentence = {**NIFTI, **NIFTI_LABELS}[kind]
    damage(sound.label)
    if (reader, kind) == ("scribblebench", "with an undeclared code"):
        # the highest value counts as unlabelled there, whatever it is
        assert main([*sound.arguments, "--unlabelled-value", "4"]) == 0
        return
    names = None if kind == "with an undeclared code" and reader == "nifti" else sound.label  # it asks for a map
    assert sentence in sound.refused(capfd, names=names)


@pytest.mark.parametrize("kind", [*ANY_FILE, "of spacing 0", "with a NaN", "4D"])
def test_originals_of_hdf5_slices(made: Callable[[str], Sound], capfd: pytest.CaptureFixture[str], kind: str) -> None:
    sound = made("wsl4mis")
    NIFTI[kind][0](sound.image)
    assert NIFTI[kind][1] in sound.refused(capfd, names=sound.image)


def _h5(**changes: object) -> Damage:
    """Replace datasets of an HDF5 file; None removes one, a function makes one in the open file."""

    def damage(path: Path) -> None:
        with h5py.File(path, "a") as file:
            for name, content in changes.items():
                del file[name]
                if callable(content):
                    content(file)
                elif content is not None:
                    file[name] = content

    return damage


PLANE = np.zeros(SHAPE[1:])
HDF5: dict[str, tuple[Damage, str]] = {
    **ANY_FILE,
    "without image": (_h5(image=None), "lacks the dataset 'image'"),
    "without scribble": (_h5(scribble=None), "lacks the dataset 'scribble'"),
    "with a group for an image": (_h5(image=lambda file: file.create_group("image")), "lacks the dataset 'image'"),
    "with text for an image": (_h5(image="text"), "no real numbers in 'image'"),
    "with nothing in image": (_h5(image=h5py.Empty("f")), "has 0 dimensions in 'image'"),
    "complex": (_h5(image=PLANE.astype(complex)), "no real numbers in 'image'"),
    "3D": (_h5(image=np.zeros(SHAPE)), "has 3 dimensions in 'image'"),
    "of no voxels": (_h5(image=PLANE[:0], scribble=PLANE[:0], label=PLANE[:0]), "so no voxels"),
    "of two shapes": (_h5(scribble=PLANE[1:]), "in 'scribble', but"),
    "of another shape than the others": (_h5(image=PLANE[1:], scribble=PLANE[1:], label=PLANE[1:]), "need one shape"),
    "with a NaN": (_h5(image=PLANE * NAN), "holds NaN or infinite values in 'image'"),
    "with a value that 32-bit floats lack": (_h5(image=PLANE + 1e300), "holds NaN or infinite values in 'image'"),
    "with a fraction": (_h5(scribble=PLANE + 0.5), "no integers (0.5)"),
    "with an undeclared code": (_h5(scribble=PLANE + 77), "label values 77"),
    "of 27 billion pixels": (
        _h5(image=lambda file: file.create_dataset("image", (30000, 30000, 30000), "f4", chunks=(10, 10, 10))),
        "more than this machine's memory",
    ),
    "with an image that links to itself": (
        _h5(image=lambda file: file.__setitem__("image", h5py.SoftLink("/image"))),
        "HDF5",
    ),
    "with an image in another file": (
        _h5(image=lambda file: file.__setitem__("image", h5py.ExternalLink("/etc/hostname", "image"))),
        "lacks the dataset 'image'",
    ),
    "of another image": (_h5(image=np.random.default_rng(99).random(SHAPE[1:])), "is not slice 1 of"),
}


@pytest.mark.parametrize("kind", HDF5)
def test_hdf5_slices(made: Callable[[str], Sound], capfd: pytest.CaptureFixture[str], kind: str) -> None:
    sound = made("wsl4mis")
    HDF5[kind][0](sound.label)
    assert HDF5[kind][1] in sound.refused(capfd, names=sound.label)


def _text_header(old: bytes, new: bytes) -> Damage:
    def damage(path: Path) -> None:
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new, 1))

    return damage


HUGE = b"30000 30000 30000"
NRRD: dict[str, tuple[Damage, str]] = {
    **ANY_FILE,
    "of 27 billion voxels": (_text_header(b"sizes: 7 6 3", b"sizes: " + HUGE), "more than this machine's memory"),
    "of no columns": (_text_header(b"sizes: 7 6 3", b"sizes: 0 6 3"), "cannot be read as an image"),
    "of spacing 0": (_text_header(b"(1.5,0,0)", b"(0,0,0)"), ""),
    "of spacing NaN": (_text_header(b"(1.5,0,0)", b"(nan,0,0)"), ""),
    "skewed": (_text_header(b"(0,1.25,0)", b"(0.9,1.25,0)"), ""),
    "with its voxels elsewhere": (_text_header(b"\n\n", b"\ndata file: voxels.raw\n\n"), "in another file"),
    "2D": (_voxels(lambda array: array[0]), "has 2 dimensions, expected 3"),
    "RGB": (_voxels(lambda array: np.stack([array.astype(np.uint8)] * 3, -1), True), "single real numbers"),
    "with a NaN": (_one(NAN), "holds NaN or infinite values"),
    "with a value that 32-bit floats lack": (_one(1e300, np.float64), "holds NaN or infinite values"),
}
MHA: dict[str, tuple[Damage, str]] = {
    **ANY_FILE,
    "of 27 billion voxels": (_text_header(b"DimSize = 7 6 3", b"DimSize = " + HUGE), "is truncated"),
    "of no columns": (_text_header(b"DimSize = 7 6 3", b"DimSize = 0 6 3"), ""),
    "of 99999 dimensions": (_text_header(b"NDims = 3", b"NDims = 99999"), "declares 99999 dimensions"),
    "of spacing 0": (_text_header(b"ElementSpacing = 1.5", b"ElementSpacing = 0"), ""),
    "of negative spacing": (_text_header(b"ElementSpacing = 1.5", b"ElementSpacing = -1"), ""),
    "with its voxels elsewhere": (_text_header(b"= LOCAL", b"= voxels.raw"), "in another file"),
    "with a NaN": (_one(NAN), "holds NaN or infinite values"),
}


def _save(array: np.ndarray) -> Damage:
    return lambda path: io.imsave(path, array, check_contrast=False)


def _huge_png(path: Path) -> None:
    content = bytearray(path.read_bytes())
    struct.pack_into(">II", content, 16, 30000, 30000)
    path.write_bytes(content)


def _huge_tiff(path: Path) -> None:
    with tifffile.TiffFile(path, mode="r+") as file:
        for name in ("ImageWidth", "ImageLength", "RowsPerStrip"):
            file.pages[0].tags[name].overwrite(2**20)


FLAT = np.zeros((6, 7), np.uint8)
PNG: dict[str, tuple[Damage, str]] = {
    **ANY_FILE,
    "of 900 million pixels": (_huge_png, ""),
    "grey with transparency": (_save(np.zeros((6, 7, 2), np.uint8)), ""),
}
PNG_LABELS: dict[str, tuple[Damage, str]] = {
    "a colour image": (_save(np.zeros((6, 7, 3), np.uint8)), "is a colour image"),
    "of another size": (_save(FLAT[1:]), "they differ in size"),
}
TIFF: dict[str, tuple[Damage, str]] = {
    **ANY_FILE,
    "of 2 to the power of 40 pixels": (_huge_tiff, ""),
    "of several pages": (lambda path: tifffile.imwrite(path, np.zeros((9, 6, 7), np.uint8)), "has 9 pages"),
    "of three pages": (
        lambda path: tifffile.imwrite(path, np.zeros((3, 6, 7), np.uint8), photometric="minisblack"),
        "has 3 pages",
    ),
    "with a NaN": (lambda path: tifffile.imwrite(path, FLAT + np.float32(NAN)), "holds NaN"),
    "with a value that 32-bit floats lack": (lambda path: tifffile.imwrite(path, FLAT + 1e300), "holds NaN"),
}
OTHERS = {"nrrd": NRRD, "mha": MHA, "png": PNG, "tif": TIFF}


@pytest.mark.parametrize(("reader", "kind"), [(reader, kind) for reader, kinds in OTHERS.items() for kind in kinds])
@pytest.mark.parametrize("side", ["image", "label"])
def test_other_kinds_of_files(
    made: Callable[[str], Sound], capfd: pytest.CaptureFixture[str], reader: str, kind: str, side: str
) -> None:
    sound = made(reader)
    file = getattr(sound, side)
    damage, sentence = OTHERS[reader][kind]
    damage(file)
    told = sound.refused(capfd, names=file)
    assert sentence in told or side == "label"  # labels have limits of their own


@pytest.mark.parametrize("kind", PNG_LABELS)
def test_png_labels(made: Callable[[str], Sound], capfd: pytest.CaptureFixture[str], kind: str) -> None:
    sound = made("png")
    PNG_LABELS[kind][0](sound.label)
    assert PNG_LABELS[kind][1] in sound.refused(capfd, names=sound.label)


@pytest.mark.parametrize("reader", BUILDERS)
@pytest.mark.parametrize("side", ["image", "label"])
@pytest.mark.parametrize("damage", [_folder, Path.unlink], ids=["a folder", "not there"])
def test_files_that_are_none(
    made: Callable[[str], Sound], capfd: pytest.CaptureFixture[str], reader: str, side: str, damage: Damage
) -> None:
    sound = made(reader)
    file = getattr(sound, side)
    damage(file)
    told = sound.refused(capfd)
    assert file.name.partition(".")[0].removesuffix("_scribble").removesuffix("_0000") in told


@pytest.mark.parametrize("reader", BUILDERS)
@pytest.mark.parametrize("side", ["image", "label"])
def test_files_that_may_not_be_read(
    made: Callable[[str], Sound], capfd: pytest.CaptureFixture[str], reader: str, side: str
) -> None:
    sound = made(reader)
    file = getattr(sound, side)
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("permissions do not bind this user")
    assert "check its permissions" in sound.refused(capfd, names=file)


@pytest.mark.parametrize("reader", BUILDERS)
def test_constant_images_are_converted_with_a_warning(
    made: Callable[[str], Sound], capsys: pytest.CaptureFixture[str], reader: str
) -> None:
    sound = made(reader)
    if reader == "wsl4mis":
        for file in sound.label.parent.glob("patient021*"):
            _h5(image=PLANE)(file)
        _voxels(np.zeros_like)(sound.image)
        assert main(list(sound.arguments)) == 1  # whether it is the image of these slices cannot be told
        return
    _save(FLAT)(sound.image) if reader in {"png", "tif"} else _voxels(np.zeros_like)(sound.image)
    assert main(list(sound.arguments)) == 0
    name = sound.image.name.partition(".")[0].removesuffix("_0000")
    assert f"warning: an image of {name} is constant" in capsys.readouterr().out
