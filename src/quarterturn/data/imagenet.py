"""ImageNet's ILSVRC 2012 (Russakovsky et al., IJCV 2015), from its unpacked archives.

The layout::

    ROOT/train/<wnid>/*.JPEG
    ROOT/val/<wnid>/*.JPEG, or ROOT/val/*.JPEG with the development kit beside it

Classes are the WordNet ids in sorted order, as in torchvision.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from quarterturn.data.folder import index_folder, list_images
from quarterturn.data.header_index import HeaderIndex
from quarterturn.data.indexed_files import IndexedFiles, index_files
from quarterturn.errors import DataError
from quarterturn.kept_files import check_archive

META_FILE = "meta.bin"
DEVKIT = "ILSVRC2012_devkit_t12"
GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"


def index_imagenet(root: Path, index: HeaderIndex) -> dict[str, IndexedFiles]:
    """The images of ``train``, and of ``val`` if it exists.

    If ``val`` has no sub-folders, its labels come from ``meta.bin``, which torchvision's ImageNet
    writes to ROOT, or else from the unpacked development kit.

    Args:
        root: The folder that holds both.
        index: The index of headers.

    Raises:
        DataError: There is no ``train``, images are in no class, or the labels of ``val`` are
            missing or do not fit.
    """
    train, val = root / "train", root / "val"
    if not train.is_dir():
        raise DataError(
            f"no folder {train}: expected train/<wnid>/*.JPEG in {root}, and val beside train"
        )
    splits = {"train": _index_classes(train, index)}
    if val.is_dir():
        names, ignored = list_images(val)
        is_flat = bool(names) and not any(os.sep in name for name in names)
        splits["val"] = (
            replace(_index_flat(root, sorted(names), index), ignored=ignored)
            if is_flat
            else _index_classes(val, index)
        )
    return splits


def _index_classes(folder: Path, index: HeaderIndex) -> IndexedFiles:
    files = index_folder(folder, index)
    if files.images.labels is None:
        others = ", ".join(f"{n} {suffix}" for suffix, n in sorted(files.ignored.items()))
        raise DataError(
            f"{folder} should hold a sub-folder for each class, such as n01440764, and all images "
            f"in them; it has {len(files.images):,} readable images, not all in two classes or "
            f"more, and other files: {others or 'none'}"
        )
    return files


def _index_flat(root: Path, names: list[str], index: HeaderIndex) -> IndexedFiles:
    wnids, file = _read_wnids(root)
    if len(wnids) != len(names):
        raise DataError(
            f"{file} has the labels of {len(wnids):,} images, and {root / 'val'} holds "
            f"{len(names):,}; expected one line for each image"
        )
    wnid_of = dict(zip(names, wnids, strict=True))
    class_names = sorted(set(wnids))
    number = {wnid: label for label, wnid in enumerate(class_names)}
    files = index_files(root / "val", names, index)
    labels = np.array([number[wnid_of[name]] for name in files.images.names], np.int64)
    return replace(files, images=replace(files.images, labels=labels, class_names=class_names))


def _read_wnids(root: Path) -> tuple[list[str], Path]:
    """The class of each validation image in the order of the names, and the file it is from."""
    meta, kit = root / META_FILE, root / DEVKIT / "data"
    if meta.is_file():
        return _read_meta_file(meta), meta
    if missing := [kit / name for name in ("meta.mat", GROUND_TRUTH) if not (kit / name).is_file()]:
        raise DataError(
            f"{root / 'val'} has no sub-folders for the classes, and its labels are missing: there "
            f"is neither {meta} nor {' and '.join(map(str, missing))}. Unpack {DEVKIT}.tar.gz in "
            f"{root}"
        )
    wnid_of = _read_synsets(kit / "meta.mat")
    file = kit / GROUND_TRUTH
    try:
        numbers = [int(line) for line in file.read_text().split()]
    except (OSError, ValueError) as error:
        raise DataError(f"{file} should hold one number per line: {error}") from error
    if unknown := [(line, n) for line, n in enumerate(numbers, 1) if n not in wnid_of]:
        raise DataError(
            f"{file} has {unknown[0][1]} on line {unknown[0][0]}, and {len(unknown):,} such lines "
            f"in all; expected an ILSVRC2012_ID of {kit / 'meta.mat'}, 1 to {max(wnid_of)}"
        )
    return [wnid_of[number] for number in numbers], file


def _read_synsets(file: Path) -> dict[int, str]:
    """ILSVRC2012_ID to WordNet id, for the classes that label images."""
    from scipy.io import loadmat

    try:
        synsets = loadmat(file, squeeze_me=True)["synsets"]
        fields = (synsets[name] for name in ("ILSVRC2012_ID", "WNID", "num_children"))
        # Synsets with children are concepts above the classes.
        return {int(n): str(wnid) for n, wnid, above in zip(*fields, strict=True) if not above}
    except Exception as error:  # scipy does not document what it raises on damaged files
        raise DataError(f"{file} is not the meta.mat of the development kit: {error}") from error


def _read_meta_file(file: Path) -> list[str]:
    import torch

    try:
        check_archive(file, unchecked=True)
        _, wnids = torch.load(file, weights_only=True)
        return [str(wnid) for wnid in wnids]
    except Exception as error:  # nor does torch
        raise DataError(
            f"{file} is not a file that torchvision's ImageNet wrote: {error}; remove it to read "
            f"the labels from the unpacked {DEVKIT}"
        ) from error
