"""Thumbnails: the centre crop that the network sees, upright."""

from __future__ import annotations

from PIL import Image

from quarterturn.config import DataConfig
from quarterturn.data.crop_plans import evaluation_crops
from quarterturn.data.crops import Box, crop_file_image, shrink_for
from quarterturn.data.image_file import Size, UnreadableImageError
from quarterturn.data.imageset import ImageSet

THUMBNAIL_SIDE = 128
"""Pixels; shown at about 96, so that fine screens have something to show."""


def thumbnail(images: ImageSet, index: int, crop: DataConfig) -> Image.Image:
    """The centre crop of an image, about `THUMBNAIL_SIDE` pixels a side.

    Crops that the network sees smaller keep the pixels it sees, enlarged.
    """
    side = min(crop.image_size, THUMBNAIL_SIDE)

    def box(size: Size) -> Box:
        return evaluation_crops(1, crop).boxes.box(0, size)

    try:
        image, size = images.read_sized(index, lambda size: shrink_for(box(size), side))
    except UnreadableImageError:  # it was read a moment ago; a grey square shows that it is gone
        return Image.new("RGB", (THUMBNAIL_SIDE, THUMBNAIL_SIDE), "grey")
    pixels = crop_file_image(image, size, box(size), False, side)
    small = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    enlarged = side * max(1, round(THUMBNAIL_SIDE / side))
    return small.resize((enlarged, enlarged), Image.Resampling.NEAREST)
