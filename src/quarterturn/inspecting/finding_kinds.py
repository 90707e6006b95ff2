"""The kinds of things that `doctor` finds, each with what it means for a training."""

from __future__ import annotations

from dataclasses import dataclass

from quarterturn.data.sources import MIN_IMAGES


@dataclass(frozen=True)
class Kind:
    """Something to be found in images.

    Attributes:
        name: In the csv file and the JSON.
        title: In tables.
        meaning: Why it matters, and what to do, in a sentence or two.
        is_note: Whether it is only noted, however rare.
        may_be_usual: Whether it is only noted where many images have it.
        of_images: Whether images are counted; else files, or classes.
    """

    name: str
    title: str
    meaning: str
    is_note: bool = False
    may_be_usual: bool = False
    of_images: bool = True


UNREADABLE = Kind(
    "unreadable",
    "cannot be read",
    "Left out of every training; the reason stands beside each. Copy them again or remove them.",
    of_images=False,
)
ACROSS = Kind(
    "in-two-splits",
    "in two splits",
    "The same picture is learned from and tested on: scores come out too high. Keep one of each.",
)
RELABELLED = Kind(
    "two-labels",
    "one picture, two labels",
    "Copies of one image have different labels, of which all but one must be wrong.",
)
TOO_FEW = Kind(
    "too-few",
    "too few images",
    f"A training needs at least {MIN_IMAGES} images that can be read.",
    of_images=False,
)
UNTRAINED_CLASS = Kind(
    "class-not-in-train",
    "class without training images",
    "A class that is tested and never learned. Add images, or leave it out (--leave-out-empty).",
    of_images=False,
)
UNTESTED_CLASS = Kind(
    "class-not-in-test",
    "class without test images",
    "A class that is learned and never tested: no score says anything about it.",
    of_images=False,
)
UNSUPPORTED_FILE = Kind(
    "unsupported",
    "format is not read",
    "Images in a format that is not read here, which are left out. Convert them to PNG, TIFF or "
    "JPEG; for HEIC: pip install 'quarterturn[heic]'.",
    of_images=False,
)
WITHIN = Kind(
    "duplicate",
    "exact copy",
    "The same bytes as another image of the split: it counts twice. Keep one of each.",
)
BLANK = Kind("blank", "blank", "Nearly one colour: there is nothing to learn from it.")
DARK = Kind(
    "dark", "very dark", "99 % of the pixels are nearly black; brighten or remove.", False, True
)
BLURRED = Kind(
    "blurred",
    "blurred",
    "Without detail even at a short side of 256 px; look whether it is out of focus.",
    False,
    True,
)
SMALL_IMAGE = Kind(
    "small",
    "much too small",
    "Less than half of --image-size: enlarged more than twice, so a network sees only blur.",
    False,
    True,
)
LONG_IMAGE = Kind(
    "long",
    "extreme shape",
    "More than four times as long as wide: crops show only a part of it. Cut it to pieces.",
    False,
    True,
)
ANIMATED = Kind(
    "animated",
    "several frames",
    "Only the first frame or page is read. Write the others to files of their own if they matter.",
    False,
    True,
)
TURNED = Kind("exif-turned", "turned by EXIF", "Their orientation is applied on reading.", True)
GREY = Kind("grey", "grey", "Read as colour images with three equal channels.", True)
WIDE = Kind(
    "16-bit", "more than 8 bits", "Scaled to 8 bits by the white point (--white sets it).", True
)
CMYK = Kind("cmyk", "CMYK", "Converted to RGB without a colour profile.", True)
TRANSPARENT = Kind("transparent", "transparency", "Transparent pixels become white.", True)
PALETTE = Kind("palette", "palette", "Converted to RGB.", True)
