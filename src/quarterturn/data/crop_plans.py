"""Crops drawn for a whole batch, before the images' sizes are known.

No random number depends on an image's size, so a crop is drawn as fractions of its image, here, and
becomes a box of pixels where the image is opened. Draws are torch's, in the main process; plans are
NumPy arrays, which cost little to send to a worker and to index there.

Shapes: n images; A attempts at a box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from quarterturn.config import DataConfig
from quarterturn.data.box_plans import (
    BoxPlan,
    FixedBoxes,
    ResizedBoxes,
    ScaledBoxes,
    Sizes,
    SquareBoxes,
    WholeBoxes,
)
from quarterturn.data.crops import Crops
from quarterturn.randomness import integers, uniforms

ATTEMPTS = 10
"""Boxes drawn per image before the centre is used, as in torchvision's RandomResizedCrop."""


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

    def of(self, rows: slice) -> CropPlan:
        """The crops of some of the images."""
        shifts = None if self.shifts is None else self.shifts[rows]
        return CropPlan(self.boxes.of(rows), self.flips[rows], shifts, self.antialias)

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
    if crop.fixed_crop or crop.crop_fraction:
        return draw_squares(
            draws,
            seed=seed,
            epoch=epoch,
            fraction=crop.crop_fraction,
            pixels=crop.fixed_crop,
            flip=crop.flip,
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


def draw_squares(
    draws: Tensor, *, seed: int, epoch: int, fraction: float, pixels: int = 0, flip: bool
) -> CropPlan:
    """Squares at random positions, whose side is a fraction of the image's short side, or pixels.

    With 224 / 256 this equals torchvision's ``Resize(256)`` and ``RandomCrop(224)``; with 224
    pixels, only ``RandomCrop(224)``. On images of 256 x 256 pixels they are the same. Arguments as
    for `draw_crops` and `placed_crops`.
    """
    places = _draw_places(draws, seed, epoch, "square-down", "square-right")
    boxes = _squares(fraction, pixels, places, are_drawn=True)
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


def evaluation_crops(num_images: int, crop: DataConfig) -> CropPlan:
    """The centre crops that the configuration has in evaluation."""
    return placed_crops(num_images, crop.eval_crop, pixels=crop.fixed_crop)


def squashed(num_images: int) -> CropPlan:
    """Whole images, squashed to a square; no flips."""
    return CropPlan(WholeBoxes(num_images), np.zeros(num_images, dtype=bool))


def placed_crops(
    num_images: int,
    fraction: float,
    down: float = 0.5,
    right: float = 0.5,
    *,
    pixels: int = 0,
    flip: bool = False,
) -> CropPlan:
    """A square at the same relative position in each image.

    Args:
        num_images: n.
        fraction: Side, as a fraction of the image's short side.
        down: Position between the upper edge (0) and the lower edge (1).
        right: Position between the left edge (0) and the right edge (1).
        pixels: Side in pixels of the image, in place of the fraction; 0 for the fraction.
        flip: Mirror left to right.
    """
    places = np.broadcast_to(np.array([down, right]), (num_images, 2))
    boxes = _squares(fraction, pixels, places, are_drawn=False)
    return CropPlan(boxes, np.full(num_images, flip))


def _squares(
    fraction: float, pixels: int, places: NDArray[np.float64], *, are_drawn: bool
) -> BoxPlan:
    if pixels:
        return FixedBoxes(pixels, places, are_drawn)
    return SquareBoxes(fraction, places, are_drawn)


def _draw_places(
    draws: Tensor, seed: int, epoch: int, down: str, right: str
) -> NDArray[np.float64]:
    """(n, 2) uniforms, of the purposes ``down`` and ``right``."""
    places = [uniforms(seed, purpose, epoch, draws) for purpose in (down, right)]
    return torch.stack(places, dim=1).numpy()


def _draw_flips(draws: Tensor, seed: int, epoch: int, flip: bool) -> NDArray[np.bool_]:
    """(n,) half of the images, or none."""
    return (uniforms(seed, "flip", epoch, draws) < (0.5 if flip else 0.0)).numpy()
