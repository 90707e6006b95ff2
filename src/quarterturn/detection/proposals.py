"""Proposed regions of images: read from the files that people have, checked, and kept with a run.

Shapes: N images of a split; n proposals in one, (x1, y1, x2, y2) in pixels counted from 0, corners
included.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.imageset import ImageSet
from quarterturn.data.voc_objects import names_of
from quarterturn.errors import CheckpointError, ConfigError, DataError
from quarterturn.files import atomic_write
from quarterturn.kept_files import read_arrays
from quarterturn.wording import counted

FILE = "proposals.npz"
"""In a run."""
SPLITS = ("train", "test")
MAX_NAMED = 5


@dataclass(frozen=True)
class Proposals:
    """The proposals of a split.

    Attributes:
        names: Of the N images, without suffix.
        boxes: (n, 4) float32 of each.
        origin: In words, who made them; empty where that is not known.
    """

    names: tuple[str, ...]
    boxes: tuple[NDArray[np.float32], ...]
    origin: str = ""

    def fingerprint(self) -> str:
        """A short hash of names and boxes."""
        digest = hashlib.sha256("\0".join(self.names).encode(errors="surrogateescape"))
        for boxes in self.boxes:
            digest.update(f"{len(boxes)} ".encode())
            digest.update(np.ascontiguousarray(boxes, np.float32).data)
        return digest.hexdigest()[:16]

    def of(self, images: ImageSet) -> Proposals:
        """Those of some of the images, in their order.

        Raises:
            DataError: One of them is not among the images of these proposals.
        """
        numbers = {name: number for number, name in enumerate(self.names)}
        wanted = names_of(images)
        if missing := [name for name in wanted if name not in numbers]:
            raise DataError(
                f"there are no proposals of {counted(len(missing), 'image')}, such as "
                f"{missing[0]}; expected some of each image of the run"
            )
        boxes = tuple(self.boxes[numbers[name]] for name in wanted)
        return Proposals(tuple(wanted), boxes, self.origin)


def read_proposals(
    file: Path, test_file: Path | None, listed: Mapping[str, Sequence[str]]
) -> dict[str, Proposals]:
    """The proposals of both splits.

    Args:
        file: A ``.npz`` file by `write_proposals`, or a ``.mat`` file of the training images.
        test_file: With the latter, that of the test images.
        listed: ``train`` and ``test`` to the names of their images, as the split's file lists them.

    Raises:
        ConfigError: A file is missing, is too many, or is of no known kind.
        DataError: A file cannot be read, or is not of these images in this order.
    """
    given = [path for path in (file, test_file) if path is not None]
    if missing := [path for path in given if not path.is_file()]:
        raise DataError(f"there is no file {missing[0]}: expected proposals, as .npz or .mat")
    kinds = [path.suffix.lower() for path in given]
    if kinds == [".npz"]:
        found = _read_npz(file)
    elif kinds == [".mat", ".mat"]:
        assert test_file is not None
        files = dict(zip(SPLITS, (file, test_file), strict=True))
        found = {split: _read_mat(path, listed[split]) for split, path in files.items()}
    elif kinds == [".mat"]:
        raise ConfigError(
            f"--proposals {file} has the proposals of the training images: give those of the test "
            "images as --test-proposals FILE.mat"
        )
    elif kinds[:1] == [".npz"]:
        raise ConfigError(
            f"--proposals {file} has those of both splits: leave --test-proposals {test_file} out"
        )
    else:
        raise ConfigError(
            f"--proposals is {file}; expected a .npz file, a .mat file, or selective-search"
        )
    for split, proposals in found.items():
        path = test_file if split == "test" and test_file is not None else file
        expected = listed[split]
        if test_file is None and (known := set(proposals.names)) <= set(expected):
            # A run with --limit keeps those of some images.
            expected = [name for name in expected if name in known]
        _require_names(proposals.names, expected, f"{path}, split {split}")
    return found


def check_proposals(proposals: Proposals, images: ImageSet, where: str) -> None:
    """Refuse proposals that cannot be of these images.

    Args:
        proposals: Of the images.
        images: The images.
        where: Which file and split they are from, for messages.

    Raises:
        DataError: An image has none, or a box that is not finite, reversed, or outside it.
    """
    if empty := [
        n for n, boxes in zip(proposals.names, proposals.boxes, strict=True) if not len(boxes)
    ]:
        raise DataError(
            f"{where}: no proposals of {counted(len(empty), 'image')}, such as "
            f"{', '.join(empty[:MAX_NAMED])}; expected one or more of each image: leave the images "
            "out of the split, or make proposals by --proposals selective-search"
        )
    sizes = images.sizes.tolist()
    for name, boxes, (height, width) in zip(proposals.names, proposals.boxes, sizes, strict=True):
        finite = np.isfinite(boxes).all(axis=1)
        ordered = (boxes[:, 2:] >= boxes[:, :2]).all(axis=1)
        inside = (boxes >= 0).all(axis=1)
        if height:
            inside &= (boxes[:, 2] <= width - 1) & (boxes[:, 3] <= height - 1)
        for holds, fault in (
            (finite, "expected numbers"),
            (ordered, "expected x1 <= x2 and y1 <= y2"),
            (
                inside,
                f"it is outside the image of {width}x{height} px: the file may be of other images, "
                "in another order, or count pixels otherwise"
                if height
                else "expected pixels counted from 0",
            ),
        ):
            if not holds.all():
                number = int(np.flatnonzero(~holds)[0])
                corners = ", ".join(f"{side:g}" for side in boxes[number].tolist())
                raise DataError(
                    f"{where}: proposal {number + 1} of {name} is ({corners}) as x1, y1, x2, y2 "
                    f"from 0; {fault}"
                )


def write_proposals(file: Path, proposals: Mapping[str, Proposals]) -> None:
    """Write the proposals of both splits, atomically.

    For each split ``<split>_names`` (N,), ``<split>_counts`` (N,) proposals of each image,
    ``<split>_boxes`` (all, 4), those of one image after the other, and ``<split>_origin``.

    Raises:
        OutputError: The file cannot be written.
    """
    arrays: dict[str, Any] = {}
    for split, of_split in proposals.items():
        arrays[f"{split}_origin"] = np.array(of_split.origin)
        arrays[f"{split}_names"] = np.array(of_split.names, dtype=np.str_)
        arrays[f"{split}_counts"] = np.array([len(boxes) for boxes in of_split.boxes], np.int64)
        arrays[f"{split}_boxes"] = np.concatenate([np.zeros((0, 4), np.float32), *of_split.boxes])
    with atomic_write(file) as opened:
        np.savez_compressed(opened, **arrays)


def kept_proposals(run: Path) -> dict[str, Proposals]:
    """Those that a run keeps.

    Raises:
        FileNotFoundError: It has none.
        CheckpointError: They are damaged.
    """
    try:
        return _read_npz(run / FILE)
    except DataError as error:
        raise CheckpointError(
            f"{error}; it is what the run learns from: put back what was there, or begin a new run"
        ) from error


def _read_npz(file: Path) -> dict[str, Proposals]:
    """Both splits; raises ``FileNotFoundError`` where there is no such file."""
    try:
        arrays = read_arrays(file)
    except CheckpointError as error:
        raise DataError(str(error)) from error
    found = {}
    for split in SPLITS:
        names, counts, boxes = (
            arrays.get(f"{split}_{part}") for part in ("names", "counts", "boxes")
        )
        if names is None or counts is None or boxes is None:
            raise DataError(
                f"{file} has the arrays {', '.join(sorted(arrays)[:8]) or 'none'}; expected "
                f"{split}_names (N,), {split}_counts (N,) and {split}_boxes (all, 4), and the same "
                "of train and test"
            )
        fits = (
            names.ndim == counts.ndim == 1
            and names.dtype.kind == "U"
            and np.issubdtype(counts.dtype, np.integer)
            and len(names) == len(counts)
            and boxes.ndim == 2
            and boxes.shape[1] == 4
            and boxes.dtype.kind in "fiu"
            and (counts >= 0).all()
            and int(counts.sum()) == len(boxes)
        )
        if not fits:
            raise DataError(
                f"{file}: {split}_names {names.shape}, {split}_counts {counts.shape} and "
                f"{split}_boxes {boxes.shape} do not fit; expected N names, N counts that sum to "
                "the number of boxes, and (all, 4) boxes"
            )
        parts = np.split(boxes.astype(np.float32), np.cumsum(counts)[:-1])
        origin = str(arrays.get(f"{split}_origin", "")) or file.name
        boxes_of_images = tuple(parts if len(counts) else ())
        found[split] = Proposals(tuple(map(str, names)), boxes_of_images, origin)
    return found


def _read_mat(file: Path, listed: Sequence[str]) -> Proposals:
    """A cell array ``boxes``, and perhaps ``images``, the names of the images.

    Its rows are (y1, x1, y2, x2) counted from 1.
    """
    from scipy.io import loadmat  # a quarter of a second

    try:
        found = loadmat(str(file))
    except NotImplementedError as error:
        raise DataError(
            f"{file} is of MATLAB 7.3; save it with -v7, or as .npz (see docs/detection.md)"
        ) from error
    except Exception as error:  # scipy raises whatever a damaged file leads to
        raise DataError(f"{file} cannot be read as a .mat file: {error}") from error
    if "boxes" not in found:
        names = ", ".join(name for name in found if not name.startswith("__"))
        raise DataError(f"{file} has {names or 'no variable'}; expected a cell array boxes")
    cells = np.asarray(found["boxes"]).ravel()
    if cells.dtype != object:
        raise DataError(
            f"{file}: boxes is an array of {cells.dtype}; expected a cell array with the boxes of "
            "each image"
        )
    boxes = []
    for number, cell in enumerate(cells, 1):
        rows = np.asarray(cell)
        if rows.size == 0:
            rows = np.zeros((0, 4))
        if rows.ndim != 2 or rows.shape[1] != 4 or rows.dtype.kind not in "fiu":
            raise DataError(
                f"{file}: cell {number} of boxes is {rows.shape}; expected (n, 4) numbers"
            )
        boxes.append(rows.astype(np.float32)[:, [1, 0, 3, 2]] - 1)
    if len(boxes) != len(listed):
        raise _other_length(str(file), len(boxes), len(listed))
    image_names = tuple(listed)
    if "images" in found:
        words = (np.asarray(cell).ravel() for cell in np.asarray(found["images"]).ravel())
        image_names = tuple(str(word[0]) if len(word) else "" for word in words)
    return Proposals(image_names, tuple(boxes), file.name)


def _require_names(names: Sequence[str], listed: Sequence[str], where: str) -> None:
    """Refuse proposals of other images, or in another order.

    Raises:
        DataError: Names the first that differs.
    """
    if len(names) != len(listed):
        raise _other_length(where, len(names), len(listed))
    for number, (found, expected) in enumerate(zip(names, listed, strict=True), 1):
        if found != expected:
            order = "in another order" if sorted(names) == sorted(listed) else "of other images"
            raise DataError(
                f"{where}: the proposals are {order}: image {number} is {found}, and the split "
                f"lists {expected}; expected the order of the split's file"
            )


def _other_length(where: str, found: int, expected: int) -> DataError:
    return DataError(
        f"{where} has the proposals of {found:,} images, and the split lists {expected:,}; "
        "expected those of each listed image, in the order of the split's file"
    )
