"""One pass over every image of a collection: what can be read, in which size, and how it looks.

Shapes: n images that can be read, over all splits; T side of a thumbnail.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from quarterturn.copies.whole_pictures import SIDE as THUMBNAIL_SIDE
from quarterturn.data.image_file import Size, UnreadableImageError
from quarterturn.data.image_traits import NONE, ImageTraits, read_traits
from quarterturn.data.imageset import FileImages, ImageSet
from quarterturn.data.source import Source
from quarterturn.inspecting.appearance import SIDE, Appearance, appearance, reduced
from quarterturn.progress import stage

IMAGES_PER_TASK = 16
"""Images that a worker looks at before it reports."""
MOST_COMPARED = 30_000
"""Images of all splits up to which the pictures of one are compared with those of the others; the
time grows with the square of their number."""


@dataclass(frozen=True)
class Inspection:
    """The images of a collection, as they were found.

    Attributes:
        source: Where they are from.
        split_names: The splits that hold any image.
        splits: (n,) number of each image's split.
        indices: (n,) its number in the split.
        sizes: (n, 2) upright height and width in pixels.
        traits: (n,) `ImageTraits`.
        looks: (n, 4) its `Appearance`.
        thumbnails: (n, T, T, 3) uint8 of whole images, squeezed; None where there is one split, or
            more than `MOST_COMPARED` images.
        unreadable: Files that cannot be read by name, with the reason.
        unreadable_splits: The split of each of them; empty where it is not known.
        image_s: Seconds in which one process looked at one image, in the mean.
    """

    source: Source
    split_names: Sequence[str]
    splits: NDArray[np.int64]
    indices: NDArray[np.int64]
    sizes: NDArray[np.int64]
    traits: NDArray[np.int64]
    looks: NDArray[np.float32]
    thumbnails: NDArray[np.uint8] | None
    unreadable: dict[str, str]
    unreadable_splits: dict[str, str]
    image_s: float

    def __len__(self) -> int:
        return len(self.indices)

    def look(self, name: str) -> NDArray[np.float32]:
        """(n,) one figure of `Appearance`, by its name."""
        return self.looks[:, Appearance._fields.index(name)]

    def has(self, trait: ImageTraits) -> NDArray[np.bool_]:
        """(n,) whether an image has a trait."""
        return (self.traits & int(trait)) != 0

    def split_of(self, place: int) -> str:
        """The split of the image at one of the n places."""
        return self.split_names[int(self.splits[place])]

    def images(self, place: int) -> ImageSet:
        """Its image set."""
        return self.source.all_splits[self.split_of(place)]

    def name(self, place: int) -> str:
        """Its name, unique over the splits."""
        split = self.split_of(place)
        name = self.source.all_splits[split].names[int(self.indices[place])]
        return self.source.file_of(split, name)


class _Block(NamedTuple):
    """Some images of one split, as a worker is given them."""

    split: str
    first: int
    end: int


@dataclass
class _Seen:
    """What a worker has seen of a block."""

    block: _Block
    indices: list[int]
    sizes: list[Size]
    traits: list[int]
    looks: list[Appearance]
    thumbnails: NDArray[np.uint8] | None
    failed: dict[int, str]
    elapsed_s: float


class _Blocks(Dataset[_Seen]):
    """A block of images to what is seen in it."""

    def __init__(self, splits: dict[str, ImageSet], *, keeps_thumbnails: bool) -> None:
        self.splits, self.keeps_thumbnails = splits, keeps_thumbnails

    def __getitem__(self, block: _Block) -> _Seen:
        start_s = time.perf_counter()
        images = self.splits[block.split]
        seen = _Seen(block, [], [], [], [], None, {}, 0.0)
        thumbnails = []
        for index in range(block.first, block.end):
            try:
                image, size = images.read_sized(index, _shrink)
                traits = _traits(images, index)
            except UnreadableImageError as error:
                seen.failed[index] = str(error)
                continue
            image = reduced(image)
            seen.indices.append(index)
            seen.sizes.append(size)
            seen.traits.append(int(traits))
            seen.looks.append(appearance(image))
            if self.keeps_thumbnails:
                side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
                thumbnails.append(np.asarray(image.resize(side, Image.Resampling.BOX)))
        if self.keeps_thumbnails:
            shape = (-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3)
            seen.thumbnails = np.array(thumbnails, np.uint8).reshape(shape)
        seen.elapsed_s = time.perf_counter() - start_s
        return seen


def inspect(source: Source, *, workers: int = 0) -> Inspection:
    """Decode every image of a collection once, and note what is found.

    Args:
        source: The collection; all of its splits are looked at.
        workers: Processes that decode; 0 decodes in this one.
    """
    every = {split: images for split, images in source.all_splits.items() if len(images)}
    names = list(every)
    num_images = sum(map(len, every.values()))
    blocks = [
        _Block(split, first, min(first + IMAGES_PER_TASK, len(images)))
        for split, images in every.items()
        for first in range(0, len(images), IMAGES_PER_TASK)
    ]
    places = np.zeros((num_images, 2), np.int64)
    sizes, traits = np.zeros((num_images, 2), np.int64), np.zeros(num_images, np.int64)
    looks = np.zeros((num_images, len(Appearance._fields)), np.float32)
    shape = (num_images, THUMBNAIL_SIDE, THUMBNAIL_SIDE, 3)
    is_compared = len(every) > 1 and num_images <= MOST_COMPARED
    thumbnails = np.zeros(shape, np.uint8) if is_compared else None
    unreadable = dict(source.unreadable)
    unreadable_splits = {name: _split_in(name, every) for name in unreadable}
    count, elapsed_s = 0, 0.0
    with stage("images", total=num_images, weight=num_images) as bar:
        dataset = _Blocks(every, keeps_thumbnails=thumbnails is not None)
        for seen in _in_order(dataset, blocks, workers):
            rows = slice(count, count + len(seen.indices))
            places[rows, 0], places[rows, 1] = names.index(seen.block.split), seen.indices
            if seen.indices:
                sizes[rows], traits[rows], looks[rows] = seen.sizes, seen.traits, seen.looks
            if thumbnails is not None and seen.thumbnails is not None:
                thumbnails[rows] = seen.thumbnails
            for index, reason in seen.failed.items():
                name = source.file_of(seen.block.split, every[seen.block.split].names[index])
                unreadable[name], unreadable_splits[name] = reason, seen.block.split
            count, elapsed_s = rows.stop, elapsed_s + seen.elapsed_s
            bar.advance(seen.block.end - seen.block.first)
    return Inspection(
        source,
        names,
        places[:count, 0],
        places[:count, 1],
        sizes[:count],
        traits[:count],
        looks[:count],
        None if thumbnails is None else thumbnails[:count],
        unreadable,
        unreadable_splits,
        elapsed_s / max(1, num_images),
    )


def _shrink(size: Size) -> float:
    return max(1.0, min(size) / SIDE)


def _traits(images: ImageSet, index: int) -> ImageTraits:
    return read_traits(images.encoded(index)) if isinstance(images, FileImages) else NONE


def _split_in(name: str, every: dict[str, ImageSet]) -> str:
    """The split that a file's name begins with, as `Source.file_of` has it."""
    return next((split for split in every if name.startswith(f"{split}/")), "")


def _in_order(dataset: _Blocks, blocks: Sequence[_Block], workers: int) -> Iterator[_Seen]:
    loader = DataLoader(
        dataset,
        batch_size=None,  # a block is looked at as a whole
        sampler=blocks,
        num_workers=workers,
        collate_fn=_as_it_is,
        # torch would draw a base seed from the global generator, which must not change here.
        generator=torch.Generator().manual_seed(0),
    )
    return iter(loader)


def _as_it_is(seen: Any) -> Any:
    return seen
