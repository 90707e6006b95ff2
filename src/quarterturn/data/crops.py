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

CACHED = 2**17
"""Values that a processor's cache holds; images are resampled in groups of about as many."""

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
    top, left, box_h, box_w = crops.boxes.float().unbind(dim=1)
    down, right = (None, None) if crops.shifts is None else crops.shifts.unbind(dim=1)
    antialias = crops.antialias
    rows = _taps(top, box_h, height, side, down, antialias=antialias).to(device)
    columns = _taps(left, box_w, width, side, right, crops.flips, antialias=antialias)
    columns = columns.to(device)
    cropped = torch.empty(n, 3, side, side, device=device)
    size = n if device.type == "cuda" else max(1, CACHED // (3 * side * max(side, width)))
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


def _taps(
    start: Tensor,
    length: Tensor,
    size: int,
    side: int,
    shift: Tensor | None = None,
    flips: Tensor | None = None,
    *,
    antialias: bool = True,
) -> _Taps:
    """Pillow's triangle filter from one interval an image, of ``size`` input lines, to S lines."""
    scale = length / side
    places = torch.arange(side).expand(len(start), side)
    if flips is not None:
        places = torch.where(flips[:, None], side - 1 - places, places)
    if shift is not None:
        places = places + shift[:, None]
    inside = (places >= 0) & (places < side)
    places = places.clamp(0, side - 1)
    centres = start[:, None] + (places + 0.5) * scale[:, None]  # (n, S)
    if antialias and bool((length == side).all()):
        return _Taps(centres.long()[..., None], inside[..., None].float())
    reach = (scale.clamp(min=1) if antialias else torch.ones_like(scale))[:, None]
    num_taps = math.ceil(2 * float(reach.max()))
    first = (centres - reach + 0.5).floor().long()
    lines = first[..., None] + torch.arange(num_taps)  # (n, S, T)
    distance = (lines + 0.5 - centres[..., None]).abs()
    weights = (1 - distance / reach[..., None]).clamp(min=0) * ((lines >= 0) & (lines < size))
    weights = weights / weights.sum(dim=2, keepdim=True) * inside[..., None]
    return _Taps(lines.clamp(0, size - 1), weights)


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
