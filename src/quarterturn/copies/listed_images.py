"""The images of all splits of a collection in one list, held-out ones too.

Shapes: n images that could be read.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.imageset import FileImages, ImageSet
from quarterturn.data.source import Source


@dataclass(frozen=True)
class ListedImages:
    """Images of a collection.

    Attributes:
        source: Where the images are from.
        splits: (n,) the split of each image.
        indices: (n,) its number in the split.
    """

    source: Source
    splits: list[str]
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    def images(self, place: int) -> ImageSet:
        """The image set of the image at one of the n places."""
        return self.source.all_splits[self.splits[place]]

    @cached_property
    def names(self) -> list[str]:
        """(n,) names, unique over the splits."""
        every = self.source.all_splits
        return [
            self.source.file_of(split, every[split].names[index])
            for split, index in zip(self.splits, self.indices.tolist(), strict=True)
        ]

    def file(self, place: int) -> Path | None:
        """The file of an image; None where it is no file of its own."""
        images = self.images(place)
        if isinstance(images, FileImages) and images.are_files:
            return images.path(int(self.indices[place]))
        return None

    @cached_property
    def num_bytes(self) -> NDArray[np.int64]:
        """(n,) size of each file; 0 where it is no file."""
        return self._of_files("num_bytes")

    @cached_property
    def modified_ns(self) -> NDArray[np.int64]:
        """(n,) modification time of each file in nanoseconds; 0 where it is no file."""
        return self._of_files("modified_ns")

    def _of_files(self, attribute: str) -> NDArray[np.int64]:
        every = {
            split: getattr(images, attribute)
            for split, images in self.source.all_splits.items()
            if isinstance(images, FileImages)
        }
        return np.array(
            [
                every[split][index] if split in every else 0
                for split, index in zip(self.splits, self.indices.tolist(), strict=True)
            ],
            np.int64,
        )

    @cached_property
    def real_files(self) -> list[str | None]:
        """(n,) real path of each file, after all links; None where it is no file of its own.

        Folders are resolved once each: resolving a million files one by one takes minutes.
        """
        resolved = functools.cache(os.path.realpath)

        def real(file: Path | None) -> str | None:
            if file is None:
                return None
            path = os.path.join(resolved(file.parent), file.name)
            return os.path.realpath(path) if os.path.islink(path) else path

        return [real(self.file(place)) for place in range(len(self))]

    @cached_property
    def is_link(self) -> NDArray[np.bool_]:
        """(n,) whether an image is a link, or within a folder that is one; so not its own file."""
        resolved = functools.cache(os.path.realpath)
        found = np.zeros(len(self), bool)
        for place, real in enumerate(self.real_files):
            images = self.images(place)
            if real is not None and isinstance(images, FileImages):
                path = os.path.join(resolved(images.root), images.names[self.indices[place]])
                found[place] = os.path.normpath(path) != real
        return found
