"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) by torchvision, in their original order."""

from __future__ import annotations

import warnings
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from quarterturn.data.checksums import describe_damage
from quarterturn.data.imageset import ArrayImages
from quarterturn.errors import DataError

if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10


def read_cifar10(root: Path, *, download: bool = False) -> dict[str, ArrayImages]:
    """The 50,000 images of ``train`` and 10,000 of ``test``, 32x32 px, of 10 classes.

    Args:
        root: The folder that holds ``cifar-10-batches-py``.
        download: Fetch missing files; nothing is downloaded otherwise.

    Raises:
        DataError: Files are missing or damaged, or could not be fetched.
    """
    from torchvision.datasets import CIFAR10

    return _read(CIFAR10, root, download)


def read_cifar100(root: Path, *, download: bool = False) -> dict[str, ArrayImages]:
    """The same with the 100 fine classes, from ``cifar-100-python``; see `read_cifar10`."""
    from torchvision.datasets import CIFAR100

    return _read(CIFAR100, root, download)


def _read(dataset: type[CIFAR10], root: Path, download: bool) -> dict[str, ArrayImages]:
    try:
        # torchvision checks the files' checksums before it unpickles them. NumPy 2.4.0 to 2.4.4
        # warns about dtypes in pickles of that age.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r"dtype\(\): align")
            parts = {
                "train": dataset(root, train=True, download=download),
                "test": dataset(root, train=False),
            }
    except (RuntimeError, OSError, HTTPException) as error:
        if download:
            raise DataError(f"{dataset.url} could not be downloaded to {root}: {error}") from error
        files = [*dataset.train_list, *dataset.test_list]
        files.append([dataset.meta["filename"], dataset.meta["md5"]])
        raise DataError(describe_damage(root / dataset.base_folder, files, error)) from error
    return {
        split: ArrayImages(
            np.ascontiguousarray(part.data),
            [f"{split}[{i}]" for i in range(len(part.data))],
            np.array(part.targets, dtype=np.int64),
            list(part.classes),
        )
        for split, part in parts.items()
    }
