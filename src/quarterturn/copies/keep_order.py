"""Which image of several copies is kept.

Shapes: n images.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from quarterturn.copies.whole_pictures import WholePictures
from quarterturn.data.file_table import in_threads
from quarterturn.data.image_file import FAILURES, UnreadableImageError, open_image
from quarterturn.data.imageset import FileImages
from quarterturn.errors import ConfigError
from quarterturn.progress import stage

LARGEST, OLDEST = "largest", "oldest"
"""Rules by their names; every other one is a folder."""
EXIF_DATE = "%Y:%m:%d %H:%M:%S"


def keep_order(pictures: WholePictures, rule: str = LARGEST) -> NDArray[np.int64]:
    """(n,) places of the images, those first that are rather kept.

    The largest is the one with the most pixels, then with the most bytes. The oldest is the one
    that was taken first, by EXIF, or else changed first, and then the largest. In a folder are
    those whose real path is below it, then the largest of them, then the largest of all. Of equal
    ones the shorter name comes first (``1.jpg`` before ``1 (copy).jpg``), then the collection's
    order.

    Args:
        pictures: The images.
        rule: ``largest``, ``oldest``, or a folder.

    Raises:
        ConfigError: There is no such folder, or no image in it.
    """
    lengths = np.array([len(name) for name in pictures.names], np.int64)
    largest = [lengths, -pictures.num_bytes, -pictures.sizes.prod(axis=1)]
    if rule == LARGEST:
        return np.lexsort(largest)
    if rule == OLDEST:
        return np.lexsort([*largest, _taken(pictures)])
    return np.lexsort([*largest, ~is_below(pictures, Path(rule))])


def is_below(pictures: WholePictures, folder: Path) -> NDArray[np.bool_]:
    """(n,) whether the file of an image is below a folder.

    Raises:
        ConfigError: There is no such folder, or no image in it.
    """
    if not folder.expanduser().is_dir():
        raise ConfigError(
            f"--keep {folder} is no folder: expected largest, oldest, or a folder whose images are "
            "kept"
        )
    start = os.path.join(os.path.realpath(folder.expanduser()), "")
    found = np.array([f is not None and f.startswith(start) for f in pictures.real_files], bool)
    if not found.any():
        raise ConfigError(
            f"--keep {folder} holds none of the images: expected a folder within "
            f"{pictures.source.name}"
        )
    return found


def _taken(pictures: WholePictures) -> NDArray[np.float64]:
    """(n,) when each photo was taken, in seconds: by EXIF, or else when its file was changed."""
    changed_s = pictures.modified_ns / 1e9
    with stage("dates", total=len(pictures)) as bar:
        for place, date in enumerate(_dates(pictures)):
            if date is not None:
                changed_s[place] = date
            bar.advance()
    return changed_s


def _dates(pictures: WholePictures) -> Iterable[float | None]:
    def date(place: int) -> float | None:
        images = pictures.images(place)
        if not isinstance(images, FileImages):
            return None
        try:
            with open_image(images.encoded(int(pictures.indices[place]))) as image:
                return date_taken(image)
        except (UnreadableImageError, *FAILURES):
            return None

    return in_threads(date, range(len(pictures)))


def date_taken(image: Image.Image) -> float | None:
    """When a photo was taken, by EXIF, in seconds as of local time; None where it does not say."""
    exif = image.getexif()
    words = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.DateTimeOriginal)
    words = words or exif.get(ExifTags.Base.DateTime)
    try:
        return datetime.strptime(str(words).strip("\0 "), EXIF_DATE).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
