"""Crops in pixels, and the two places where they are applied.

`quarterturn.data.crop_plans` draws them. `crop_file_image` applies one to a decoded file in a
worker, and `crop_batch` applies a batch on the device. Both resample with Pillow's antialiased
bilinear filter and agree to within one grey level.

Shapes: n images; H, W height and width; S side of the result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Box = Sequence[float] | NDArray[np.float64] | Tensor
"""Top, left, height and width, in pixels of the upright image."""


@dataclass(frozen=True)
class Crops:
    """Boxes, shifts and flips for n images, applied in this order.

    Attributes:
        boxes: (n, 4) float64: top, left, height, width in pixels of the upright image.
        flips: (n,) bool: mirrored left to right.
        shifts: (n, 2) int64: pixels by which the window moves down and right over the resized box;
            uncovered pixels are black. None for no shifts.
    """

    boxes: Tensor
    flips: Tensor
    shifts: Tensor | None = None

    def shift(self, i: int) -> tuple[int, int]:
        """Shift (down, right) of one image."""
        if self.shifts is None:
            return 0, 0
        down, right = self.shifts[i].tolist()
        return down, right


def shrink_for(box: Box, side: int) -> float:
    """Factor by which decoding may shrink an image so that a box keeps ``side`` pixels per side."""
    return max(1.0, float(min(box[2], box[3])) / side)


def crop_file_image(
    image: Image.Image,
    size: tuple[int, int],
    box: Box,
    flip: bool,
    side: int,
    shift: tuple[int, int] = (0, 0),
) -> Tensor:
    """Apply one crop to a decoded image, in a worker.

    Args:
        image: RGB, possibly decoded at a reduced size.
        size: Height and width of the original, to which the box refers.
        box: Top, left, height, width.
        flip: Mirror left to right.
        side: S.
        shift: Pixels of the result by which the window moves down and right.

    Returns:
        (3, S, S) uint8.
    """
    top, left, height, width = map(float, box)
    y, x = _reduction(size[0], image.height), _reduction(size[1], image.width)
    resized = image.resize(
        (side, side),
        Image.Resampling.BILINEAR,
        box=(
            left * x,
            top * y,
            min((left + width) * x, image.width),
            min((top + height) * y, image.height),
        ),
    )
    if shift != (0, 0):
        down, right = shift
        resized = resized.crop((right, down, right + side, down + side))  # black outside
    if flip:
        resized = resized.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels = torch.frombuffer(bytearray(resized.tobytes()), dtype=torch.uint8)
    return pixels.view(side, side, 3).permute(2, 0, 1)


def _reduction(original: int, decoded: int) -> float:
    """Factor by which decoding reduced a side: 1, 1/2, 1/4 or 1/8.

    The plain quotient would stretch the crop: the last pixel of a reduced side may cover fewer
    pixels than the others.
    """
    for divisor in (1, 2, 4, 8):
        if math.ceil(original / divisor) == decoded:
            return 1 / divisor
    return decoded / original  # the file has changed since it was indexed


def crop_batch(images: Tensor, crops: Crops, side: int) -> Tensor:
    """Apply one crop per image to a batch, on its device.

    Resampling is linear and separable: each output row is a weighted sum of input rows, and the
    same holds for columns. Two weight matrices hold box, scale, shift and flip.

    Args:
        images: (n, H, W, 3) uint8.
        crops: n boxes, shifts and flips.
        side: S.

    Returns:
        (n, 3, S, S) float32 in 0..255.
    """
    height, width = images.shape[1:3]
    # Only the boxes are copied to the device, not the matrices.
    to_device: Any = {"device": images.device, "non_blocking": True}
    top, left, box_h, box_w = crops.boxes.float().to(**to_device).unbind(dim=1)
    flips = crops.flips.to(**to_device)[:, None, None]
    down = right = None
    if crops.shifts is not None:
        down, right = crops.shifts.to(**to_device).unbind(dim=1)
    rows = _resampling(top, box_h, height, side, down)
    columns = _resampling(left, box_w, width, side, right)
    columns = torch.where(flips, columns.flip(1), columns)
    planes = images.permute(0, 3, 1, 2).float()  # (n, 3, H, W)
    return rows[:, None] @ planes @ columns[:, None].transpose(2, 3)


def _resampling(
    start: Tensor, length: Tensor, size: int, side: int, shift: Tensor | None
) -> Tensor:
    """(n, S, size) float32 weights of Pillow's triangle filter, from an interval to S pixels."""
    scale = length / side
    places = torch.arange(side, device=start.device)
    if shift is not None:
        places = places + shift[:, None]
    inside = (places >= 0) & (places < side)
    places = places.clamp(0, side - 1)
    centres = start[:, None] + (places + 0.5) * scale[:, None]  # (n, S)
    pixels = torch.arange(size, device=start.device) + 0.5
    distance = (pixels - centres[:, :, None]).abs()  # (n, S, size)
    weights = (1 - distance / scale.clamp(min=1)[:, None, None]).clamp(min=0)
    return weights / weights.sum(dim=2, keepdim=True) * inside[..., None]
