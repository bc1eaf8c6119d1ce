"""The other volumes that nnU-Net's ``SimpleITKIO`` reads: NRRD, MetaImage and GIPL, each in a single file."""

from __future__ import annotations

import math
import re
import shutil
import zlib
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from scribble_conversion.console import UserError
from scribble_conversion.formats.volume import quiet_sitk, read_with_sitk, refuse_truncated, require_finite

ENDINGS = {".nrrd": ".nrrd", ".mha": ".mha", ".gipl": ".gipl"}
READER_WRITER = "SimpleITKIO"
_GIPL_HEADER_BYTES = 256
_GIPL_BITS = {1: 1, 7: 8, 8: 8, 15: 16, 16: 16, 31: 32, 32: 32, 64: 32, 65: 64}
"""Bits per voxel of GIPL's image types."""
_METAIMAGE_BYTES = {"char": 1, "short": 2, "int": 4, "long": 4, "long_long": 8, "float": 4, "double": 8}
"""Bytes per voxel of MetaImage's element types, which may have a U (unsigned) before."""
_METAIMAGE_DIMENSIONS = 10
_MAX_HEADER_BYTES = 2**16
_PIECE_BYTES = 2**16
"""Compressed; it may grow a thousandfold."""


def check_file(path: Path) -> None:
    """Check what SimpleITK passes over in silence: voxels that are missing, or in another file.

    Args:
        path: a ``.nrrd``, ``.mha`` or ``.gipl`` file.

    Raises:
        UserError: if it cannot be read, is no such file, is truncated, or keeps its voxels in another file.
    """
    try:
        _check(path)
    except FileNotFoundError as error:
        raise UserError(f"{path} is a link to a file that is not there; fetch that file or correct the link") from error
    except PermissionError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    except (OSError, ValueError, zlib.error) as error:
        raise UserError(f"{path} is damaged or no {path.suffix} file ({error}); download or export it again") from error


def read_image(path: Path) -> sitk.Image:
    """Read a 3D volume of finite real numbers.

    Args:
        path: a ``.nrrd``, ``.mha`` or ``.gipl`` file.

    Returns:
        The image; spacing in mm.

    Raises:
        UserError: if the file is damaged, truncated or keeps its voxels in another file, if it is not 3D, or if its
            voxels are not single finite real numbers.
    """
    check_file(path)
    image = read_with_sitk(path)
    require_finite(sitk.GetArrayViewFromImage(image), path)
    return image


read_label = read_image


def copy_image(source: Path, target: Path) -> None:
    """Copy a file byte by byte."""
    shutil.copyfile(source, target)


def write_label(array: npt.NDArray[np.uint8], image: Path, target: Path) -> None:
    """Write a label volume with its image's geometry.

    Args:
        array: labels, axes (z, y, x).
        image: the file whose geometry it has.
        target: the file to write, compressed where the format can be.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(image))
    label = sitk.GetImageFromArray(array)
    with quiet_sitk():
        reader.ReadImageInformation()
        label.SetSpacing(reader.GetSpacing())
        label.SetOrigin(reader.GetOrigin())
        label.SetDirection(reader.GetDirection())
        try:
            sitk.WriteImage(label, str(target), True)
        except RuntimeError as error:
            raise OSError(None, f"SimpleITK could not write it: {str(error).splitlines()[-1]}", str(target)) from error
    try:  # of a full disk GIPL files are written to it says nothing
        _check(target)
    except (UserError, ValueError, zlib.error) as error:
        raise OSError(None, "it could not be written whole", str(target)) from error


def _check(path: Path) -> None:
    """Check what SimpleITK does not; raises ``UserError``, ``ValueError`` or ``zlib.error``."""
    {".nrrd": _check_nrrd, ".mha": _check_metaimage, ".gipl": _check_gipl}[path.suffix.lower()](path)


def _check_nrrd(path: Path) -> None:
    """Refuse a header whose voxels lie elsewhere; truncation and checksums are noticed by the NRRD library itself."""
    with path.open("rb") as stream:
        header = stream.read(_MAX_HEADER_BYTES).split(b"\n\n")[0].replace(b"\r", b"")
    if not header.startswith(b"NRRD"):
        raise ValueError("its header does not begin with NRRD")
    if re.search(rb"^data ?file:", header, re.MULTILINE | re.IGNORECASE):
        _refuse_detached(path)


def _check_metaimage(path: Path) -> None:
    """Check that the voxels are in the file and complete, and their checksum where they are compressed."""
    with path.open("rb") as stream:
        header, offset = _metaimage_header(stream.read(_MAX_HEADER_BYTES))
        if not 1 <= int(header.get("ndims", "0")) <= _METAIMAGE_DIMENSIONS:  # MetaIO would crash
            raise ValueError(f"its header declares {header.get('ndims', 'no number of')} dimensions")
        if header["elementdatafile"].upper() != "LOCAL":
            _refuse_detached(path)
        if header.get("compresseddata", "False").lower() != "true":
            missing = offset + _metaimage_bytes(header) - path.stat().st_size
            if missing > 0:
                refuse_truncated(path, missing)
            return
        stream.seek(offset)
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # zlib or gzip
        while not unpacker.eof and (piece := stream.read(_PIECE_BYTES)):
            unpacker.decompress(piece)
    if not unpacker.eof:
        raise ValueError("its compressed voxels end too early")


def _metaimage_header(beginning: bytes) -> tuple[dict[str, str], int]:
    """The fields of a MetaImage header, names in lower case, and where the voxels begin."""
    end = re.search(rb"^ElementDataFile *= *([^\r\n]*)\r?\n", beginning, re.MULTILINE)
    if end is None:
        raise ValueError("its header has no ElementDataFile")
    fields = {}
    for line in beginning[: end.end()].decode("latin-1").splitlines():
        name, _, value = line.partition("=")
        fields[name.strip().lower()] = value.strip()
    return fields, end.end()


def _metaimage_bytes(header: dict[str, str]) -> int:
    """How many bytes the voxels take; 0 where the header leaves that to MetaIO."""
    kind = header.get("elementtype", "").lower().removeprefix("met_").removesuffix("_array")
    each = _METAIMAGE_BYTES.get(kind, 0) or _METAIMAGE_BYTES.get(kind.removeprefix("u"), 0)
    voxels = math.prod(int(number) for number in header.get("dimsize", "0").split())
    return each * voxels * int(header.get("elementnumberofchannels", "1"))


def _check_gipl(path: Path) -> None:
    """Check the length, for SimpleITK fills up in silence what a truncated file lacks."""
    with path.open("rb") as stream:
        header = stream.read(_GIPL_HEADER_BYTES)
    if len(header) < _GIPL_HEADER_BYTES:
        raise ValueError("it is shorter than its header")
    size = np.frombuffer(header[:8], ">u2").astype(np.int64)
    bits = _GIPL_BITS.get(int.from_bytes(header[8:10], "big"))
    if bits is None:
        raise ValueError("its voxel type is unknown")
    missing = _GIPL_HEADER_BYTES + math.prod(np.maximum(size, 1).tolist()) * bits // 8 - path.stat().st_size
    if missing > 0:
        refuse_truncated(path, missing)


def _refuse_detached(path: Path) -> NoReturn:
    raise UserError(f"{path} keeps its voxels in another file; save it as one file and give that")
