"""Batches of centre crops, each image once and in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.config import DataConfig
from quarterturn.data.array_crops import cropped_arrays, pixels_on
from quarterturn.data.batches import Batch, batch_slices
from quarterturn.data.crop_plans import CropPlan, evaluation_crops
from quarterturn.data.file_loader import Decoded, EpochSampler, decoding_loader
from quarterturn.data.imageset import ArrayImages, ImageSet
from quarterturn.data.normalisation import Normalise
from quarterturn.data.plans import BatchPlan, ViewPlan
from quarterturn.data.unreadable import warn_changed


def evaluation_batches(
    images: ImageSet,
    crop: DataConfig,
    *,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    workers: int = 0,
    failed: dict[int, str] | None = None,
    changed: set[int] | None = None,
    view: Callable[[int], CropPlan] | None = None,
    crops_of: Callable[[Tensor], CropPlan] | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[Batch]:
    """The centre crops of all images, once and in order.

    Of several processes each takes every ``world_size``-th batch, so that the batches are those of
    one process, to the last bit.

    Args:
        images: The images.
        crop: Crop and normalisation settings.
        batch_size: Images in a batch.
        device: Device of the batches.
        workers: Processes that decode files.
        failed: Filled with the images that cannot be decoded, which are left out.
        changed: Filled with the images whose files have changed since they were indexed; without
            it, a warning counts them at the end.
        view: A number of images to their crops, in place of the centre crops; such as a partial
            of `placed_crops`.
        crops_of: (n,) numbers of images to their crops, in place of both.
        rank: This process's number.
        world_size: Number of processes.

    Yields:
        Batches, with labels if the images have them. One of which no image can be decoded is left
        out; where there are several processes it is empty, so that they go in step.
    """
    device = torch.device(device)
    view = view or partial(evaluation_crops, crop=crop)
    slices = batch_slices(len(images), batch_size, smallest=1)[rank::world_size]
    labels = None if images.targets is None else torch.from_numpy(images.targets)

    def plan(numbers: NDArray[np.int64]) -> BatchPlan:
        shown = view(len(numbers)) if crops_of is None else crops_of(torch.from_numpy(numbers))
        return BatchPlan(numbers, (ViewPlan(crop.image_size, shown),))

    plans = (plan(np.arange(s.start, s.stop)) for s in slices)
    decoded: Iterable[Decoded]
    if isinstance(images, ArrayImages):
        decoded = cropped_arrays(*pixels_on("cpu", images), images.sizes, plans)
    else:
        decoded = decoding_loader(images, workers, device)
        assert isinstance(decoded.sampler, EpochSampler)
        decoded.sampler.plans = plans
    normalise = Normalise(crop, device)
    found_changed = set() if changed is None else changed
    for part in decoded:
        found_changed |= images.note(part.seen)
        if failed is not None:
            failed.update(part.failed)
        if not len(part.indices) and world_size == 1:
            continue
        part_labels = None if labels is None else labels[part.indices].to(device)
        (crops,) = part.views
        yield Batch(part.indices.to(device), normalise(crops.squeeze(1).to(device)), part_labels)
    if changed is None:
        warn_changed(images, found_changed)
