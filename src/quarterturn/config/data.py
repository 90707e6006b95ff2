"""Which images, and how they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from quarterturn.config.require import require

LongTail = Literal["exponential", "step"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DataConfig:
    """Which images, and how they are cropped."""

    limit: int | None = None
    """Use this many images, drawn once by a fixed seed; all by default."""
    long_tail: float | None = None
    """Cut the training images to a long tail: the rarest class keeps this fraction of the most
    frequent one's images. Reads labels."""
    long_tail_kind: LongTail = "exponential"
    """How the classes of a long tail thin out: from one to the next, or all of the second half at
    once."""
    holdout: float = 0.05
    """Fraction kept out of the training for diagnostics (at most 1,000 images), where the data
    has no val or test split of its own; 0 keeps none."""
    max_bad_fraction: float = 0.05
    """Stop when more than this fraction of the image files cannot be read."""
    verify: bool = False
    """Decode every file in full before the training starts, not only its header."""
    image_size: int = 128
    """Side of the square crops, in pixels."""
    crop_scale: tuple[float, float] = (0.2, 1.0)
    """A random crop covers between these fractions of an image's area."""
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """A random crop's width over height lies between these."""
    crop_padding: int = 0
    """Instead of random resized crops, pad the centre square by so many black pixels and crop it
    back at a random place, as is usual on CIFAR; 0 for random resized crops."""
    crop_fraction: float = 0.0
    """Instead of random resized crops, a square of this fraction of the short side at a random
    place: 0.875 is the usual resize to 256 and crop of 224; 0 for random resized crops."""
    flip: bool = True
    """Mirror half of the crops, left to right."""
    eval_crop: float = 0.875
    """Side of the centre crop used in evaluation, as a fraction of an image's short side."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Red, green and blue mean, of values in [0, 1]."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Red, green and blue standard deviation, of values in [0, 1]."""

    def check(self) -> None:
        """Refuse values that cannot work; see `Config.check`."""
        require(self.limit is None or self.limit >= 8, "limit", self.limit, "at least 8 images")
        require(
            self.long_tail is None or 0 < self.long_tail <= 1,
            "long-tail",
            self.long_tail,
            "a fraction above 0, up to 1",
        )
        require(0 <= self.holdout < 1, "holdout", self.holdout, "a fraction from 0 to below 1")
        require(
            0 <= self.max_bad_fraction <= 1, "max-bad-fraction", self.max_bad_fraction, "0 to 1"
        )
        require(self.image_size >= 8, "image-size", self.image_size, "at least 8 pixels")
        require(0 < self.eval_crop <= 1, "eval-crop", self.eval_crop, "a fraction above 0, up to 1")
        low, high = self.crop_scale
        require(0 < low <= high <= 1, "crop-scale", self.crop_scale, "0 < low <= high <= 1")
        low, high = self.crop_ratio
        require(0 < low <= high, "crop-ratio", self.crop_ratio, "0 < low <= high")
        require(
            0 <= self.crop_padding < self.image_size,
            "crop-padding",
            self.crop_padding,
            f"0 to below --image-size {self.image_size}",
        )
        require(
            0 <= self.crop_fraction <= 1, "crop-fraction", self.crop_fraction, "a fraction, or 0"
        )
        require(
            not (self.crop_fraction and self.crop_padding),
            "crop-fraction",
            self.crop_fraction,
            "0 with --crop-padding: one way to crop",
        )
        require(min(self.std) > 0, "std", self.std, "three positive numbers")
