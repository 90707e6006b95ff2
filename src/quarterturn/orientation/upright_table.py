"""The table of upright probabilities, its file, and the original code's text format.

Shapes: N images in R = 4 copies.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.imageset import ImageSet
from quarterturn.errors import CheckpointError, DataError
from quarterturn.files import atomic_write
from quarterturn.kept_files import read_arrays

FILE = "upright.npz"
"""Name of the file in a run directory."""
NOT_SCORED = -1
"""Value of ``fold`` for an image that could not be read."""


@dataclass(frozen=True)
class UprightTable:
    """Out-of-fold predictions for all images of a collection.

    Attributes:
        names: (N,) image names.
        probabilities: (N, 4, 4) float32, copy by predicted turn, out of sample.
        agnostic: (N,) float32, from 0 (the turn is certain) to 1 (there is no "up").
        fold: (N,) int64, the fold that held the image out; -1 if it could not be read, with
            probabilities of 1/4 and an agnostic score of 1.
        fingerprint: The collection's `ImageSet.fingerprint`.
    """

    names: Sequence[str]
    probabilities: NDArray[np.float32]
    agnostic: NDArray[np.float32]
    fold: NDArray[np.int64]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.names)

    @property
    def p_upright(self) -> NDArray[np.float32]:
        """(N, 4) probability that copy k of image i looks upright."""
        return self.probabilities[:, :, 0]

    @property
    def scored(self) -> NDArray[np.int64]:
        """Numbers of the images that could be read."""
        return np.flatnonzero(self.fold != NOT_SCORED)

    def write(self, path: Path) -> None:
        """Write the ``.npz`` file, atomically."""
        arrays: dict[str, Any] = {
            "probabilities": self.probabilities,
            "p_upright": self.p_upright,
            "agnostic": self.agnostic,
            "fold": self.fold,
            "names": np.array(self.names),
            "fingerprint": np.array(self.fingerprint),
        }
        with atomic_write(path) as file:
            np.savez(file, **arrays)

    @classmethod
    def read(cls, path: Path) -> UprightTable:
        """Read what `write` wrote.

        Raises:
            DataError: The file does not exist, or is not such a file.
        """
        try:
            arrays = read_arrays(path)
            table = cls(
                arrays["names"].tolist(),
                arrays["probabilities"],
                arrays["agnostic"],
                arrays["fold"],
                str(arrays["fingerprint"]),
            )
            p_upright = arrays["p_upright"]
        except FileNotFoundError:
            raise DataError(f"no file {path}; quarterturn upright writes one") from None
        except (OSError, CheckpointError, KeyError, TypeError, AttributeError) as error:
            reason = str(error).removeprefix(f"{path} is damaged: ")
            raise DataError(
                f"{path} is not a file written by quarterturn upright: {reason}. If its run is "
                "there: quarterturn upright --resume RUN makes it again"
            ) from error
        num_images = len(table.names)
        shapes = {
            "probabilities": table.probabilities.shape,
            "p_upright": p_upright.shape,
            "agnostic": table.agnostic.shape,
            "fold": table.fold.shape,
        }
        expected = {
            "probabilities": (num_images, 4, 4),
            "p_upright": (num_images, 4),
            "agnostic": (num_images,),
            "fold": (num_images,),
        }
        if shapes != expected:
            raise DataError(f"{path} has arrays of shape {shapes}; expected {expected}")
        for name in ("probabilities", "agnostic"):
            _require_probabilities(getattr(table, name), path, f"{name} of ")
        if not np.array_equal(p_upright, table.p_upright):
            raise DataError(f"{path}: p_upright is not the first column of probabilities")
        return table


def write_dat(path: Path, p_upright: NDArray[np.float32]) -> None:
    """Write the original code's text format: line 4*i + k, counted from 0, is p_upright[i, k]."""
    with atomic_write(path) as file:
        np.savetxt(file, p_upright.reshape(-1), fmt="%.9g")


def read_dat(path: Path) -> NDArray[np.float32]:
    """Read the original code's text format: (N, 4).

    Raises:
        DataError: The file does not hold four probabilities per image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about an empty file, which is reported below
            values = np.loadtxt(path, dtype=np.float64, ndmin=1)
    except FileNotFoundError:
        raise DataError(f"no file {path}") from None
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} does not hold one probability per line: {str(error).splitlines()[0]}"
        ) from error
    if values.ndim != 1 or len(values) % 4 or len(values) == 0:
        raise DataError(
            f"{path} holds values of shape {values.shape}; expected one per line, four per image"
        )
    _require_probabilities(values, path)
    return values.reshape(-1, 4).astype(np.float32)


def p_upright_of(
    path: Path, train: ImageSet, collections: Sequence[ImageSet]
) -> NDArray[np.float32]:
    """Upright probabilities of the training images, from a file.

    Args:
        path: A ``.npz`` file, a run that holds one, or the original code's text file.
        train: The n training images.
        collections: The collections that the file may be about, such as all images of DATA, or
            those within ``--limit``; each contains ``train`` under the same names.

    Returns:
        (n, 4) float32.

    Raises:
        DataError: The file is missing, malformed, or about other data.
    """
    if path.is_dir():
        path = path / FILE
    if path.suffix == ".npz":
        table = UprightTable.read(path)
        if table.fingerprint not in [images.fingerprint() for images in collections]:
            raise DataError(
                f"{path} is about other data: it has {len(table):,} images with the fingerprint "
                f"{table.fingerprint}, and these are {_described(collections)}. Files may have "
                "been added, removed or changed since; run quarterturn upright again"
            )
        names, rows = table.names, table.p_upright
    else:
        rows = read_dat(path)
        fitting = [images for images in collections if len(images) == len(rows)]
        if not fitting:
            raise DataError(
                f"{path} holds probabilities of {len(rows):,} images, and these are "
                f"{_described(collections)}"
            )
        names = fitting[0].names
    place = {name: i for i, name in enumerate(names)}
    return rows[[place[name] for name in train.names]]


def agnostic_of(path: Path, train: ImageSet) -> NDArray[np.float32]:
    """Agnostic scores of the training images, from a file that `p_upright_of` has checked.

    Args:
        path: A ``.npz`` file.
        train: The n training images, which are among the file's.

    Returns:
        (n,) float32.

    Raises:
        DataError: The file is not one of ours: the original code's text file has no such scores.
    """
    table = UprightTable.read(path)
    place = {name: i for i, name in enumerate(table.names)}
    return table.agnostic[[place[name] for name in train.names]]


def _described(collections: Sequence[ImageSet]) -> str:
    sizes = {images.fingerprint(): len(images) for images in collections}
    return " or ".join(f"{size:,} images ({fingerprint})" for fingerprint, size in sizes.items())


def _require_probabilities(values: NDArray[Any], path: Path, what: str = "") -> None:
    if not np.issubdtype(values.dtype, np.floating):
        raise DataError(f"{path} holds {what}{values.dtype}; expected floating-point numbers")
    within = (values >= 0) & (values <= 1)  # false for NaN
    if not within.all():
        place = np.unravel_index(int(np.argmin(within)), values.shape)
        where = ", ".join(str(int(i)) for i in place)
        raise DataError(
            f"{path} holds {what}{values[place]} at [{where}], counted from 0; expected values "
            "between 0 and 1"
        )
