"""Thumbnails: the centre crop that the network sees, upright."""

from __future__ import annotations

from PIL import Image

from quarterturn.config import DataConfig
from quarterturn.data.crop_plans import centre_crops
from quarterturn.data.crops import crop_file_image, shrink_for
from quarterturn.data.image_file import UnreadableImageError
from quarterturn.data.imageset import ImageSet

THUMBNAIL_SIDE = 128
"""Pixels; shown at about 96, so that fine screens have something to show."""


def thumbnail(images: ImageSet, index: int, crop: DataConfig) -> Image.Image:
    """The centre crop of an image, about `THUMBNAIL_SIDE` pixels a side.

    Crops that the network sees smaller keep the pixels it sees, enlarged.
    """
    side = min(crop.image_size, THUMBNAIL_SIDE)
    size = images.sizes[index : index + 1]
    box = centre_crops(1, crop.eval_crop).crops(size).boxes[0]
    height, width = size[0].tolist()
    try:
        image = images.read(index, shrink=shrink_for(box, side))
    except UnreadableImageError:  # it was read a moment ago; a grey square shows that it is gone
        return Image.new("RGB", (THUMBNAIL_SIDE, THUMBNAIL_SIDE), "grey")
    pixels = crop_file_image(image, (height, width), box, False, side)
    small = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    enlarged = side * max(1, round(THUMBNAIL_SIDE / side))
    return small.resize((enlarged, enlarged), Image.Resampling.NEAREST)
