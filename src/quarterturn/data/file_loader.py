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

from quarterturn.data.crops import Box, crop_file_image, shrink_for
from quarterturn.data.image_file import Size, UnreadableImageError
from quarterturn.data.imageset import ImageSet, Seen
from quarterturn.data.plans import BatchPlan, ViewPlan


@dataclass
class Decoded:
    """A batch from a worker.

    Attributes:
        indices: (n,) numbers of the decoded images.
        views: For each view of the plan, (n, 3, S, S) uint8.
        failed: Number of each image that could not be decoded, with the reason.
        seen: The decoded images, for `ImageSet.note`.
    """

    indices: Tensor
    views: tuple[Tensor, ...]
    failed: dict[int, str]
    seen: Sequence[Seen] = ()

    def pin_memory(self) -> Decoded:
        """Called by torch's loader for fast copies to a GPU."""
        views = tuple(view.pin_memory() for view in self.views)
        return Decoded(self.indices, views, self.failed, self.seen)


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
        seen, failed = list[Seen](), dict[int, str]()
        for row, index in enumerate(plan.images.tolist()):
            stat = self.images.stat(index)
            try:
                crops, size = self._cropped(index, row, plan.views)
            except UnreadableImageError as error:
                failed[index] = str(error)
                continue
            for view, crop in zip(views, crops, strict=True):
                view[len(seen)] = crop
            seen.append((index, size, stat))
        filled = tuple(view[: len(seen)] for view in views)
        indices = torch.tensor([index for index, _, _ in seen], dtype=torch.int64)
        return Decoded(indices, filled, failed, seen)

    def _cropped(
        self, index: int, row: int, views: Sequence[ViewPlan]
    ) -> tuple[list[Tensor], Size]:
        """Every view of one image, decoded once: (3, S, S) uint8 each; and the image's size."""

        def boxes(size: Size) -> list[Box]:
            return [view.crops.boxes.box(row, size) for view in views]

        def shrink(size: Size) -> float:
            return min(
                shrink_for(box, view.side) if view.crops.antialias else 1.0
                for box, view in zip(boxes(size), views, strict=True)
            )

        image, size = self.images.read_sized(index, shrink)
        crops = [
            crop_file_image(
                image,
                size,
                box,
                bool(v.crops.flips[row]),
                v.side,
                v.crops.shift(row),
                antialias=v.crops.antialias,
            )
            for box, v in zip(boxes(size), views, strict=True)
        ]
        return crops, size


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
