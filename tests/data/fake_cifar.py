"""A few images in the layout of CIFAR-10 and CIFAR-100, which torchvision takes for the real."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import CIFAR10, CIFAR100

from .pictures import noise

NAMES = {
    "cifar10": [f"class {c}" for c in range(10)],
    "cifar100": [f"fine {c}" for c in range(100)],
}


class OldType:
    """uint8 as NumPy wrote it in 2009, with numbers for its flags."""

    def __reduce__(self):
        return np.dtype, ("u1", 0, 1), (3, "|", None, None, None, -1, -1, 0)


class OldArray:
    """An array as NumPy wrote it in 2009."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __reduce__(self):
        make = self.values.__reduce__()[0]
        state = (1, self.values.shape, OldType(), False, self.values.tobytes())
        return make, (np.ndarray, (0,), b"b"), state


def images_of(file: str, n: int) -> np.ndarray:
    """(n, 3072) uint8: the rows of a file, each all red, then all green, then all blue values."""
    return noise(sum(file.encode()), n, 3072)


def labels_of(file: str, n: int, name: str) -> list[int]:
    """The same classes in each part, in another order in the test."""
    labels = [3 * i % len(NAMES[name]) for i in range(n)]
    return labels[::-1] if file.startswith("test") else labels


def write_cifar(root: Path, name: str, monkeypatch: pytest.MonkeyPatch, n: int = 4) -> Path:
    """Write the files, n images each, and have torchvision expect their checksums.

    Returns:
        The folder of the files, below ``root``.
    """
    dataset = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
    folder = root / dataset.base_folder
    folder.mkdir(parents=True)

    def write(file: str, content: dict) -> str:
        (folder / file).write_bytes(pickle.dumps(content, protocol=2))
        return hashlib.md5((folder / file).read_bytes()).hexdigest()

    for part in ("train_list", "test_list"):
        checked = []
        for file, _ in getattr(dataset, part):
            labels = labels_of(file, n, name)
            key = {"cifar10": "labels", "cifar100": "fine_labels"}[name]
            content = {"data": OldArray(images_of(file, n)), key: labels, "coarse_labels": [0] * n}
            checked.append([file, write(file, content)])
        monkeypatch.setattr(dataset, part, checked)
    meta = dict(dataset.meta)
    meta["md5"] = write(meta["filename"], {meta["key"]: NAMES[name]})
    monkeypatch.setattr(dataset, "meta", meta)
    return folder
