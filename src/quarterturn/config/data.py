"""Which images, and how they are shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from quarterturn.config.bounds import (
    CountOrZero,
    Fraction,
    FractionBelowOne,
    ImageCount,
    Positive,
    PositiveFraction,
    Side,
)
from quarterturn.config.options import COMMON
from quarterturn.config.shared import ImageFileOptions, SampleOptions
from quarterturn.config.validation import flag, require

Resampling = Literal["none", "balanced", "effective-number"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DataConfig(SampleOptions, ImageFileOptions):
    """Which images, and how they are cropped."""

    holdout: FractionBelowOne = 0.05
    """Fraction held out where the data has no val or test split of its own: by pretrain for
    diagnostics (at most --diagnostics-images; 0 for none), by finetune of each class, by --seed, to
    be tested on."""
    diagnostics_images: ImageCount | Literal["all"] = 1000
    """Held-out images that pretrain measures on at most, of the val or test split too; all is for
    the figures of papers, and costs time at each measurement."""
    verify: bool = False
    """Decode every file in full before the training starts, not only its header."""
    image_size: Annotated[Side, COMMON] = 128
    """Side of the square crops, in pixels."""
    crop_scale: tuple[PositiveFraction, PositiveFraction] = (0.2, 1.0)
    """A random crop covers between these fractions of an image's area."""
    crop_ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    """A random crop's width over height lies between these."""
    crop_padding: CountOrZero = 0
    """In place of random resized crops, pad the centre square by N black pixels and crop it
    back at a random place, as is usual on CIFAR; 0 for random resized crops."""
    crop_fraction: Fraction = 0.0
    """In place of random resized crops, a square of this fraction of the short side at a random
    place: 0.875 is the usual resize to 256 and crop of 224; 0 for random resized crops."""
    crop_pixels: tuple[Positive, Positive] | None = None
    """In place of random resized crops, a square at a random place in which a pixel of the crop
    covers between these many pixels of the image along a side, as far as the image is large enough;
    resized without antialiasing (Krähenbühl et al. 2016)."""
    fixed_crop: CountOrZero = 0
    """In place of random resized crops, and of --eval-crop, a square of this many pixels of the
    image, however large it is: at a random place, and in the centre in evaluation; 224 at
    --image-size 224 is a crop without a resize. Smaller images give their largest square."""
    flip: bool = True
    """Mirror half of the crops, left to right."""
    eval_crop: PositiveFraction = 0.875
    """Side of the centre crop used in evaluation, as a fraction of an image's short side."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Red, green and blue mean, of values in [0, 1]."""
    std: tuple[Positive, Positive, Positive] = IMAGENET_STD
    """Red, green and blue standard deviation, of values in [0, 1]."""

    def check(self) -> None:
        """Refuse values that do not go together; see `quarterturn.config.validation`."""
        low, high = self.crop_scale
        require(low <= high, "crop_scale", self.crop_scale, "the smaller number first")
        low, high = self.crop_ratio
        require(low <= high, "crop_ratio", self.crop_ratio, "the smaller number first")
        require(
            self.crop_padding < self.image_size,
            "crop_padding",
            self.crop_padding,
            f"0 to below --image-size {self.image_size}",
        )
        if self.crop_pixels is not None:
            low, high = self.crop_pixels
            require(low <= high, "crop_pixels", self.crop_pixels, "the smaller number first")
        ways = ("crop_padding", "crop_fraction", "crop_pixels", "fixed_crop")
        given = [way for way in ways if getattr(self, way)]
        for way in given[1:]:
            nothing = "none" if way == "crop_pixels" else "0"
            wish = f"{nothing} with {flag(given[0])}: one way to crop"
            require(False, way, getattr(self, way), wish)

    @property
    def centre_crop(self) -> float | str:
        """What evaluation crops, for the record: the fraction of the short side, or pixels."""
        return f"{self.fixed_crop} pixels" if self.fixed_crop else self.eval_crop
