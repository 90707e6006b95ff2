"""The evaluation's preprocessing of one image, for use outside our loaders."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from quarterturn.config import DataConfig
from quarterturn.data.crop_plans import evaluation_crops
from quarterturn.data.crops import Box, crop_file_image, shrink_for
from quarterturn.data.image_file import (
    Decoding,
    Size,
    UnreadableImageError,
    read_upright,
    upright_rgb,
)
from quarterturn.data.normalisation import Normalise
from quarterturn.data.wide_values import Levels
from quarterturn.errors import DataError


class EvaluationTransform:
    """The centre crop of an image, resized and normalised, as in probes and embeddings.

    A path gives exactly the evaluation's tensor. A Pillow image may differ from it by some grey
    levels, since the evaluation decodes large JPEGs at a half or less of their size. The EXIF
    orientation is applied.

    Args:
        crop: Crop and normalisation settings.
    """

    def __init__(self, crop: DataConfig) -> None:
        self.crop = crop
        # A white point found in a sample belongs to that collection, not to any image.
        levels = None if crop.white is None else Levels(0, crop.white, is_given=True)
        self._decoding = Decoding(levels, crop.max_pixels)

    def __call__(self, image: Image.Image | Path | str) -> Tensor:
        """An image to (3, S, S) float32.

        Raises:
            DataError: The path is not that of a complete image.
        """
        side = self.crop.image_size
        if isinstance(image, Image.Image):
            pixels = upright_rgb(image, self._decoding.levels)
            size = (pixels.height, pixels.width)
        else:
            try:
                pixels, size = read_upright(
                    Path(image), lambda size: shrink_for(self._box(size), side), self._decoding
                )
            except UnreadableImageError as error:
                raise DataError(f"{image} cannot be read as an image: {error}") from error
        cropped = crop_file_image(pixels, size, self._box(size), False, side)
        return Normalise(self.crop, torch.device("cpu"))(cropped[None])[0]

    def __repr__(self) -> str:
        crop = self.crop
        return (
            f"EvaluationTransform(image_size={crop.image_size}, eval_crop={crop.centre_crop}, "
            f"mean={crop.mean}, std={crop.std})"
        )

    def _box(self, size: Size) -> Box:
        return evaluation_crops(1, self.crop).boxes.box(0, size)
