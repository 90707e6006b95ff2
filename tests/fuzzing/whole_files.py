"""Small whole files of every kind that the readers take."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ..data.pictures import oriented, photo

STATE = {"network": {"weights": torch.linspace(-1, 1, 48).view(6, 8)}, "step": 7, "note": "whole"}
NUM_LISTED = 10


def images() -> list[tuple[str, bytes]]:
    """Suffix and content of files of nine formats, oriented, grey and wide ones among them."""
    grey = photo(1)[..., 0]
    made = [("jpg", Image.fromarray(photo(0)), {"exif": oriented(6)})]
    made += [(suffix, Image.fromarray(photo(0)), {}) for suffix in ("png", "webp", "bmp", "jp2")]
    made += [("tif", Image.fromarray(photo(0)), {"compression": "tiff_lzw"})]
    made += [("gif", Image.fromarray(grey), {}), ("ppm", Image.fromarray(photo(0)), {})]
    made += [("png", Image.fromarray(grey.astype(np.uint16) * 257), {"exif": oriented(8)})]
    made += [("tif", Image.fromarray(grey.astype(np.int16) - 100), {})]
    formats = {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}
    files = []
    for suffix, image, options in made:
        buffer = io.BytesIO()
        image.save(buffer, formats.get(suffix, suffix.upper()), **options)
        files.append((suffix, buffer.getvalue()))
    return files


def manifests() -> list[bytes]:
    """Lists of the images 0.png to 9.png: with commas and semicolons, labels and splits."""
    rows = [f"{i}.png,kind {i % 2},{'test' if i > 7 else 'train'}" for i in range(NUM_LISTED)]
    with_commas = "\n".join(["path,label,split", *rows]).encode()
    names = "\n".join(["path", *(f"{i}.png" for i in range(NUM_LISTED))]).encode("utf-8-sig")
    return [with_commas, with_commas.replace(b",", b";"), names]


def arrays() -> list[bytes]:
    """Images and labels in two splits, stored and compressed."""
    random = np.random.default_rng(3)
    held = {}
    for split, number in (("train", 10), ("test", 4)):
        held[f"{split}_images"] = random.integers(0, 256, (number, 8, 8, 3), dtype=np.uint8)
        held[f"{split}_labels"] = np.arange(number) % 2
    writers: list[Callable[..., None]] = [np.savez, np.savez_compressed]
    return [_written(write, **held) for write in writers]


def checkpoint() -> bytes:
    """The state of a tiny network."""
    buffer = io.BytesIO()
    torch.save(STATE, buffer)
    return buffer.getvalue()


def write_listed(folder: Path) -> None:
    """The images that the manifests name."""
    for i in range(NUM_LISTED):
        Image.fromarray(photo(i, 12, 14)).save(folder / f"{i}.png")


def _written(write: Callable[..., None], **held: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    write(buffer, **held)
    return buffer.getvalue()
