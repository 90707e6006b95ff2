"""Pictures with known contents, and files of them that are whole or broken in a known way."""

import struct
from pathlib import Path

import numpy as np
from PIL import Image

from quarterturn.data.imageset import FileImages
from quarterturn.data.sources import open_source

ORIENTATION = 0x0112


def photo(seed: int, height: int = 40, width: int = 52) -> np.ndarray:
    """A smooth picture: (height, width, 3) uint8, another one for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(smooth)


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def save_photo(path: Path, seed: int, height: int = 40, width: int = 52) -> Path:
    return save(path, photo(seed, height, width))


def save_photos(root: Path, n: int) -> FileImages:
    """n photos of different sizes, PNG and JPEG, in two class folders."""
    for i in range(n):
        suffix = "jpg" if i % 3 == 0 else "png"
        save_photo(root / "ab"[i % 2] / f"{i:02d}.{suffix}", i, 30 + i % 7, 50 - i % 11)
    return open_source(str(root)).train


def truncate(path: Path, keep: float = 0.5) -> Path:
    """Cut a file short; its header stays."""
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    return path


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """What a camera stores: by the EXIF standard's account of row 0 and column 0.

    Orientation 6, for one, has the picture's right side in row 0 and its top in column 0.
    """
    height, width = upright.shape[:2]
    across = orientation >= 5  # rows are the picture's left and right sides
    rows, columns = (width, height) if across else (height, width)
    pixels = np.empty((rows, columns, *upright.shape[2:]), upright.dtype)
    for r in range(rows):
        for c in range(columns):
            y, x = (c, r) if across else (r, c)
            if orientation in (3, 4, 7, 8):
                y = height - 1 - y
            if orientation in (2, 3, 6, 7):
                x = width - 1 - x
            pixels[r, c] = upright[y, x]
    return pixels


def damaged_exif(orientation: int) -> bytes:
    """An EXIF block whose second entry, the unit of the resolution, is text instead of a number."""
    entries = [(ORIENTATION, 3, 1, struct.pack("<HH", orientation, 0)), (0x0128, 2, 4, b"cut\0")]
    packed = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + packed + bytes(4)
