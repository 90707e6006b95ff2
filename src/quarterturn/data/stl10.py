"""STL-10 (Coates, Ng and Lee, AISTATS 2011) by torchvision, in its original order.

Its 100,000 unlabelled images come from a broader distribution than the 13,000 of ten classes, and
are meant for pretraining. They are a collection of their own here, so that probes train on labelled
images only.
"""

from __future__ import annotations

from http.client import HTTPException
from pathlib import Path

import numpy as np

from quarterturn.data.checksums import describe_damage
from quarterturn.data.imageset import ArrayImages
from quarterturn.errors import DataError


def read_stl10(root: Path, *, download: bool = False) -> dict[str, ArrayImages]:
    """The 5,000 images of ``train`` and 8,000 of ``test``, 96x96 px, of 10 classes.

    torchvision checks the checksums of all files, 3 GB, which takes seconds, and requires the
    unlabelled images too.

    Args:
        root: The folder that holds ``stl10_binary``.
        download: Fetch missing files; nothing is downloaded otherwise.

    Raises:
        DataError: Files are missing or damaged, or could not be fetched.
    """
    return _read(root, "train", download)


def read_stl10_unlabeled(root: Path, *, download: bool = False) -> dict[str, ArrayImages]:
    """The 100,000 unlabelled images as ``train``, 2.8 GB in memory; ``test`` as in `read_stl10`.

    See `read_stl10`.
    """
    return _read(root, "unlabeled", download)


def _read(root: Path, training_split: str, download: bool) -> dict[str, ArrayImages]:
    from torchvision.datasets import STL10

    try:
        parts = {
            "train": STL10(root, split=training_split, download=download),
            "test": STL10(root, split="test"),
        }
        names = (root / STL10.base_folder / STL10.class_names_file).read_text().split()
    except (RuntimeError, OSError, HTTPException) as error:
        if download:
            raise DataError(f"{STL10.url} could not be downloaded to {root}: {error}") from error
        files = [*STL10.train_list, *STL10.test_list]
        raise DataError(describe_damage(root / STL10.base_folder, files, error)) from error
    return {
        split: ArrayImages(
            np.ascontiguousarray(part.data.transpose(0, 2, 3, 1)),
            [f"{part.split}[{i}]" for i in range(len(part.data))],
            None if part.split == "unlabeled" else part.labels.astype(np.int64),
            [] if part.split == "unlabeled" else names,
        )
        for split, part in parts.items()
    }
