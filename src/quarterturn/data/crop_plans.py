"""Crops drawn for a whole batch, before the images' sizes are known.

No random number depends on an image's size, so a crop is drawn as fractions of its image, here, and
becomes a box of pixels where the image is opened. Draws are torch's, in the main process; plans are
NumPy arrays, which cost little to send to a worker and to index there.

Shapes: n images; A attempts at a box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.config import DataConfig
from quarterturn.data.crops import Box, Crops
from quarterturn.data.image_file import Size
from quarterturn.randomness import integers, uniforms

ATTEMPTS = 10
"""Boxes drawn per image before the centre is used, as in torchvision's RandomResizedCrop."""

Sizes = NDArray[np.int64]
Boxes = NDArray[np.float64]


class BoxPlan(Protocol):
    """Boxes for n images of any size."""

    def within(self, sizes: Sizes) -> Boxes:
        """(n, 2) heights and widths to (n, 4) top, left, height, width, in pixels."""

    def box(self, i: int, size: Size) -> Box:
        """The box of image ``i``, which is ``within`` of its size; quicker for one by itself."""


@dataclass(frozen=True)
class ResizedBoxes:
    """Boxes of random area and aspect ratio; the first attempt that fits the image is taken.

    Attributes:
        areas: (n, A) fraction of the image's area.
        ratios: (n, A) width over height.
        places: (n, 2) position down and right, from 0 to 1 of the room that is left.
        limits: Smallest and largest ratio, for the centred box where no attempt fits.
    """

    areas: NDArray[np.float64]
    ratios: NDArray[np.float64]
    places: NDArray[np.float64]
    limits: tuple[float, float]

    def within(self, sizes: Sizes) -> Boxes:
        """See `BoxPlan.within`."""
        heights, widths = sizes[:, :1].astype(float), sizes[:, 1:].astype(float)
        areas = heights * widths * self.areas
        box_w = np.rint(np.sqrt(areas * self.ratios))  # (n, A)
        box_h = np.rint(np.sqrt(areas / self.ratios))
        fits = (box_w >= 1) & (box_w <= widths) & (box_h >= 1) & (box_h <= heights)
        rows = np.arange(len(sizes))
        first = fits.argmax(axis=1)
        box_w, box_h = box_w[rows, first], box_h[rows, first]
        heights, widths = heights[:, 0], widths[:, 0]
        top = np.floor((heights - box_h + 1) * self.places[:, 0])
        left = np.floor((widths - box_w + 1) * self.places[:, 1])
        boxes = np.stack([top, left, box_h, box_w], axis=1)
        fitted = fits[rows, first]
        if fitted.all():
            return boxes
        box_h = np.minimum(heights, np.rint(widths / self.limits[0]))
        box_w = np.minimum(widths, np.rint(heights * self.limits[1]))
        top, left = np.floor((heights - box_h) / 2), np.floor((widths - box_w) / 2)
        centred = np.stack([top, left, box_h, box_w], axis=1)
        return np.where(fitted[:, None], boxes, centred)

    def box(self, i: int, size: Size) -> Box:
        """See `BoxPlan.box`."""
        height, width = size
        down, right = self.places[i].tolist()
        for share, ratio in zip(self.areas[i].tolist(), self.ratios[i].tolist(), strict=True):
            area = height * width * share
            box_w, box_h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 1 <= box_w <= width and 1 <= box_h <= height:
                top = math.floor((height - box_h + 1) * down)
                return top, math.floor((width - box_w + 1) * right), box_h, box_w
        box_h = min(height, round(width / self.limits[0]))
        box_w = min(width, round(height * self.limits[1]))
        return (height - box_h) // 2, (width - box_w) // 2, box_h, box_w


@dataclass(frozen=True)
class SquareBoxes:
    """Squares whose side is a fraction of each image's short side.

    Attributes:
        fraction: Side over short side.
        places: (n, 2) position down and right, from 0 to 1 of the room that is left.
        are_drawn: Whether the places are uniform draws, each whole pixel of the room being one of
            equally likely positions; otherwise 0 and 1 are the two ends of the room.
    """

    fraction: float
    places: NDArray[np.float64]
    are_drawn: bool

    def within(self, sizes: Sizes) -> Boxes:
        """See `BoxPlan.within`."""
        side = np.maximum(1, np.rint(sizes.min(axis=1) * self.fraction))[:, None]
        top_left = np.floor((sizes - side + self.are_drawn) * self.places)
        return np.concatenate([top_left, side, side], axis=1)

    def box(self, i: int, size: Size) -> Box:
        """See `BoxPlan.box`."""
        side = max(1, round(min(size) * self.fraction))
        down, right = self.places[i].tolist()
        top = math.floor((size[0] - side + self.are_drawn) * down)
        return top, math.floor((size[1] - side + self.are_drawn) * right), side, side


@dataclass(frozen=True)
class ScaledBoxes:
    """Squares in which a pixel of the result covers a random number of pixels of the image.

    Attributes:
        side: S.
        limits: Fewest and most pixels of the image, along a side, for a pixel of the result;
            fewer where the image is too small.
        scales: (n,) position between the two, from 0 to 1.
        places: (n, 2) position down and right, from 0 to 1 of the room that is left.
    """

    side: int
    limits: tuple[float, float]
    scales: NDArray[np.float64]
    places: NDArray[np.float64]

    def within(self, sizes: Sizes) -> Boxes:
        """See `BoxPlan.within`."""
        high = np.minimum(self.limits[1], sizes.min(axis=1) / self.side)
        low = np.minimum(self.limits[0], high)
        side = (self.side * (low + (high - low) * self.scales))[:, None]
        return np.concatenate([(sizes - side) * self.places, side, side], axis=1)

    def box(self, i: int, size: Size) -> Box:
        """See `BoxPlan.box`."""
        one = ScaledBoxes(self.side, self.limits, self.scales[i : i + 1], self.places[i : i + 1])
        top, left, height, width = one.within(np.array([size]))[0].tolist()
        return top, left, height, width


@dataclass(frozen=True)
class WholeBoxes:
    """Whole images, whatever their shape: their sides are squashed alike.

    Attributes:
        num_images: n.
    """

    num_images: int

    def within(self, sizes: Sizes) -> Boxes:
        """See `BoxPlan.within`."""
        return np.concatenate([np.zeros_like(sizes), sizes], axis=1).astype(np.float64)

    def box(self, i: int, size: Size) -> Box:
        """See `BoxPlan.box`."""
        return 0, 0, *size


@dataclass(frozen=True)
class CropPlan:
    """Boxes, shifts and flips for n images of any size, applied in this order; see `Crops`.

    Attributes:
        boxes: n boxes.
        flips: (n,) bool.
        shifts: (n, 2) int64, or None for no shifts.
        antialias: See `Crops`.
    """

    boxes: BoxPlan
    flips: NDArray[np.bool_]
    shifts: NDArray[np.int64] | None = None
    antialias: bool = True

    def __len__(self) -> int:
        return len(self.flips)

    def shift(self, i: int) -> tuple[int, int]:
        """Shift (down, right) of image ``i``."""
        if self.shifts is None:
            return 0, 0
        down, right = self.shifts[i].tolist()
        return down, right

    def crops(self, sizes: Sizes) -> Crops:
        """(n, 2) heights and widths to crops in pixels."""
        return Crops(
            torch.from_numpy(self.boxes.within(sizes)),
            torch.from_numpy(self.flips),
            None if self.shifts is None else torch.from_numpy(self.shifts),
            self.antialias,
        )


def random_crops(draws: Tensor, epoch: int, *, crop: DataConfig, seed: int) -> CropPlan:
    """The crops of an epoch by the configuration: resized crops, fixed-size squares, or shifts.

    Args:
        draws: (n,) int64, each an image's number plus a multiple of N; see
            `quarterturn.data.sampling`. All draws here are pure functions of (seed, epoch, draw).
        epoch: Crops differ between epochs.
        crop: The configuration.
        seed: The run's seed.
    """
    if crop.crop_padding:
        return draw_shifts(draws, seed=seed, epoch=epoch, padding=crop.crop_padding, flip=crop.flip)
    if crop.crop_pixels is not None:
        return draw_scales(
            draws,
            seed=seed,
            epoch=epoch,
            side=crop.image_size,
            limits=crop.crop_pixels,
            flip=crop.flip,
        )
    if crop.crop_fraction:
        return draw_squares(
            draws, seed=seed, epoch=epoch, fraction=crop.crop_fraction, flip=crop.flip
        )
    return draw_crops(
        draws,
        seed=seed,
        epoch=epoch,
        scale=crop.crop_scale,
        ratio=crop.crop_ratio,
        flip=crop.flip,
    )


def draw_crops(
    draws: Tensor,
    *,
    seed: int,
    epoch: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    flip: bool,
) -> CropPlan:
    """Random resized crops.

    The distribution is that of torchvision's RandomResizedCrop (Szegedy et al., CVPR 2015): a
    uniform fraction of the area, a log-uniform aspect ratio, a uniform position; ten attempts, then
    the largest centred box within the allowed ratios.

    Args:
        draws: (n,) int64; see `random_crops`.
        seed: The run's seed.
        epoch: Crops differ between epochs.
        scale: Smallest and largest fraction of the area.
        ratio: Smallest and largest width over height.
        flip: Mirror half of the images.
    """
    attempts = torch.arange(ATTEMPTS)
    area_u = uniforms(seed, "crop-area", epoch, draws[:, None], attempts)
    ratio_u = uniforms(seed, "crop-ratio", epoch, draws[:, None], attempts)
    low, high = torch.tensor(ratio, dtype=torch.float64).log()
    boxes = ResizedBoxes(
        (scale[0] + (scale[1] - scale[0]) * area_u).numpy(),
        (low + (high - low) * ratio_u).exp().numpy(),
        _draw_places(draws, seed, epoch, "crop-top", "crop-left"),
        ratio,
    )
    return CropPlan(boxes, _draw_flips(draws, seed, epoch, flip))


def draw_shifts(draws: Tensor, *, seed: int, epoch: int, padding: int, flip: bool) -> CropPlan:
    """Full centre squares, padded and cropped back at a random position, as usual on CIFAR.

    Equals torchvision's ``RandomCrop(S, padding=padding)`` on an image of S pixels: a black border
    of ``padding`` pixels, then a window of S pixels anywhere inside (He et al., CVPR 2016, section
    4.2). Arguments as for `draw_crops`; ``padding`` is in pixels of the result.
    """
    shifts = torch.stack(
        [
            integers(2 * padding + 1, seed, f"shift-{axis}", epoch, draws) - padding
            for axis in ("down", "right")
        ],
        dim=1,
    )
    boxes = centre_crops(len(draws), 1.0).boxes
    return CropPlan(boxes, _draw_flips(draws, seed, epoch, flip), shifts.numpy())


def draw_squares(draws: Tensor, *, seed: int, epoch: int, fraction: float, flip: bool) -> CropPlan:
    """Squares at random positions, whose side is a fraction of the image's short side.

    With 224 / 256 this equals torchvision's ``Resize(256)`` and ``RandomCrop(224)``, or only
    ``RandomCrop(224)`` on images of 256 x 256 pixels. Arguments as for `draw_crops`.
    """
    places = _draw_places(draws, seed, epoch, "square-down", "square-right")
    boxes = SquareBoxes(fraction, places, are_drawn=True)
    return CropPlan(boxes, _draw_flips(draws, seed, epoch, flip))


def draw_scales(
    draws: Tensor, *, seed: int, epoch: int, side: int, limits: tuple[float, float], flip: bool
) -> CropPlan:
    """Squares at random places, of a random number of the image's pixels to a pixel of the result.

    As Krähenbühl et al. (ICLR 2016) crop VOC2007, resized without antialiasing. Arguments as for
    `draw_crops`; ``side`` and ``limits`` as for `ScaledBoxes`.
    """
    scales = uniforms(seed, "crop-scale", epoch, draws).numpy()
    places = _draw_places(draws, seed, epoch, "scaled-down", "scaled-right")
    boxes = ScaledBoxes(side, limits, scales, places)
    return CropPlan(boxes, _draw_flips(draws, seed, epoch, flip), antialias=False)


def centre_crops(num_images: int, fraction: float) -> CropPlan:
    """The centre square whose side is a fraction of the short side; no flips.

    With 0.875 this is the usual resize to 256 and centre crop to 224.
    """
    return placed_crops(num_images, fraction)


def squashed(num_images: int) -> CropPlan:
    """Whole images, squashed to a square; no flips."""
    return CropPlan(WholeBoxes(num_images), np.zeros(num_images, dtype=bool))


def placed_crops(
    num_images: int, fraction: float, down: float = 0.5, right: float = 0.5, *, flip: bool = False
) -> CropPlan:
    """A square at the same relative position in each image.

    Args:
        num_images: n.
        fraction: Side, as a fraction of the image's short side.
        down: Position between the upper edge (0) and the lower edge (1).
        right: Position between the left edge (0) and the right edge (1).
        flip: Mirror left to right.
    """
    places = np.broadcast_to(np.array([down, right]), (num_images, 2))
    return CropPlan(SquareBoxes(fraction, places, are_drawn=False), np.full(num_images, flip))


def _draw_places(
    draws: Tensor, seed: int, epoch: int, down: str, right: str
) -> NDArray[np.float64]:
    """(n, 2) uniforms, of the purposes ``down`` and ``right``."""
    places = [uniforms(seed, purpose, epoch, draws) for purpose in (down, right)]
    return torch.stack(places, dim=1).numpy()


def _draw_flips(draws: Tensor, seed: int, epoch: int, flip: bool) -> NDArray[np.bool_]:
    """(n,) half of the images, or none."""
    return (uniforms(seed, "flip", epoch, draws) < (0.5 if flip else 0.0)).numpy()
