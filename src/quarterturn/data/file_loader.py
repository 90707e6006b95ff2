"""Load image files in worker processes: decode, crop, and collate to batches.

A worker makes whole batches, each in memory that it shares with the trainer, so that no image is
copied on its way.

Shapes: n images; k views of a size of each; S their side.
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
        views: For each size of the plan, (n, k, 3, S, S) uint8.
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
        views = tuple(_room(len(plan.images), view) for view in plan.views)
        seen, failed = list[Seen](), dict[int, str]()
        for row, index in enumerate(plan.images.tolist()):
            stat = self.images.stat(index)
            try:
                crops, size = self._cropped(index, row, plan.views)
            except UnreadableImageError as error:
                failed[index] = str(error)
                continue
            for view, of_size in zip(views, crops, strict=True):
                for place, crop in zip(view[len(seen)], of_size, strict=True):
                    place.copy_(crop)
            seen.append((index, size, stat))
        filled = tuple(view[: len(seen)] for view in views)
        indices = torch.tensor([index for index, _, _ in seen], dtype=torch.int64)
        return Decoded(indices, filled, failed, seen)

    def _cropped(
        self, index: int, row: int, views: Sequence[ViewPlan]
    ) -> tuple[list[list[Tensor]], Size]:
        """The views of one image, k (3, S, S) uint8 of each size, and the size of the image."""

        def boxes(view: ViewPlan, size: Size) -> list[Box]:
            return [view.crops.boxes.box(i, size) for i in view.rows(row)]

        def shrink(size: Size) -> float:
            return min(
                shrink_for(box, view.side) if view.crops.antialias else 1.0
                for view in views
                for box in boxes(view, size)
            )

        image, size = self.images.read_sized(index, shrink)
        crops = [
            [
                crop_file_image(
                    image,
                    size,
                    box,
                    bool(v.crops.flips[i]),
                    v.side,
                    v.crops.shift(i),
                    antialias=v.crops.antialias,
                )
                for i, box in zip(v.rows(row), boxes(v, size), strict=True)
            ]
            for v in views
        ]
        return crops, size


def _room(num_images: int, view: ViewPlan) -> Tensor:
    """(n, k, 3, S, S) uint8, uninitialised; shared with the trainer where a worker asks."""
    shape = (num_images, view.count, 3, view.side, view.side)
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
