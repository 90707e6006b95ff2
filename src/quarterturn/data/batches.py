"""Batches of images on the device, from memory or from files.

Shapes: N images in the data set; B images in a batch; S side of a crop.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.config import DataConfig
from quarterturn.data.array_crops import cropped_arrays, pixels_on
from quarterturn.data.crop_plans import random_crops
from quarterturn.data.file_loader import Decoded, EpochSampler, decoding_loader
from quarterturn.data.imageset import ArrayImages, ImageSet
from quarterturn.data.normalisation import Normalise
from quarterturn.data.plans import BatchPlan, ViewPlan
from quarterturn.data.sampling import cyclic_order, epoch_order, resampled_order
from quarterturn.data.source import Source
from quarterturn.data.unreadable import check_unreadable
from quarterturn.timing import timed

BATCHES_DRAWN = 32
"""Batches whose crops are drawn at once."""


@dataclass(frozen=True)
class Batch:
    """Images that go through the network together.

    Attributes:
        indices: (B,) int64, the images' numbers in the data set.
        images: (B, 3, S, S) float32, cropped and normalised.
        labels: (B,) int64, (B, C) label sets, or None if labels are not read.
        epoch: From which they are, counted from 0.
    """

    indices: Tensor
    images: Tensor
    labels: Tensor | None = None
    epoch: int = 0

    def __len__(self) -> int:
        return len(self.indices)

    def split(self, parts: int) -> list[Batch]:
        """Split into ``parts`` batches of nearly equal size."""
        labels = [None] * parts if self.labels is None else self.labels.tensor_split(parts)
        fields = (self.indices.tensor_split(parts), self.images.tensor_split(parts), labels)
        return [Batch(*values, self.epoch) for values in zip(*fields, strict=True)]


def batch_slices(num_images: int, batch_size: int, smallest: int = 2) -> list[slice]:
    """Cut 0..num_images-1 into batches; the last, shorter one is kept.

    Batch norm needs two values per channel, so a last batch of fewer than ``smallest`` images joins
    the one before it.
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
        device: Device of the batches.
        workers: Processes that decode files; 0 decodes in this one. Unused for arrays.
        rank: This process's number; it takes every ``world_size``-th image of each batch.
        world_size: Number of processes.
        with_labels: Return labels; otherwise labels are never read.
        chances: (N,) sampling weights for draws with replacement; see
            `quarterturn.data.sampling`. None draws each image once per epoch.
        draws: Images in an epoch, each drawn equally often, give or take one, with a crop of its
            own per draw; N by default. Not with ``chances``.
        epochs: Epochs of the training: workers begin each before the one before it ends. By
            default they begin none that is not asked for.
        is_cyclic: Draw them in one order over and over, in place of a new one in each epoch.
        source: The images' source: its unreadable files also count against
            ``crop.max_bad_fraction``.

    Attributes:
        failed: Images that could not be decoded, by number, with the reason. They keep their
            numbers and are dropped from their batches.
        changed: Images whose files have changed since they were indexed, as this process read them.
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
        epochs: int = 0,
        is_cyclic: bool = False,
        source: Source | None = None,
    ) -> None:
        self.images, self.crop, self.seed = images, crop, seed
        self.chances, self.draws = chances, draws or len(images)
        self.epochs = epochs
        self.is_cyclic = is_cyclic
        self.device = torch.device(device)
        self.rank, self.world_size = rank, world_size
        self.slices = batch_slices(self.draws, batch_size, smallest=2 * world_size)
        self.failed: dict[int, str] = {}
        self.changed: set[int] = set()
        self._source = source
        self._normalise = Normalise(crop, self.device)
        self._labels = torch.from_numpy(images.targets) if with_labels else None
        self._pixels: Tensor | None = None
        self._rows: NDArray[np.int64] | None = None
        self._stream: Iterator[Decoded] = iter(())
        self._next: tuple[int, int] | None = None  # epoch and batch that the stream has reached
        if isinstance(images, ArrayImages):
            self._pixels, self._rows = pixels_on(self.device, images)
        else:
            self._loader = decoding_loader(images, workers, self.device)

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return len(self.slices)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """This process's share of each batch of an epoch, starting at batch number ``first``.

        Raises:
            DataError: Too many files could not be decoded.
        """
        to_device: Any = {"device": self.device, "non_blocking": True}  # nothing here waits for it
        for decoded in self._decoded(epoch, first):
            self.note_failed(decoded.failed)
            self.changed |= self.images.note(decoded.seen)
            indices, (crops,) = decoded.indices, decoded.views
            labels = None if self._labels is None else self._labels[indices].to(**to_device)
            with timed("augment"):
                images = self._normalise(crops.squeeze(1).to(**to_device))
            yield Batch(indices.to(**to_device), images, labels, epoch)

    def _plans(self, epoch: int, first: int) -> Iterator[BatchPlan]:
        """This process's share of each batch, drawn as it is asked for."""
        num_images = len(self.images)
        if self.is_cyclic:
            order = cyclic_order(len(self.images), self.seed, epoch, self.draws)
        elif self.chances is None:
            order = epoch_order(num_images, self.seed, epoch, self.draws)
        else:
            order = resampled_order(self.chances, self.seed, epoch)
        for draws, parts in self._draws(order, first):
            crops = random_crops(draws, epoch, crop=self.crop, seed=self.seed)
            indices = (draws % num_images).numpy()
            for part in parts:
                view = ViewPlan(self.crop.image_size, crops.of(part))
                yield BatchPlan(indices[part], (view,))

    def _draws(self, order: Tensor, first: int) -> Iterator[tuple[Tensor, list[slice]]]:
        """This process's share of some batches at a time, and where each batch is in it.

        Drawn together, their crops cost a small part of what they cost batch by batch.
        """
        slices = self.slices[first:]
        for start in range(0, len(slices), BATCHES_DRAWN):
            shares = [
                order[s][self.rank :: self.world_size]
                for s in slices[start : start + BATCHES_DRAWN]
            ]
            ends = list(itertools.accumulate(map(len, shares), initial=0))
            parts = [slice(*ends) for ends in itertools.pairwise(ends)]
            yield torch.cat(shares), parts

    def _decoded(self, epoch: int, first: int) -> Iterator[Decoded]:
        """This process's share of an epoch from batch number ``first`` on."""
        if self._pixels is not None:
            plans = self._plans(epoch, first)
            yield from cropped_arrays(self._pixels, self._rows, self.images.sizes, plans)
            return
        if self._next != (epoch, first):
            self._begin(epoch, first)
        for step in range(first, self.steps_per_epoch):
            self._next = None  # an error leaves the stream at no place
            decoded = next(self._stream)
            if step + 1 < self.steps_per_epoch:
                self._next = epoch, step + 1
            elif epoch + 1 < self.epochs:
                self._next = epoch + 1, 0
            yield decoded

    def _begin(self, epoch: int, first: int) -> None:
        """Let the workers begin anew, for all epochs from here on."""
        epochs = range(epoch + 1, max(self.epochs, epoch + 1))
        later = itertools.chain.from_iterable(self._plans(number, 0) for number in epochs)
        assert isinstance(self._loader.sampler, EpochSampler)
        self._loader.sampler.plans = itertools.chain(self._plans(epoch, first), later)
        self._stream = iter(self._loader)

    def note_failed(self, failed: dict[int, str]) -> None:
        """Record images that could not be decoded, here or by another process.

        Raises:
            DataError: There are too many of them now.
        """
        if failed.keys() <= self.failed.keys():
            return
        self.failed.update(failed)
        unreadable = {self.images.names[i]: reason for i, reason in self.failed.items()}
        limit = self.crop.max_bad_fraction
        if self._source is not None:
            self._source.check_failures(unreadable, len(self.images), limit)
        else:
            check_unreadable(unreadable, len(self.images) - len(unreadable), limit)
