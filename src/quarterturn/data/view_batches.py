"""Batches of several views of each image, decoded once.

Crops are made where the images are: by the workers from files, on the device from memory. Colours
and turns follow on the device, for both alike.

Shapes: B images in a batch; V full views of S pixels a side and M small ones of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from quarterturn.data.batches import Batch, TrainingBatches
from quarterturn.data.colour import apply_colours, draw_colours
from quarterturn.data.crop_plans import CropPlan, random_crops
from quarterturn.data.file_loader import Decoded
from quarterturn.data.plans import BatchPlan, ViewPlan
from quarterturn.data.sampling import epoch_order
from quarterturn.data.view_law import ViewLaw
from quarterturn.rotation import rotate_each
from quarterturn.timing import timed


@dataclass(frozen=True, kw_only=True)
class ViewBatch(Batch):
    """Views of images that are compared with each other.

    Attributes:
        images: (B, V, 3, S, S) float32, the full views: cropped, coloured, turned and normalised.
        turns: (B, V + M) int64, quarter turns of the full views, then of the small ones.
        small: (B, M, 3, s, s), the small views, or None.
    """

    turns: Tensor
    small: Tensor | None = None

    def split(self, parts: int) -> list[Batch]:
        """The batch itself: its images are compared with each other, so it has no parts.

        Raises:
            ValueError: More than one part is asked for.
        """
        if parts > 1:
            raise ValueError("views are compared over a whole batch, which cannot be split")
        return [self]


class ViewBatches(TrainingBatches):
    """The views of any epoch, as pure functions of (seed, epoch, image, view).

    Args:
        images: The N images; each is shown once an epoch.
        crop: Crop and normalisation settings; a view is a crop by the same law as elsewhere.
        law: Which views are drawn.
        **rest: As for `TrainingBatches`.
    """

    def __init__(self, *args: Any, law: ViewLaw, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.law = law

    def epoch(self, epoch: int, first: int = 0) -> Iterator[ViewBatch]:
        """See `TrainingBatches.epoch`."""
        for decoded in self._decoded(epoch, first):
            self.note_failed(decoded.failed)
            self.changed |= self.images.note(decoded.seen)
            with timed("augment"):
                batch = self._finished(decoded, epoch)
            yield batch

    def _plans(self, epoch: int, first: int) -> Iterator[BatchPlan]:
        order = epoch_order(len(self.images), self.seed, epoch)
        sides = [self.crop.image_size, self.law.small_side][: len(self.law.counts)]
        for draws, parts in self._draws(order, first):
            keys = self.law.keys(draws, self.seed).split(self.law.counts, dim=1)
            drawn = [
                (side, self._crops(of_size, epoch), of_size.shape[1])
                for side, of_size in zip(sides, keys, strict=True)
            ]
            for part in parts:
                views = tuple(
                    ViewPlan(side, crops.of(slice(part.start * count, part.stop * count)), count)
                    for side, crops, count in drawn
                )
                yield BatchPlan(draws[part].numpy(), views)

    def _crops(self, keys: Tensor, epoch: int) -> CropPlan:
        return random_crops(keys.flatten(), epoch, crop=self.crop, seed=self.seed)

    def _finished(self, decoded: Decoded, epoch: int) -> ViewBatch:
        """Colour and turn the crops; what is drawn for them depends only on the images."""
        law = self.law
        to_device: Any = {"device": self.device, "non_blocking": True}
        turns = law.turns(decoded.indices, self.seed, epoch)  # (B, V + M)
        keys = law.keys(decoded.indices, self.seed)

        def finished(crops: Tensor, keys: Tensor, turns: Tensor) -> Tensor:
            pixels = crops.to(**to_device).flatten(0, 1).to(torch.float32).div_(255)
            colours = draw_colours(keys.flatten(), law.colour, seed=self.seed, epoch=epoch)
            coloured = apply_colours(pixels, colours)
            turned = rotate_each(coloured, turns.flatten().to(**to_device))
            return self._normalise(turned.mul_(255)).unflatten(0, crops.shape[:2])

        parts = zip(
            decoded.views,
            keys.split(law.counts, dim=1),
            turns.split(law.counts, dim=1),
            strict=True,
        )
        full, *small = [finished(*part) for part in parts]
        return ViewBatch(
            decoded.indices.to(**to_device),
            full,
            epoch=epoch,
            small=small[0] if small else None,
            turns=turns.to(**to_device),
        )
