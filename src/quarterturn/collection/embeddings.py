"""Embeddings of a collection, and the files that they are written to.

Shapes: n images that could be read, over all splits; D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.imageset import FileImages, ImageSet
from quarterturn.data.label_sets import renumbered, words_of
from quarterturn.data.source import Source
from quarterturn.features.extraction import Features
from quarterturn.files import atomic_write, write_csv


@dataclass(frozen=True)
class Embeddings:
    """Features of the images of all splits.

    Attributes:
        values: (n, D) features.
        names: (n,) image names.
        splits: (n,) split of each image.
        labels: (n,) numbers in ``class_names``, -1 in a split without labels; (n, C) label sets,
            where images have several; None if no split has labels.
        class_names: Names of the classes of all splits.
        part: Which features they are.
        files: (n,) absolute path of each image; None for one that is no file of its own.
        unique_names: (n,) names that differ between splits, as ``collection.csv`` has them.
    """

    values: NDArray[np.float32]
    names: list[str]
    splits: list[str]
    labels: NDArray[np.integer[Any]] | None
    class_names: list[str]
    part: str
    files: list[str | None]
    unique_names: list[str]

    @property
    def columns(self) -> list[str]:
        """(D,) names of the features in a table."""
        return [f"f{i}" for i in range(self.values.shape[1])]

    @property
    def label_words(self) -> list[str]:
        """(n,) labels in words; empty where there is none."""
        if self.labels is None:
            return [""] * len(self.names)
        if self.labels.ndim == 2:
            return [words_of(row, self.class_names) for row in self.labels]
        return ["" if label < 0 else self.class_names[label] for label in self.labels]

    def write_npz(self, out: Path) -> None:
        """Write the arrays; see `quarterturn.collection.embed.embed`."""
        arrays: dict[str, Any] = {
            "embeddings": self.values,
            "names": np.array(self.names),
            "splits": np.array(self.splits),
        }
        if self.labels is not None:
            arrays |= {"labels": self.labels, "class_names": np.array(self.class_names)}
        with atomic_write(out) as file:
            np.savez(file, **arrays)

    def write_csv(self, out: Path) -> None:
        """Write a line for each image; see `quarterturn.collection.embed.embed`."""
        rows = zip(self.names, self.splits, self.label_words, self.values, strict=True)
        write_csv(
            out,
            ["name", "split", "label", *self.columns],
            ([*facts, *values.tolist()] for *facts, values in rows),
        )


def join_splits(by_split: dict[str, Features], source: Source, part: str) -> Embeddings:
    """The features of all splits in one list.

    Args:
        by_split: Split to the features of its images.
        source: The images.
        part: Which features they are.
    """
    splits = source.all_splits
    class_names = list(dict.fromkeys(c for images in splits.values() for c in images.class_names))
    has_several = any(images.label_sets is not None for images in splits.values())
    names: list[str] = []
    split_of_image: list[str] = []
    files: list[str | None] = []
    unique_names: list[str] = []
    labels = []
    for split, features in by_split.items():
        of_split = [splits[split].names[i] for i in features.indices]
        names += of_split
        unique_names += [source.file_of(split, name) for name in of_split]
        files += [_file(splits[split], i) for i in features.indices.tolist()]
        split_of_image += [split] * len(features.indices)
        # Splits may number their classes differently, but share their names.
        own_names = splits[split].class_names
        if features.labels is None:
            shape = (len(features.indices), len(class_names))
            labels.append(np.full(shape if has_several else shape[:1], -1))
        elif has_several:
            labels.append(renumbered(features.labels, own_names, class_names))
        else:
            numbers = np.array([class_names.index(name) for name in own_names])
            labels.append(numbers[features.labels])
    return Embeddings(
        np.concatenate([features.values for features in by_split.values()]),
        names,
        split_of_image,
        np.concatenate(labels) if class_names else None,
        class_names,
        part,
        files,
        unique_names,
    )


def _file(images: ImageSet, index: int) -> str | None:
    if isinstance(images, FileImages) and images.are_files:
        return images.table.key(int(images.rows[index]))
    return None
