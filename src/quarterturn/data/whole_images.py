"""Whole images, resized by their short side, for networks that take any size.

Shapes: B images; H, W height and width of the largest of a batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from quarterturn.config import DataConfig
from quarterturn.data.image_file import UnreadableImageError
from quarterturn.data.imageset import ImageSet, Seen
from quarterturn.data.normalisation import Normalise


@dataclass(frozen=True)
class WholeImage:
    """An image that is to be shown, or was.

    Attributes:
        index: Its number.
        short_side: Pixels that its short side is resized to.
        max_side: Pixels that its long side has at most.
        mirrored: Whether it is mirrored, left to right.
    """

    index: int
    short_side: int
    max_side: int
    mirrored: bool = False


@dataclass
class Resized:
    """An image, decoded and resized.

    Attributes:
        plan: What was asked for.
        pixels: (3, height, width) float32 in 0..255; None where it could not be decoded.
        size: Height and width before it was resized.
        failure: Why it could not be decoded.
        seen: For `ImageSet.note`.
    """

    plan: WholeImage
    pixels: Tensor | None
    size: tuple[int, int] = (0, 0)
    failure: str = ""
    seen: Seen | None = None

    @property
    def scale(self) -> float:
        """Pixels of the resized image for each of the original."""
        return scale_of(*self.size, self.plan.short_side, self.plan.max_side)


def scale_of(height: int, width: int, short_side: int, max_side: int) -> float:
    """How many times as large an image becomes, as Fast R-CNN resizes it.

    Args:
        height: Of the image.
        width: Of the image.
        short_side: What its short side becomes.
        max_side: What its long side becomes at most.
    """
    scale = short_side / min(height, width)
    longest = max(height, width)
    return max_side / longest if round(scale * longest) > max_side else scale


class _WholeFiles(Dataset[list[Resized]]):
    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def __getitem__(self, plans: Sequence[WholeImage]) -> list[Resized]:
        return [self._resized(plan) for plan in plans]

    def _resized(self, plan: WholeImage) -> Resized:
        stat = self.images.stat(plan.index)
        try:
            image, size = self.images.read_sized(plan.index, lambda size: 1.0)
        except UnreadableImageError as error:
            return Resized(plan, None, failure=str(error))
        seen = (plan.index, size, stat)
        resized = Resized(plan, None, size, seen=seen)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float()[None]
        sides = [max(1, round(side * resized.scale)) for side in size]
        pixels = F.interpolate(pixels, sides, mode="bilinear", align_corners=False)[0]
        resized.pixels = pixels.flip(2) if plan.mirrored else pixels
        return resized


def whole_images(
    images: ImageSet, batches: Iterable[Sequence[WholeImage]], workers: int
) -> Iterator[list[Resized]]:
    """Decode and resize the images of batches, in order.

    Args:
        images: The images.
        batches: What each batch shows.
        workers: Processes that decode; 0 decodes in this one.
    """
    loader: DataLoader[list[Resized]] = DataLoader(
        _WholeFiles(images),
        batch_size=None,  # a plan is a whole batch
        sampler=batches,
        num_workers=workers,
        collate_fn=_as_it_is,
        # torch would draw a base seed from the global generator, which must not change here.
        generator=torch.Generator().manual_seed(0),
    )
    return iter(loader)


class Padded:
    """Normalises images of several sizes and pads them with zeros to the largest.

    Args:
        crop: Means and standard deviations.
        device: Device of the batches.
    """

    def __init__(self, crop: DataConfig, device: torch.device) -> None:
        self._normalise, self._device = Normalise(crop, device), device

    def __call__(self, images: Sequence[Tensor]) -> Tensor:
        """Images (3, height, width) in 0..255 to (B, 3, H, W)."""
        high, wide = (max(image.shape[axis] for image in images) for axis in (1, 2))
        padded = torch.zeros(len(images), 3, high, wide, device=self._device)
        for into, image in zip(padded, images, strict=True):
            _, height, width = image.shape
            into[:, :height, :width] = self._normalise(image[None].to(self._device))[0]
        return padded


def _as_it_is(batch: Any) -> Any:
    return batch
