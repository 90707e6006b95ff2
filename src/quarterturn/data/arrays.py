"""Small images from arrays: scikit-learn's digits, and ``.npz`` files in the MedMNIST layout."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from quarterturn.data.imageset import ArrayImages
from quarterturn.errors import DataError

DIGITS_SPLIT_SEED = 0
DIGITS_TEST_FRACTION = 0.25


def read_digits() -> dict[str, ArrayImages]:
    """scikit-learn's 1,797 digits, 8x8 px, in a stratified ``train`` (1,347) and ``test`` (450)."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    grey = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    images = ArrayImages(
        np.repeat(grey[..., None], 3, axis=3),
        [f"digit-{i:04d}" for i in range(len(grey))],
        bunch.target.astype(np.int64),
        [str(d) for d in range(10)],
    )
    train, test = train_test_split(
        np.arange(len(grey)),
        test_size=DIGITS_TEST_FRACTION,
        stratify=bunch.target,
        random_state=DIGITS_SPLIT_SEED,
    )
    return {"train": images.subset(np.sort(train)), "test": images.subset(np.sort(test))}


def read_npz(path: Path) -> dict[str, ArrayImages]:
    """Read the splits of a file with ``{train,val,test}_images`` (N, H, W[, 3]) uint8.

    Labels are ``{train,val,test}_labels`` (N[, 1]); several labels per image count as none.

    Raises:
        DataError: The file cannot be read, or its arrays have other shapes.
    """
    try:
        # Opened here, since NumPy leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except FileNotFoundError:
        raise DataError(f"no file {path}") from None
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is not a readable .npz file: {error}") from error
    if "train_images" not in arrays:
        raise DataError(f"{path} has no train_images; it has {', '.join(arrays) or 'nothing'}")
    return {
        split: _npz_split(path, split, arrays)
        for split in ("train", "val", "test")
        if f"{split}_images" in arrays
    }


def _npz_split(path: Path, split: str, arrays: dict[str, np.ndarray]) -> ArrayImages:
    pixels = arrays[f"{split}_images"]
    if pixels.ndim == 3:
        pixels = np.repeat(pixels[..., None], 3, axis=3)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
        raise DataError(
            f"{path}: {split}_images is {pixels.dtype} {pixels.shape}; expected uint8 (N, H, W) or "
            "(N, H, W, 3)"
        )
    labels = arrays.get(f"{split}_labels")
    class_names: list[str] = []
    unlabelled = ""
    if labels is not None and labels.ndim == 2 and labels.shape[1] > 1:
        unlabelled = f"{split}_labels has {labels.shape[1]} labels per image; expected one"
        labels = None
    if labels is not None:
        labels = labels.reshape(len(labels), -1)
        is_whole = np.issubdtype(labels.dtype, np.integer)
        if labels.shape != (len(pixels), 1) or not is_whole or labels.min(initial=0) < 0:
            raise DataError(
                f"{path}: {split}_labels is {labels.dtype} {labels.shape}; expected an integer of "
                f"0 or more for each of the {len(pixels)} images"
            )
        labels = labels[:, 0].astype(np.int64)
        all_labels = np.concatenate([arrays[k].ravel() for k in arrays if k.endswith("_labels")])
        class_names = [str(c) for c in range(int(all_labels.max(initial=0)) + 1)]
    names = [f"{split}[{i}]" for i in range(len(pixels))]
    return ArrayImages(pixels, names, labels, class_names, unlabelled)
