"""Crops: drawn in one place, and applied in two.

Crops are drawn as boxes, shifts and flips. `crop_file_image` applies one to a decoded file in a
worker, and `crop_batch` applies a batch on the device. Both resample with Pillow's antialiased
bilinear filter and agree to within one grey level.

Shapes: n images; H, W height and width; S side of the result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from quarterturn.randomness import integers, uniforms

ATTEMPTS = 10
"""Boxes drawn per image before the centre is used, as in torchvision's RandomResizedCrop."""


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


def draw_crops(
    sizes: Tensor,
    indices: Tensor,
    *,
    seed: int,
    epoch: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    flip: bool,
) -> Crops:
    """Random resized crops, as pure functions of (seed, epoch, image index).

    The distribution is that of torchvision's RandomResizedCrop (Szegedy et al., CVPR 2015): a
    uniform fraction of the area, a log-uniform aspect ratio, a uniform position; ten attempts, then
    the largest centred box within the allowed ratios.

    Args:
        sizes: (n, 2) height and width in pixels.
        indices: (n,) int64, the images' numbers in the data set.
        seed: The run's seed.
        epoch: Crops differ between epochs.
        scale: Smallest and largest fraction of the area.
        ratio: Smallest and largest width over height.
        flip: Mirror half of the images.
    """
    heights, widths = sizes[:, :1].double(), sizes[:, 1:].double()
    attempts = torch.arange(ATTEMPTS)
    area_u = uniforms(seed, "crop-area", epoch, indices[:, None], attempts)
    ratio_u = uniforms(seed, "crop-ratio", epoch, indices[:, None], attempts)
    areas = heights * widths * (scale[0] + (scale[1] - scale[0]) * area_u)
    low, high = torch.tensor(ratio, dtype=torch.float64).log()
    ratios = (low + (high - low) * ratio_u).exp()
    box_w = (areas * ratios).sqrt().round()  # (n, ATTEMPTS)
    box_h = (areas / ratios).sqrt().round()
    fits = (box_w >= 1) & (box_w <= widths) & (box_h >= 1) & (box_h <= heights)
    first = fits.int().argmax(dim=1, keepdim=True)  # the first attempt that fits
    box_w, box_h = box_w.gather(1, first)[:, 0], box_h.gather(1, first)[:, 0]

    heights, widths = heights[:, 0], widths[:, 0]
    top = ((heights - box_h + 1) * uniforms(seed, "crop-top", epoch, indices)).floor()
    left = ((widths - box_w + 1) * uniforms(seed, "crop-left", epoch, indices)).floor()
    boxes = torch.stack([top, left, box_h, box_w], dim=1)

    none_fits = ~fits.any(dim=1)
    centre_h = torch.minimum(heights, (widths / ratio[0]).round())
    centre_w = torch.minimum(widths, (heights * ratio[1]).round())
    centred = torch.stack(
        [((heights - centre_h) / 2).floor(), ((widths - centre_w) / 2).floor(), centre_h, centre_w],
        dim=1,
    )
    boxes = torch.where(none_fits[:, None], centred, boxes)
    return Crops(boxes, _draw_flips(indices, seed, epoch, flip))


def draw_shifts(
    sizes: Tensor, indices: Tensor, *, seed: int, epoch: int, padding: int, flip: bool
) -> Crops:
    """Full centre squares, padded and cropped back at a random position, as usual on CIFAR.

    Equals torchvision's ``RandomCrop(S, padding=padding)`` on an image of S pixels: a black border
    of ``padding`` pixels, then a window of S pixels anywhere inside (He et al., CVPR 2016, section
    4.2). Arguments as for `draw_crops`; ``padding`` is in pixels of the result.
    """
    shifts = torch.stack(
        [
            integers(2 * padding + 1, seed, f"shift-{axis}", epoch, indices) - padding
            for axis in ("down", "right")
        ],
        dim=1,
    )
    flips = _draw_flips(indices, seed, epoch, flip)
    return Crops(centre_crops(sizes, 1.0).boxes, flips, shifts)


def draw_squares(
    sizes: Tensor, indices: Tensor, *, seed: int, epoch: int, fraction: float, flip: bool
) -> Crops:
    """Squares at random positions, whose side is a fraction of the image's short side.

    With 224 / 256 this equals torchvision's ``Resize(256)`` and ``RandomCrop(224)``, or only
    ``RandomCrop(224)`` on images of 256 x 256 pixels. Arguments as for `draw_crops`.
    """
    whole = centre_crops(sizes, fraction)
    side = whole.boxes[:, 2]
    place = torch.stack(
        [uniforms(seed, f"square-{axis}", epoch, indices) for axis in ("down", "right")], dim=1
    )
    top_left = ((sizes.double() - side[:, None] + 1) * place).floor()
    boxes = torch.cat([top_left, whole.boxes[:, 2:]], dim=1)
    return Crops(boxes, _draw_flips(indices, seed, epoch, flip))


def _draw_flips(indices: Tensor, seed: int, epoch: int, flip: bool) -> Tensor:
    """(n,) bool: half of the images, or none."""
    return uniforms(seed, "flip", epoch, indices) < (0.5 if flip else 0.0)


def centre_crops(sizes: Tensor, fraction: float) -> Crops:
    """The centre square whose side is a fraction of the short side; no flips.

    With 0.875 this is the usual resize to 256 and centre crop to 224.
    """
    return placed_crops(sizes, fraction)


def placed_crops(
    sizes: Tensor, fraction: float, down: float = 0.5, right: float = 0.5, *, flip: bool = False
) -> Crops:
    """A square at the same relative position in each image.

    Args:
        sizes: (n, 2) height and width in pixels.
        fraction: Side, as a fraction of the image's short side.
        down: Position between the upper edge (0) and the lower edge (1).
        right: Position between the left edge (0) and the right edge (1).
        flip: Mirror left to right.
    """
    sizes = sizes.double()
    side = (sizes.amin(dim=1) * fraction).round().clamp(min=1)
    place = torch.tensor([down, right], dtype=torch.float64)
    top_left = ((sizes - side[:, None]) * place).floor()
    boxes = torch.cat([top_left, side[:, None], side[:, None]], dim=1)
    return Crops(boxes, torch.full((len(sizes),), flip))


def shrink_for(box: Tensor, side: int) -> float:
    """Factor by which decoding may shrink an image so that a box keeps ``side`` pixels per side."""
    return max(1.0, float(box[2:].min()) / side)


def crop_file_image(
    image: Image.Image,
    size: tuple[int, int],
    box: Tensor,
    flip: bool,
    side: int,
    shift: tuple[int, int] = (0, 0),
) -> Tensor:
    """Apply one crop to a decoded image, in a worker.

    Args:
        image: RGB, possibly decoded at a reduced size.
        size: Height and width of the original, to which the box refers.
        box: (4,) top, left, height, width.
        flip: Mirror left to right.
        side: S.
        shift: Pixels of the result by which the window moves down and right.

    Returns:
        (3, S, S) uint8.
    """
    top, left, height, width = box.tolist()
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
