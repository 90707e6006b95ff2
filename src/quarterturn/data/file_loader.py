"""Load image files in worker processes: decode, crop, and collate to batches.

Shapes: n images; S side of a crop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from quarterturn.config import DataConfig
from quarterturn.data.crops import (
    Crops,
    crop_file_image,
    draw_crops,
    draw_shifts,
    draw_squares,
    shrink_for,
)
from quarterturn.data.image_file import UnreadableImageError
from quarterturn.data.imageset import ImageSet

Draw = Callable[[Tensor, Tensor, int], Crops]
"""(n, 2) sizes, (n,) draws and an epoch to crops. It must be picklable for the workers.

A draw is an image's number plus a multiple of N; see `quarterturn.data.sampling`."""


def random_crops(
    sizes: Tensor, indices: Tensor, epoch: int, *, crop: DataConfig, seed: int
) -> Crops:
    """The crops of an epoch by the configuration: resized crops, fixed-size squares, or shifts."""
    if crop.crop_padding:
        return draw_shifts(
            sizes, indices, seed=seed, epoch=epoch, padding=crop.crop_padding, flip=crop.flip
        )
    if crop.crop_fraction:
        return draw_squares(
            sizes, indices, seed=seed, epoch=epoch, fraction=crop.crop_fraction, flip=crop.flip
        )
    return draw_crops(
        sizes,
        indices,
        seed=seed,
        epoch=epoch,
        scale=crop.crop_scale,
        ratio=crop.crop_ratio,
        flip=crop.flip,
    )


@dataclass
class Decoded:
    """A batch from a worker.

    Attributes:
        indices: (n,) numbers of the decoded images.
        crops: (n, 3, S, S) uint8.
        failed: Number of each image that could not be decoded, with the reason.
        changed: Numbers of the decoded images whose files have changed since they were indexed.
    """

    indices: Tensor
    crops: Tensor
    failed: dict[int, str]
    changed: frozenset[int] = frozenset()

    def pin_memory(self) -> Decoded:
        """Called by torch's loader for fast copies to a GPU."""
        return Decoded(self.indices, self.crops.pin_memory(), self.failed, self.changed)


class EpochSampler:
    """A batch sampler whose batches of draws are assigned before each epoch."""

    def __init__(self) -> None:
        self.epoch = 0
        self.batches: list[Tensor] = []

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for draws in self.batches:
            yield [(self.epoch, draw) for draw in draws.tolist()]

    def __len__(self) -> int:
        return len(self.batches)


class _CroppedFiles(Dataset):
    """(epoch, draw) to the image's crop, or why it cannot be read, and whether it has changed."""

    def __init__(self, images: ImageSet, draw: Draw, side: int) -> None:
        self.images, self.draw, self.side = images, draw, side

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, Tensor | str, bool]:
        epoch, draw = key
        index = draw % len(self.images)
        size = torch.from_numpy(self.images.sizes[index : index + 1])
        crops = self.draw(size, torch.tensor([draw]), epoch)
        try:
            image = self.images.read(index, shrink=shrink_for(crops.boxes[0], self.side))
        except UnreadableImageError as error:
            return index, str(error), False
        height, width = size[0].tolist()
        cropped = crop_file_image(
            image, (height, width), crops.boxes[0], bool(crops.flips[0]), self.side, crops.shift(0)
        )
        return index, cropped, self.images.has_changed(index)


def _collate(items: list[tuple[int, Tensor | str, bool]]) -> Decoded:
    good = [(index, crop) for index, crop, _ in items if isinstance(crop, Tensor)]
    return Decoded(
        torch.tensor([index for index, _ in good], dtype=torch.int64),
        torch.stack([crop for _, crop in good]) if good else torch.empty(0, 3, 1, 1),
        {index: reason for index, reason, _ in items if isinstance(reason, str)},
        frozenset(index for index, _, has_changed in items if has_changed),
    )


def decoding_loader(
    images: ImageSet, draw: Draw, side: int, workers: int, device: torch.device
) -> DataLoader:
    """A loader that decodes and crops the draws of its `EpochSampler` (its ``batch_sampler``).

    Args:
        images: The files.
        draw: Chooses the crop of each image.
        side: S.
        workers: Processes; 0 decodes in this one.
        device: Device that the batches will be copied to; memory is pinned for CUDA.
    """
    return DataLoader(
        _CroppedFiles(images, draw, side),
        batch_sampler=EpochSampler(),
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
        # torch would draw a base seed from the global generator, which must not change here.
        generator=torch.Generator().manual_seed(0),
    )
