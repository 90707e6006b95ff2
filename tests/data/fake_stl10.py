"""A few images in the layout of STL-10, which torchvision takes for the real."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import STL10

from .pictures import noise

NAMES = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]


def images_of(part: str, n: int) -> np.ndarray:
    """(n, 96, 96, 3) uint8."""
    return noise(len(part), n, 96, 96, 3)


def labels_of(part: str, n: int) -> list[int]:
    """The same classes in each part, in another order in the test."""
    labels = [3 * i % 10 for i in range(n)]
    return labels[::-1] if part == "test" else labels


def write_stl10(root: Path, monkeypatch: pytest.MonkeyPatch, n: int = 9) -> Path:
    """Write the files, n images each, and have torchvision expect their checksums.

    A file has image after image, of each all red, then all green, then all blue values, column
    after column; labels are 1 to 10.

    Returns:
        The folder of the files, below ``root``.
    """
    folder = root / STL10.base_folder
    folder.mkdir(parents=True)
    (folder / STL10.class_names_file).write_text("\n".join(NAMES) + "\n")

    def write(file: str) -> list[str]:
        part, kind = file.removesuffix(".bin").split("_")
        if kind == "X":
            content = images_of(part, n).transpose(0, 3, 2, 1).tobytes()
        else:
            content = bytes(label + 1 for label in labels_of(part, n))
        (folder / file).write_bytes(content)
        return [file, hashlib.md5(content).hexdigest()]

    for part in ("train_list", "test_list"):
        monkeypatch.setattr(STL10, part, [write(file) for file, _ in getattr(STL10, part)])
    return folder
