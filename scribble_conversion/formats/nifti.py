"""NIfTI files: damage is noticed in reading, labels are written into exactly the image's geometry."""

from __future__ import annotations

import gzip
import math
import shutil
import zlib
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from scribble_conversion.console import UserError
from scribble_conversion.formats.volume import (
    all_finite,
    quiet_logger,
    quiet_sitk,
    read_with_sitk,
    refuse_geometry,
    refuse_infinite,
    refuse_truncated,
    require_finite,
)

ENDINGS = {".nii.gz": ".nii.gz", ".nii": ".nii.gz"}
READER_WRITER = "SimpleITKIO"
_BEGINNINGS = tuple((348).to_bytes(4, order) for order in ("little", "big"))
"""Of NIfTI-1 files that are not compressed: the size of their header."""
_PIECE_BYTES = 3 * 2**18
"""A multiple of every voxel type's size."""
_MOST_SURPLUS = 2**26
"""A file that goes on for longer than this after its voxels has a wrong header."""


def check_file(path: Path) -> None:
    """Check what SimpleITK passes over in silence.

    It fills up what a truncated file lacks, and turns NaN into 0 and an impossible spacing into 1.

    Args:
        path: a ``.nii`` or ``.nii.gz`` file.

    Raises:
        UserError: if it cannot be read, is no NIfTI file, fails its checksum, holds fewer voxels than its header says,
            has an impossible geometry, or holds values that are no finite 32-bit floats, as which nnU-Net reads them.
    """
    try:
        missing, finite = _scan(path)
    except PermissionError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    except FileNotFoundError as error:
        if not path.is_symlink():  # nibabel's word for an ending of mixed case
            raise UserError(f"{path} cannot be read under this name; rename it to end in .nii or .nii.gz") from error
        raise UserError(f"{path} is a link to a file that is not there; fetch that file or correct the link") from error
    except (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error, ValueError, OverflowError) as error:
        raise UserError(f"{path} is damaged or no NIfTI file ({error}); download or export it again") from error
    if missing > 0:
        refuse_truncated(path, missing)
    if not finite:
        refuse_infinite(path)


def read_image(path: Path) -> sitk.Image:
    """Read a 3D volume of real numbers, as nnU-Net will read it.

    Args:
        path: a ``.nii`` or ``.nii.gz`` file.

    Returns:
        The image; spacing in mm.

    Raises:
        UserError: if the file is damaged or truncated, not 3D, or its voxels are not single finite real numbers.
    """
    check_file(path)
    image = read_with_sitk(path)
    require_finite(sitk.GetArrayViewFromImage(image), path)  # a scale in the header may have led out of bounds
    return image


read_label = read_image


def copy_image(source: Path, target: Path) -> None:
    """Copy a NIfTI file byte by byte; one that is not compressed yet is compressed on the way."""
    if source.name.lower().endswith(".gz"):
        shutil.copyfile(source, target)
    else:
        with source.open("rb") as stream, gzip.open(target, "wb", compresslevel=1) as sink:
            shutil.copyfileobj(stream, sink)


def write_label(array: npt.NDArray[np.uint8], image: Path, target: Path) -> None:
    """Write a label volume under a copy of its image's header, so that every reader sees the same geometry.

    Args:
        array: labels, axes (z, y, x) as SimpleITK's arrays have them.
        image: the NIfTI file whose geometry it has.
        target: the ``.nii.gz`` file to write.

    Raises:
        UserError: if nobody could read the geometry once it is written.
    """
    original = _load(image)
    header = original.header.copy()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    type(original)(array.transpose(2, 1, 0), None, header).to_filename(target)
    # a damaged header may be read, but not once it has been written again
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(target))
    try:
        with quiet_sitk():
            reader.ReadImageInformation()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].removeprefix("ITK ERROR: ")
        raise UserError(f"{image} has a damaged geometry ({reason}); download or export it again") from error


def _scan(path: Path) -> tuple[int, bool]:
    """Read a file to its end, a piece at a time.

    Returns:
        How many bytes of voxels are missing, and whether all the others are finite.
    """
    packed = path.name.lower().endswith(".gz")
    if packed:
        with path.open("rb") as stream:
            if stream.read(4) in _BEGINNINGS:
                raise UserError(f"{path} is not compressed, though its name ends in .gz; rename it to end in .nii")
    image = _load(path)
    if isinstance(image, nibabel.Nifti2Image):
        raise UserError(f"{path} is a NIfTI-2 file, which SimpleITK does not read; save it as NIfTI-1")
    dtype = image.get_data_dtype()
    if min(image.shape, default=0) < 1:
        raise ValueError(f"its header declares the size {' x '.join(map(str, image.shape))}")
    missing = math.prod(image.shape) * dtype.itemsize
    finite = True
    with gzip.open(path) if packed else path.open("rb") as stream:
        _check_geometry(path, image, stream.read(image.header.sizeof_hdr))
        # The proxy knows where the voxels start; the header's own field is zeroed when nibabel loads it.
        stream.seek(int(getattr(image.dataobj, "offset", 0)))
        while piece := stream.read(_PIECE_BYTES):
            whole = min(len(piece), max(0, missing)) // dtype.itemsize * dtype.itemsize
            if dtype.kind in "fc" and finite:
                finite = all_finite(np.frombuffer(piece[:whole], dtype))
            missing -= len(piece)
            if missing < -_MOST_SURPLUS:
                raise ValueError("it goes on long after the voxels that its header declares")
    return missing, finite


def _check_geometry(path: Path, image: nibabel.Nifti1Image, beginning: bytes) -> None:
    """Check the spacing and the transforms as they are in the file; nibabel and SimpleITK correct them in silence."""
    header = type(image.header)(beginning, check=False)
    spacing = header["pixdim"][1 : 1 + min(3, len(image.shape))]
    if not (np.isfinite(spacing) & (spacing > 0)).all():
        refuse_geometry(path, "spacing", spacing)
    transforms = {
        "qform": ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
        "sform": ("srow_x", "srow_y", "srow_z"),
    }
    for name, fields in transforms.items():
        values = np.concatenate([np.ravel(header[field]) for field in fields])
        if header[f"{name}_code"] > 0 and not np.isfinite(values).all():
            refuse_geometry(path, name, values)


def _load(path: Path) -> nibabel.Nifti1Image:
    """Open a NIfTI-1 or NIfTI-2 file; its voxels are not read."""
    with quiet_logger("nibabel.global"):
        image = nibabel.load(path)
    if not isinstance(image, nibabel.Nifti1Image):  # NIfTI-2 images are, too
        raise ImageFileError(f"it is of type {type(image).__name__}")
    return image
