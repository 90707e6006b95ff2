"""Boxes as fractions of images whose sizes are not known yet, and what they are in pixels then.

Shapes: n images; A attempts at a box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.crops import Box
from quarterturn.data.image_file import Size

Sizes = NDArray[np.int64]
Boxes = NDArray[np.float64]


class BoxPlan(Protocol):
    """Boxes for n images of any size."""

    def within(self, sizes: Sizes) -> Boxes:
        """(n, 2) heights and widths to (n, 4) top, left, height, width, in pixels."""

    def box(self, i: int, size: Size) -> Box:
        """The box of image ``i``, which is ``within`` of its size; quicker for one by itself."""

    def of(self, rows: slice) -> BoxPlan:
        """The boxes of some of the images."""


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

    def of(self, rows: slice) -> ResizedBoxes:
        """See `BoxPlan.of`."""
        return ResizedBoxes(self.areas[rows], self.ratios[rows], self.places[rows], self.limits)


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

    def of(self, rows: slice) -> SquareBoxes:
        """See `BoxPlan.of`."""
        return SquareBoxes(self.fraction, self.places[rows], self.are_drawn)


@dataclass(frozen=True)
class FixedBoxes:
    """Squares of as many pixels in each image, or as large as an image that is smaller.

    Attributes:
        side: In pixels of the image.
        places: As of `SquareBoxes`.
        are_drawn: As of `SquareBoxes`.
    """

    side: int
    places: NDArray[np.float64]
    are_drawn: bool

    def within(self, sizes: Sizes) -> Boxes:
        """See `BoxPlan.within`."""
        side = np.minimum(self.side, sizes.min(axis=1))[:, None]
        if self.are_drawn:
            top_left = np.floor((sizes - side + 1) * self.places)
        else:
            top_left = np.rint((sizes - side) * self.places)  # as torchvision's CenterCrop
        return np.concatenate([top_left, side, side], axis=1)

    def box(self, i: int, size: Size) -> Box:
        """See `BoxPlan.box`."""
        one = self.of(slice(i, i + 1))
        top, left, height, width = one.within(np.array([size]))[0].tolist()
        return int(top), int(left), int(height), int(width)

    def of(self, rows: slice) -> FixedBoxes:
        """See `BoxPlan.of`."""
        return FixedBoxes(self.side, self.places[rows], self.are_drawn)


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
        one = self.of(slice(i, i + 1))
        top, left, height, width = one.within(np.array([size]))[0].tolist()
        return top, left, height, width

    def of(self, rows: slice) -> ScaledBoxes:
        """See `BoxPlan.of`."""
        return ScaledBoxes(self.side, self.limits, self.scales[rows], self.places[rows])


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

    def of(self, rows: slice) -> WholeBoxes:
        """See `BoxPlan.of`."""
        return WholeBoxes(len(range(self.num_images)[rows]))
