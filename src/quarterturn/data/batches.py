"""Batches of images on the device, from memory or from files.

Shapes: N images in the data set; B in a batch; S the side of a crop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from quarterturn.config import DataConfig
from quarterturn.data.crops import Crops, centre_crops, crop_batch
from quarterturn.data.file_loader import Decoded, Plan, decoding_loader, random_crops
from quarterturn.data.imageset import ArrayImages, ImageSet
from quarterturn.data.sampling import epoch_order, resampled_order
from quarterturn.data.sources import Source
from quarterturn.data.unreadable import check_unreadable


@dataclass(frozen=True)
class Batch:
    """Images that go through the network together.

    Attributes:
        indices: (B,) int64, their numbers in the data set.
        images: (B, 3, S, S) float32, cropped and normalised.
        labels: (B,) int64, or None where labels are not to be read.
    """

    indices: Tensor
    images: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.indices)

    def split(self, parts: int) -> list[Batch]:
        """So many batches of nearly equal size, which make up this one."""
        labels = [None] * parts if self.labels is None else self.labels.tensor_split(parts)
        fields = (self.indices.tensor_split(parts), self.images.tensor_split(parts), labels)
        return [Batch(*values) for values in zip(*fields, strict=True)]


def batch_slices(num_images: int, batch_size: int, smallest: int = 2) -> list[slice]:
    """Cut 0..num_images-1 into batches; the last short one is kept.

    Batch norm needs two values a channel, so a rest of fewer than ``smallest`` images joins the
    batch before it.
    """
    starts = list(range(0, num_images, batch_size))
    if not starts:
        return []
    if len(starts) > 1 and num_images - starts[-1] < smallest:
        starts.pop()
    return [
        slice(start, stop) for start, stop in zip(starts, [*starts[1:], num_images], strict=True)
    ]


class TrainingBatches:
    """The batches of any epoch, as pure functions of (seed, epoch).

    Args:
        images: The N images.
        crop: Crop and normalisation settings.
        batch_size: Images in a batch, over all processes.
        seed: The run's seed.
        device: Where the batches are wanted.
        workers: Processes that decode files; 0 decodes in this one. Not used for arrays.
        rank: This process's number; it takes every ``world_size``-th image of each batch.
        world_size: Number of processes.
        with_labels: Hand out labels. Off, labels are not even looked at.
        chances: (N,) how likely each image is to be drawn, with replacement; see
            `quarterturn.data.sampling`. Each image once an epoch without.
        draws: Images shown in an epoch, each as often as any other, give or take one, under crops
            of their own; N without. Not with ``chances``.
        source: Where the images are from: the files that could not be read when it was indexed
            count as well against ``crop.max_bad_fraction``.

    Attributes:
        failed: Images that could not be decoded, by number, with the reason. They keep their
            numbers and drop out of their batches.
    """

    def __init__(
        self,
        images: ImageSet,
        crop: DataConfig,
        *,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        with_labels: bool = False,
        chances: Tensor | None = None,
        draws: int | None = None,
        source: Source | None = None,
    ) -> None:
        self.images, self.crop, self.seed = images, crop, seed
        self.chances, self.draws = chances, draws or len(images)
        self._draw = partial(random_crops, crop=crop, seed=seed)
        self.device = torch.device(device)
        self.rank, self.world_size = rank, world_size
        self.slices = batch_slices(self.draws, batch_size, smallest=2 * world_size)
        self.failed: dict[int, str] = {}
        self._source = source
        self._normalise = Normalise(crop, self.device)
        self._labels = torch.from_numpy(images.labels) if with_labels else None
        self._sizes = torch.from_numpy(images.sizes)
        self._pixels: Tensor | None = None
        if isinstance(images, ArrayImages):
            self._pixels = torch.from_numpy(images.pixels).to(self.device)
        else:
            self._loader = decoding_loader(
                images, self._draw, crop.image_size, workers, self.device
            )

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return len(self.slices)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """This process's share of each batch of an epoch, from batch number ``first`` on.

        Raises:
            DataError: Too many files could not be decoded.
        """
        if self.chances is None:
            order = epoch_order(len(self.images), self.seed, epoch, self.draws)
        else:
            order = resampled_order(self.chances, self.seed, epoch)
        shares = [order[s][self.rank :: self.world_size] for s in self.slices[first:]]
        in_memory = self._pixels is not None
        parts = self._from_memory if in_memory else self._from_files
        for indices, crops in parts(epoch, shares):
            # Nothing here waits for the device.
            there: Any = {"device": self.device, "non_blocking": True}
            labels = None if self._labels is None else self._labels[indices].to(**there)
            yield Batch(indices.to(**there), self._normalise(crops.to(**there)), labels)

    def _from_memory(self, epoch: int, shares: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        assert self._pixels is not None
        for draws in shares:
            indices = draws % len(self.images)
            crops = self._draw(self._sizes[indices], draws, epoch)
            pixels = self._pixels[indices.to(self.device, non_blocking=True)]
            yield indices, crop_batch(pixels, crops, self.crop.image_size)

    def _from_files(self, epoch: int, shares: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        plan = self._loader.batch_sampler
        assert isinstance(plan, Plan)
        plan.epoch, plan.batches = epoch, shares
        for decoded in self._loader:
            self.note_failed(decoded.failed)
            yield decoded.indices, decoded.crops

    def note_failed(self, failed: dict[int, str]) -> None:
        """Add images that could not be decoded, here or by another process.

        Raises:
            DataError: There are too many of them now.
        """
        if failed.keys() <= self.failed.keys():
            return
        self.failed.update(failed)
        bad = {self.images.names[i]: reason for i, reason in self.failed.items()}
        limit = self.crop.max_bad_fraction
        if self._source is not None:
            self._source.check_failures(bad, len(self.images), limit)
        else:
            check_unreadable(bad, len(self.images) - len(bad), limit)


def evaluation_batches(
    images: ImageSet,
    crop: DataConfig,
    *,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    workers: int = 0,
    failed: dict[int, str] | None = None,
    view: Callable[[Tensor], Crops] | None = None,
) -> Iterator[Batch]:
    """Every image once, in order, by its centre crop.

    Args:
        images: The images.
        crop: Crop and normalisation settings.
        batch_size: Images in a batch.
        device: Where the batches are wanted.
        workers: Processes that decode files.
        failed: Filled with the images that cannot be decoded, which are left out.
        view: (n, 2) sizes to another crop of each image, such as a partial of `placed_crops`.

    Yields:
        Batches with labels where the images have them; none without images.
    """
    device = torch.device(device)
    view = view or partial(centre_crops, fraction=crop.eval_crop)
    slices = batch_slices(len(images), batch_size, smallest=1)
    labels = None if images.labels is None else torch.from_numpy(images.labels)
    decoded: Iterable[Decoded]
    if isinstance(images, ArrayImages):
        sizes, pixels = torch.from_numpy(images.sizes), torch.from_numpy(images.pixels)
        decoded = (
            Decoded(
                torch.arange(s.start, s.stop),
                crop_batch(pixels[s], view(sizes[s]), crop.image_size),
                {},
            )
            for s in slices
        )
    else:
        loader = decoding_loader(
            images, partial(_same_view, view=view), crop.image_size, workers, device
        )
        plan = loader.batch_sampler
        assert isinstance(plan, Plan)
        plan.batches = [torch.arange(s.start, s.stop) for s in slices]
        decoded = loader
    normalise = Normalise(crop, device)
    for part in decoded:
        if failed is not None:
            failed.update(part.failed)
        if not len(part.indices):
            continue  # every file of the batch has failed
        of_part = None if labels is None else labels[part.indices].to(device)
        yield Batch(part.indices.to(device), normalise(part.crops.to(device)), of_part)


def _same_view(
    sizes: Tensor, indices: Tensor, epoch: int, *, view: Callable[[Tensor], Crops]
) -> Crops:
    return view(sizes)


class Normalise:
    """Pixels to values of mean 0 and deviation 1, by the configured constants."""

    def __init__(self, crop: DataConfig, device: torch.device) -> None:
        self.mean = torch.tensor(crop.mean, device=device)[:, None, None] * 255
        self.std = torch.tensor(crop.std, device=device)[:, None, None] * 255

    def __call__(self, crops: Tensor) -> Tensor:
        """(n, 3, S, S) values 0..255 to float32."""
        return (crops.float() - self.mean) / self.std
