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
from torch.nn import functional

CACHED = 2**19
"""Bytes that a processor's cache holds; images are worked on in groups of about as many."""

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
        antialias: Average over the pixels that a smaller result covers; otherwise it is
            interpolated between the nearest ones.
    """

    boxes: Tensor
    flips: Tensor
    shifts: Tensor | None = None
    antialias: bool = True


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
    *,
    antialias: bool = True,
) -> Tensor:
    """Apply one crop to a decoded image, in a worker.

    Args:
        image: RGB, possibly decoded at a reduced size.
        size: Height and width of the original, to which the box refers.
        box: Top, left, height, width.
        flip: Mirror left to right.
        side: S.
        shift: Pixels of the result by which the window moves down and right.
        antialias: See `Crops`.

    Returns:
        (3, S, S) uint8.
    """
    top, left, height, width = map(float, box)
    y, x = _reduction(size[0], image.height), _reduction(size[1], image.width)
    corners = (
        left * x,
        top * y,
        min((left + width) * x, image.width),
        min((top + height) * y, image.height),
    )
    square, bilinear = (side, side), Image.Resampling.BILINEAR
    resized = (
        image.resize(square, bilinear, box=corners)
        if antialias
        else image.transform(square, Image.Transform.EXTENT, corners, bilinear)
    )
    if shift != (0, 0):
        down, right = shift
        resized = resized.crop((right, down, right + side, down + side))  # black outside
    if flip:
        resized = resized.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    # Channel by channel: torch takes four times as long to sort interleaved ones.
    channels = b"".join(resized.tobytes("raw", channel) for channel in "RGB")
    return torch.frombuffer(bytearray(channels), dtype=torch.uint8).view(3, side, side)


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

    Resampling is linear and separable: each output row is a weighted sum of the few input rows that
    the filter reaches, and the same holds for columns.

    Args:
        images: (n, H, W, 3) uint8.
        crops: n boxes, shifts and flips.
        side: S.

    Returns:
        (n, 3, S, S) float32 in 0..255.
    """
    n, height, width = images.shape[:3]
    device = images.device
    rows, columns = (taps.to(device) for taps in _taps(crops, height, width, side))
    cropped = torch.empty(n, 3, side, side, device=device)
    value_bytes = 1 if rows.num == columns.num == 1 else 4
    image_bytes = 2 * value_bytes * 3 * side * max(side, width)  # before and after a step
    size = n if device.type == "cuda" else max(1, CACHED // image_bytes)
    for start in range(0, n, size):
        part = slice(start, start + size)
        lines = images[part].reshape(-1, height, width * 3)
        resized = _resampled(lines, rows.of(part)).view(-1, side, width, 3)
        by_column = resized.permute(0, 2, 3, 1).reshape(-1, width, 3 * side)
        resized = _resampled(by_column, columns.of(part)).view(-1, side, 3, side)
        cropped[part] = resized.permute(0, 2, 3, 1)  # from (n, columns, 3, rows)
    return cropped


@dataclass(frozen=True)
class _Taps:
    """Which input lines, rows or columns, an output line is made of, and their weights.

    Attributes:
        lines: (n, S, T) int64.
        weights: (n, S, T) float32; all of them 0 or 1 where T = 1.
    """

    lines: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> _Taps:
        """Copied to a device; nothing waits for it."""
        to_device: Any = {"device": device, "non_blocking": True}
        return _Taps(self.lines.to(**to_device), self.weights.to(**to_device))

    @property
    def num(self) -> int:
        """T."""
        return self.lines.shape[2]

    def of(self, part: slice) -> _Taps:
        """Those of some of the images."""
        return _Taps(self.lines[part], self.weights[part])


def _taps(crops: Crops, height: int, width: int, side: int) -> tuple[_Taps, _Taps]:
    """Pillow's triangle filter from boxes to S lines: of rows and of columns.

    Both are computed at once: at 32 pixels the number of operations is what counts.
    """
    n = len(crops.boxes)
    start, length = crops.boxes.float().t().reshape(2, 2 * n, 1)  # (2n, 1) each
    places = torch.arange(side).repeat(2 * n, 1)  # (2n, S)
    places[n:][crops.flips] = torch.arange(side - 1, -1, -1)
    inside = torch.ones(2 * n, 1, 1)
    if crops.shifts is not None:
        places += crops.shifts.t().reshape(2 * n, 1)
        inside = ((places >= 0) & (places < side))[..., None].float()
        places.clamp_(0, side - 1)
    scale = length / side
    centres = start + (places + 0.5) * scale
    parts = slice(n), slice(n, 2 * n)
    if crops.antialias and bool((length == side).all()):
        lines, weights = centres.long()[..., None], inside.expand(2 * n, side, 1)
        rows, columns = (_Taps(lines[part], weights[part]) for part in parts)
        return rows, columns
    reach = scale.clamp(min=1) if crops.antialias else torch.ones_like(scale)
    nums_taps = [math.ceil(2 * float(reach[part].max())) for part in parts]
    first = (centres - reach + 0.5).floor().long()
    lines = first[..., None] + torch.arange(max(nums_taps))  # (2n, S, T)
    distance = (lines + 0.5 - centres[..., None]).abs_()
    weights = (1 - distance.div_(reach[..., None])).clamp_(min=0)
    last = torch.tensor([height - 1, width - 1]).repeat_interleave(n)[:, None, None]
    weights *= (lines >= 0) & (lines <= last)
    lines = lines.clamp_(min=0).clamp_(max=last)
    rows, columns = (
        _Taps(lines[part, :, :num], _of_sum_one(weights[part, :, :num]) * inside[part])
        for part, num in zip(parts, nums_taps, strict=True)
    )
    return rows, columns


def _of_sum_one(weights: Tensor) -> Tensor:
    return weights / weights.sum(dim=2, keepdim=True)


def _resampled(lines: Tensor, taps: _Taps) -> Tensor:
    """(n, L, M) input lines to (n, S, M) output lines."""
    n, num_lines, width = lines.shape
    flat = lines.reshape(n * num_lines, width)
    numbers = taps.lines + num_lines * torch.arange(n, device=lines.device)[:, None, None]
    if taps.num == 1:
        found = flat.index_select(0, numbers.flatten()).view(n, -1, width)
        return found.mul_(taps.weights.to(found.dtype))
    # Takes and sums the lines in one pass.
    return functional.embedding_bag(
        numbers.flatten(end_dim=1),
        flat.float(),
        per_sample_weights=taps.weights.flatten(end_dim=1),
        mode="sum",
    ).view(n, -1, width)
