"""Load image files in worker processes: decode, crop, and collate to batches.

A worker makes whole batches, each in memory that it shares with the trainer, so that no image is
copied on its way.

Shapes: n images; S side of a view.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from quarterturn.data.crops import crop_file_image, shrink_for
from quarterturn.data.image_file import UnreadableImageError
from quarterturn.data.imageset import ImageSet
from quarterturn.data.plans import BatchPlan, ViewPlan


@dataclass
class Decoded:
    """A batch from a worker.

    Attributes:
        indices: (n,) numbers of the decoded images.
        views: For each view of the plan, (n, 3, S, S) uint8.
        failed: Number of each image that could not be decoded, with the reason.
        changed: Numbers of the decoded images whose files have changed since they were indexed.
    """

    indices: Tensor
    views: tuple[Tensor, ...]
    failed: dict[int, str]
    changed: frozenset[int] = frozenset()

    def pin_memory(self) -> Decoded:
        """Called by torch's loader for fast copies to a GPU."""
        views = tuple(view.pin_memory() for view in self.views)
        return Decoded(self.indices, views, self.failed, self.changed)


class EpochSampler(Sampler[BatchPlan]):
    """The plans of the batches, assigned before each pass over the loader."""

    def __init__(self) -> None:
        self.plans: Iterable[BatchPlan] = ()

    def __iter__(self) -> Iterator[BatchPlan]:
        return iter(self.plans)


class _PlannedFiles(Dataset[Decoded]):
    """A plan to its batch."""

    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def __getitem__(self, plan: BatchPlan) -> Decoded:
        views = tuple(_room(len(plan.images), view.side) for view in plan.views)
        read, failed, changed = list[int](), dict[int, str](), set[int]()
        for row, index in enumerate(plan.images.tolist()):
            try:
                crops = self._cropped(index, [view.row(row) for view in plan.views])
            except UnreadableImageError as error:
                failed[index] = str(error)
                continue
            for view, crop in zip(views, crops, strict=True):
                view[len(read)] = crop
            read.append(index)
            if self.images.has_changed(index):
                changed.add(index)
        filled = tuple(view[: len(read)] for view in views)
        indices = torch.tensor(read, dtype=torch.int64)
        return Decoded(indices, filled, failed, frozenset(changed))

    def _cropped(self, index: int, views: Sequence[ViewPlan]) -> list[Tensor]:
        """Every view of one image, decoded once: (3, S, S) uint8 each."""
        size = self.images.sizes[index : index + 1]
        crops = [view.crops.crops(size) for view in views]
        shrink = min(shrink_for(c.boxes[0], v.side) for c, v in zip(crops, views, strict=True))
        image = self.images.read(index, shrink=shrink)
        height, width = size[0].tolist()
        return [
            crop_file_image(
                image, (height, width), c.boxes[0], bool(c.flips[0]), view.side, c.shift(0)
            )
            for c, view in zip(crops, views, strict=True)
        ]


def _room(num_images: int, side: int) -> Tensor:
    """(n, 3, S, S) uint8, uninitialised; shared with the trainer where a worker asks."""
    shape = (num_images, 3, side, side)
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    # As torch's own collate function has it: sent without the copy that `share_memory_` makes.
    storage = torch.UntypedStorage._new_shared(math.prod(shape))
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)


def decoding_loader(images: ImageSet, workers: int, device: torch.device) -> DataLoader[Decoded]:
    """A loader that makes the batches of its `EpochSampler` (its ``sampler``).

    Args:
        images: The files.
        workers: Processes; 0 decodes in this one.
        device: Device that the batches will be copied to; memory is pinned for CUDA.
    """
    return DataLoader(
        _PlannedFiles(images),
        batch_size=None,  # a plan is a whole batch
        sampler=EpochSampler(),
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=device.type == "cuda",
        persistent_workers=workers > 0,
        # torch would draw a base seed from the global generator, which must not change here.
        generator=torch.Generator().manual_seed(0),
    )


def _as_it_is(decoded: Any) -> Any:
    return decoded
