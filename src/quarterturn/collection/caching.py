"""``quarterturn cache``: decode a collection once.

An interrupted cache is continued by the same command: images are written in order, and a row for
each image is written after its pixels.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from quarterturn.collection.options import CacheOptions
from quarterturn.config.options import take_options
from quarterturn.data.image_file import Size, UnreadableImageError
from quarterturn.data.imageset import FileImages, ImageSet
from quarterturn.data.pixel_cache import (
    ABOUT,
    CHANNELS,
    FORMAT,
    HEIGHT,
    NUM_COLUMNS,
    PIXELS,
    ROWS,
    is_cache,
)
from quarterturn.data.sources import Source, open_source
from quarterturn.errors import ConfigError, OutputError
from quarterturn.files import explained, write_json
from quarterturn.kept_files import read_object
from quarterturn.progress import stage
from quarterturn.runs.closing import log_closing, log_unreadable

logger = logging.getLogger(__name__)

UNFINISHED = "unfinished.json"
"""What an unfinished cache is of; ``cache.json`` takes its place in the end."""
KEPT_EVERY = 256
"""Images after which what is written is flushed to the disk, so that it need not be made again."""
NUM_TIMED = 16
"""Images decoded beforehand, to tell how long it will take."""
RESERVE = 1.05
"""Of the estimated size; the images that it was estimated from are a sample."""

Decoded = NDArray[np.uint8] | str


def cache(
    data: Path | str,
    options: CacheOptions | None = None,
    **fields: Any,
) -> Path:
    """Decode every image of a collection once, upright and reduced, into a folder that is DATA.

    Args:
        data: DATA; all of its splits are decoded.
        options: Where, and in what size; ``out`` has no default.
        **fields: Fields of `CacheOptions`, in place of ``options`` or of some of its values.

    Returns:
        The folder; give it as DATA to any command.

    Raises:
        ConfigError: There is something else in its place.
        DataError: There are no images, or too many that cannot be read.
        OutputError: It would not fit on the disk, or the disk is full; the same command continues.
    """
    options = take_options(CacheOptions, options, fields)
    source = open_source(str(data), min_images=1, **options.reading)
    source.log_summary(uses_all=True)
    splits = source.all_splits
    about = {
        "format": FORMAT,
        "name": source.name,
        "side": options.side,
        "white": options.white,
        "fingerprints": {split: images.fingerprint() for split, images in splits.items()},
    }
    out = options.out
    done = _prepare(out, about, overwrite=options.overwrite)
    left = _left(splits, done)
    if left:
        _announce(out, source, left, options)
    unreadable = _decode(out, source, left, done, options)
    write_json(out / ABOUT, about | {"splits": _described(splits)})
    (out / UNFINISHED).unlink()
    log_unreadable(unreadable)
    size = (out / PIXELS).stat().st_size / 1e9
    num_images = sum(map(len, splits.values())) - len(unreadable)
    log_closing(
        f"{num_images:,} images of {options.side} px, {size:,.2f} GB",
        {"cache": out},
        [("pretrain", out)],
    )
    return out


def _prepare(out: Path, about: dict[str, Any], *, overwrite: bool) -> int:
    """Make the folder, or cut an unfinished cache back to what is whole.

    Returns:
        The number of images that are in it.
    """
    is_ours = is_cache(out) or (out / UNFINISHED).is_file()
    if overwrite and is_ours:
        shutil.rmtree(out)
    elif is_cache(out):
        raise ConfigError(f"{out} exists; choose another --out, or give --overwrite")
    elif (out / UNFINISHED).is_file():
        if read_object(out / UNFINISHED) != about:
            raise ConfigError(
                f"{out} is an unfinished cache of other images, or of another size; choose another "
                "--out, or give --overwrite"
            )
        return _cut_back(out)
    elif out.exists():
        raise ConfigError(f"{out} exists and is no cache; choose another --out")
    with explained(out):
        out.mkdir(parents=True)
    write_json(out / UNFINISHED, about)
    return 0


def _cut_back(out: Path) -> int:
    """Drop what a kill left half written; returns the number of whole images."""
    for name in (PIXELS, ROWS):
        (out / name).touch()
    num_whole = os.path.getsize(out / ROWS) // (8 * NUM_COLUMNS)
    rows = np.fromfile(out / ROWS, np.int64, num_whole * NUM_COLUMNS).reshape(-1, NUM_COLUMNS)
    ends = (rows[:, HEIGHT] * rows[:, HEIGHT + 1]).cumsum() * CHANNELS
    fits = int(np.searchsorted(ends, os.path.getsize(out / PIXELS), side="right"))
    os.truncate(out / ROWS, fits * 8 * NUM_COLUMNS)
    os.truncate(out / PIXELS, int(ends[fits - 1]) if fits else 0)
    return fits


def _left(splits: dict[str, ImageSet], done: int) -> list[tuple[str, int]]:
    """Split and number of each image that is not in the cache yet, in order."""
    every = [(split, index) for split, images in splits.items() for index in range(len(images))]
    return every[done:]


def _announce(
    out: Path, source: Source, left: list[tuple[str, int]], options: CacheOptions
) -> None:
    """Log size and time before it starts, measured on a sample.

    Raises:
        OutputError: The disk has no room for it.
    """
    numbers = np.unique(np.linspace(0, len(left) - 1, NUM_TIMED).astype(int))
    dataset = _Reduced(source.all_splits, [left[number] for number in numbers], options.side)
    start_s = time.perf_counter()
    sample = [dataset[number] for number in range(len(dataset))]
    elapsed_s = (time.perf_counter() - start_s) / len(sample) * len(left)
    elapsed_s /= max(1, options.num_workers)
    sizes = [pixels.nbytes for pixels in sample if not isinstance(pixels, str)]
    needed = (float(np.mean(sizes)) if sizes else 0.0) * len(left)
    logger.info(
        f"{len(left):,} images to decode: about {needed / 1e9:,.2f} GB, and about "
        f"{max(1, round(elapsed_s / 60)):,} min with {options.num_workers} workers"
    )
    free = shutil.disk_usage(out).free
    if needed * RESERVE > free:
        raise OutputError(
            f"{out} needs about {needed * RESERVE / 1e9:,.2f} GB, and {free / 1e9:,.2f} GB are "
            "free: make room, choose another --out, or a smaller --side"
        )


def _decode(
    out: Path, source: Source, left: list[tuple[str, int]], done: int, options: CacheOptions
) -> dict[str, str]:
    """Decode the images that are left; returns those that cannot be, with the reason."""
    splits = source.all_splits
    dataset = _Reduced(splits, left, options.side)
    unreadable = _unreadable_before(out, splits, done)
    num_images = sum(map(len, splits.values()))
    with (
        stage("images", total=num_images) as bar,
        explained(out / PIXELS),
        open(out / PIXELS, "ab") as pixels,
        open(out / ROWS, "ab") as rows,
    ):
        bar.skip(done)
        for number, decoded in enumerate(_in_order(dataset, options.num_workers), start=1):
            row = np.zeros(NUM_COLUMNS, np.int64)
            if isinstance(decoded, str):
                split, index = left[number - 1]
                unreadable[source.file_of(split, splits[split].names[index])] = decoded
                source.check_failures(unreadable, num_images, options.max_bad_fraction)
            else:
                contents = decoded.tobytes()
                row[:] = pixels.tell(), *decoded.shape[:2], zlib.crc32(contents)
                pixels.write(contents)
            rows.write(row.tobytes())
            if number % KEPT_EVERY == 0 or number == len(left):
                for file in (pixels, rows):  # a row never reaches the disk before its pixels
                    file.flush()
                    os.fsync(file.fileno())
            bar.advance()
    return unreadable


def _unreadable_before(out: Path, splits: dict[str, ImageSet], done: int) -> dict[str, str]:
    """The images among the first ``done`` that could not be decoded."""
    if not done:
        return {}
    rows = np.fromfile(out / ROWS, np.int64).reshape(-1, NUM_COLUMNS)
    names = [name for images in splits.values() for name in images.names]
    reason = "could not be decoded before the interruption"
    return {names[row]: reason for row in np.flatnonzero(rows[:, HEIGHT] == 0).tolist()}


def _described(splits: dict[str, ImageSet]) -> dict[str, Any]:
    """Names and labels of each split; unreadable images have a row and so a name too."""
    return {
        split: {
            "names": list(images.names),
            "paths": _real_paths(images),
            "labels": None if images.labels is None else images.labels.tolist(),
            "label_sets": None if images.label_sets is None else images.label_sets.tolist(),
            "class_names": images.class_names,
            "unlabelled": images.unlabelled,
        }
        for split, images in splits.items()
    }


def _real_paths(images: ImageSet) -> list[str] | None:
    if not isinstance(images, FileImages):
        return None
    return [images.identity(index, "") for index in range(len(images))]


class _Reduced(Dataset[Decoded]):
    """Images decoded, upright, and reduced to a short side; or why they cannot be decoded."""

    def __init__(
        self, splits: dict[str, ImageSet], places: list[tuple[str, int]], side: int
    ) -> None:
        self.splits, self.places, self.side = splits, places, side

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> Decoded:
        split, index = self.places[number]

        def shrink(size: Size) -> float:
            return max(1.0, min(size) / self.side)

        try:
            image, (height, width) = self.splits[split].read_sized(index, shrink)
        except UnreadableImageError as error:
            return str(error)
        scale = self.side / min(height, width)
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            image = image.resize(size, Image.Resampling.BILINEAR)
        return np.array(image)


def _in_order(dataset: _Reduced, workers: int) -> Iterator[Decoded]:
    loader = DataLoader(
        dataset,
        batch_size=None,
        num_workers=workers,
        collate_fn=_as_it_is,
        # torch would draw a base seed from the global generator, which must not change here.
        generator=torch.Generator().manual_seed(0),
    )
    return iter(loader)


def _as_it_is(decoded: Any) -> Any:
    return decoded
