"""Reading the datasets of HDF5 files so that damage and surprises are told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from scribble_conversion.console import UserError
from scribble_conversion.formats.volume import require_memory

HDF5_ENDINGS = (".h5", ".hdf5")


def read_datasets(path: Path, names: Sequence[str], dimensions: int) -> dict[str, npt.NDArray[np.generic]]:
    """Read some datasets of an HDF5 file; they all have to have the same shape.

    Args:
        path: the file.
        names: the datasets wanted; the first has to be there.
        dimensions: how many each has to have.

    Returns:
        Name to array, for those that are there, in the order of ``names``.

    Raises:
        UserError: if the file is damaged or no HDF5 file, lacks the first dataset, or if a dataset is not of real
            numbers, of another number of dimensions, or of another shape than the first.
    """
    try:
        # No lock: it would fail on file systems that know none, and nothing is written here.
        with h5py.File(path, "r", locking=False) as file:
            held = sorted(file)
            found = {name: file[name] for name in names if isinstance(file.get(name), h5py.Dataset)}
            odd = [name for name, dataset in found.items() if dataset.dtype.kind not in "biuf"]
            for dataset in found.values():
                require_memory(path, dataset.shape or (), dataset.dtype.itemsize)
            arrays = {name: np.asarray(dataset[()]) for name, dataset in found.items() if not odd}
    except FileNotFoundError as error:
        raise UserError(f"{path} is a link to a file that is not there; fetch that file or correct the link") from error
    except PermissionError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged or no HDF5 file ({error}); download or export it again") from error
    if names[0] not in found:
        raise missing_dataset(path, names[0], held)
    if odd:
        raise UserError(f"{path} holds no real numbers in '{odd[0]}'; export it again")
    for name, array in arrays.items():
        if array.ndim != dimensions:
            raise UserError(
                f"{path} has {array.ndim} dimensions in '{name}', expected {dimensions}; files of slices are named "
                "<case>_slice_<number>.h5 and files of volumes <case>.h5"
            )
        if not array.size:
            raise UserError(f"{path} has the shape {array.shape} in '{name}', so no voxels; export it again")
        if array.shape != arrays[names[0]].shape:
            raise UserError(
                f"{path} has the shape {array.shape} in '{name}', but {arrays[names[0]].shape} in '{names[0]}'; "
                "export it again"
            )
    return arrays


def missing_dataset(path: Path, name: str, held: Sequence[str]) -> UserError:
    """The error of a file without the dataset ``name``, which has those in ``held``."""
    listed = ", ".join(f"'{other}'" for other in held) or "none"
    return UserError(f"{path} lacks the dataset '{name}' (it has {listed}); take the files that come with scribbles")
