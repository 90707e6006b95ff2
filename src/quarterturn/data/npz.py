"""Small images in ``.npz`` files, in the MedMNIST layout (Yang et al., Scientific Data 2023)."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from quarterturn.data.imageset import ArrayImages
from quarterturn.errors import DataError

SPLITS = ("train", "val", "test")
MOST_CLASSES = 30_000
"""Classes that few images may have too, since their numbers may be those of a larger data set."""
DAMAGE = (OSError, ValueError, EOFError, TypeError, LookupError, SyntaxError, NotImplementedError)
"""Errors of NumPy and zipfile on damaged files, beside their own."""


@dataclass(frozen=True)
class Header:
    """What a file says of one of its arrays, before the array is read.

    Attributes:
        shape: Its shape.
        dtype: Its type.
    """

    shape: tuple[int, ...]
    dtype: np.dtype

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


def read_npz(path: Path) -> dict[str, ArrayImages]:
    """Read the splits of a file with ``{train,val,test}_images`` (N, H, W[, 3]) uint8.

    Labels are ``{train,val,test}_labels`` (N[, 1]); several labels per image count as none. Other
    arrays are not read. Shapes and types are checked by the arrays' headers, before any array is
    read, and a checksum of each array as it is read.

    Raises:
        DataError: The file cannot be read, its arrays have other shapes or do not fit into memory,
            or labels are too large to number classes.
    """
    try:
        # Opened here, since NumPy leaves a damaged file open.
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            headers = _read_headers(archive)
            if "train_images" not in headers:
                names = [name.removesuffix(".npy") for name in archive.namelist()]
                raise DataError(
                    f"{path} has no train_images; it has {', '.join(names) or 'nothing'}"
                )
            _check_headers(path, headers)
            arrays = {name: _read_array(archive, name) for name in headers}
    except FileNotFoundError:
        raise DataError(f"no file {path}") from None
    except MemoryError as error:
        raise DataError(f"{path} does not fit into memory: {error}") from error
    except (*DAMAGE, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise DataError(f"{path} is not a readable .npz file: {error}") from error
    num_classes = _num_classes(path, arrays)
    return {
        split: _split(split, arrays, num_classes) for split in SPLITS if f"{split}_images" in arrays
    }


def _read_headers(archive: zipfile.ZipFile) -> dict[str, Header]:
    """The headers of the arrays that are used, by name; others are not even opened.

    Raises:
        ValueError: A header does not go with the size of its array.
    """
    headers = {}
    for name in (f"{split}_{kind}" for split in SPLITS for kind in ("images", "labels")):
        if f"{name}.npy" not in archive.namelist():
            continue
        with archive.open(f"{name}.npy") as member:
            version = npy.read_magic(member)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read(member)
            num_bytes = math.prod(shape) * dtype.itemsize
            stored = archive.getinfo(f"{name}.npy").file_size - member.tell()
        if dtype.hasobject:
            raise ValueError(f"{name} holds Python objects, which are never loaded")
        if num_bytes != stored:
            raise ValueError(
                f"{name} of {Header(shape, dtype)} takes {num_bytes:,} bytes; the file has "
                f"{stored:,}"
            )
        headers[name] = Header(shape, dtype)
    return headers


def _check_headers(path: Path, headers: dict[str, Header]) -> None:
    """Refuse arrays by their headers."""
    for name, header in headers.items():
        split, _, kind = name.partition("_")
        shape, number = header.shape, headers.get(f"{split}_images")
        if kind == "images":
            is_image = len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)
            if header.dtype != np.uint8 or not is_image or 0 in shape[1:3]:
                raise DataError(
                    f"{path}: {name} is {header}; expected uint8 (N, H, W) or (N, H, W, 3)"
                )
        elif number is not None and not _is_multi_label(header):
            is_whole = np.issubdtype(header.dtype, np.integer)
            if shape not in ((number.shape[0],), (number.shape[0], 1)) or not is_whole:
                raise DataError(
                    f"{path}: {name} is {header}; expected an integer of 0 or more for each of the "
                    f"{number.shape[0]} images"
                )
    images = [header for name, header in headers.items() if name.endswith("_images")]
    # Grey images become three equal channels.
    needed = sum(math.prod(h.shape) * (1 if len(h.shape) == 4 else 3) for h in images)
    if (memory := _memory()) is not None and needed > memory:
        raise DataError(
            f"{path} needs {needed / 1e9:,.1f} GB for its images, and this machine has "
            f"{memory / 1e9:,.1f} GB of memory; store the images as files in folders"
        )


def _is_multi_label(header: Header) -> bool:
    return len(header.shape) == 2 and header.shape[1] > 1


def _memory() -> int | None:
    """Memory of the machine in bytes, where it can be asked."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _read_array(archive: zipfile.ZipFile, name: str) -> NDArray:
    with archive.open(f"{name}.npy") as member:
        array = npy.read_array(member, allow_pickle=False)
        member.read()  # to the end, where zipfile compares the checksum
    return array


def _num_classes(path: Path, arrays: dict[str, NDArray]) -> int:
    """One more than the highest label of all splits; 0 without labels.

    Raises:
        DataError: A label is negative, or too large for a number of a class.
    """
    labels = {
        name: array
        for name, array in arrays.items()
        if name.endswith("_labels") and array.size and np.issubdtype(array.dtype, np.integer)
    }
    num_images = sum(len(array) for name, array in arrays.items() if name.endswith("_images"))
    most = max(MOST_CLASSES, num_images)
    for name, values in labels.items():
        lowest, highest = int(values.min()), int(values.max())
        if lowest < 0 or highest >= most:
            raise DataError(
                f"{path}: {name} has the label {lowest if lowest < 0 else highest}; expected an "
                f"integer of 0 or more for each image, below {most:,}: the number of its class"
            )
    return 1 + max((int(values.max()) for values in labels.values()), default=-1)


def _split(split: str, arrays: dict[str, NDArray], num_classes: int) -> ArrayImages:
    pixels = arrays[f"{split}_images"]
    if pixels.ndim == 3:
        pixels = np.repeat(pixels[..., None], 3, axis=3)
    names = [f"{split}[{i}]" for i in range(len(pixels))]
    labels = arrays.get(f"{split}_labels")
    if labels is None:
        return ArrayImages(pixels, names)
    if labels.ndim == 2 and labels.shape[1] > 1:
        reason = f"{split}_labels has {labels.shape[1]} labels per image; expected one"
        return ArrayImages(pixels, names, unlabelled=reason)
    class_names = [str(c) for c in range(max(1, num_classes))]
    return ArrayImages(pixels, names, labels.reshape(-1).astype(np.int64), class_names)
