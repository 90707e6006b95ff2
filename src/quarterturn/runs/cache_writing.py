"""Decode a collection into a cache, which can be interrupted at any moment.

An interrupted cache is continued by the same call: images are written in order, and a row for each
image is written after its pixels.
"""

from __future__ import annotations

import io
import logging
import os
import shutil
import time
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from quarterturn.data.image_file import Size, UnreadableImageError
from quarterturn.data.imageset import ArrayImages, FileImages, ImageSet
from quarterturn.data.pixel_cache import (
    ABOUT,
    BYTES,
    FORMAT,
    HEIGHT,
    NUM_COLUMNS,
    PIXELS,
    ROWS,
    CacheOrigin,
    is_cache,
)
from quarterturn.data.source import Source
from quarterturn.errors import ConfigError, OutputError
from quarterturn.files import explained, write_json
from quarterturn.kept_files import read_object
from quarterturn.progress import stage
from quarterturn.runs.lock import FILE as LOCK
from quarterturn.runs.lock import locked

logger = logging.getLogger(__name__)

UNFINISHED = "unfinished.json"
"""What an unfinished cache is of; ``cache.json`` takes its place in the end."""
KEPT_EVERY = 256
"""Images after which what is written is flushed to the disk, so that it need not be made again."""
NUM_TIMED = 16
"""Images decoded beforehand, to tell how long it will take."""
RESERVE = 1.05
"""Of the estimated size; the images that it was estimated from are a sample."""


@dataclass(frozen=True)
class Decoded:
    """One image as it is stored.

    Attributes:
        size: Height and width.
        contents: Its pixels, or a JPEG of them.
    """

    size: Size
    contents: bytes


def fingerprints_of(source: Source) -> dict[str, str]:
    """The fingerprint of every split."""
    return {split: images.fingerprint() for split, images in source.all_splits.items()}


def write_cache(
    source: Source,
    origin: CacheOrigin,
    out: Path,
    *,
    white: int | None,
    workers: int,
    max_bad_fraction: float,
    overwrite: bool = False,
) -> dict[str, str]:
    """Decode every image of a source into a folder.

    Args:
        source: The images; all of its splits are decoded.
        origin: Where they are from, and in what form they are stored.
        out: A new folder, or an unfinished cache of the same images, which is continued.
        white: ``--white`` that the source was opened with.
        workers: Processes that decode.
        max_bad_fraction: Largest share of files that may be unreadable.
        overwrite: Replace a cache that is there.

    Returns:
        The files that could not be decoded, with the reason.

    Raises:
        ConfigError: There is something else in its place.
        CheckpointError: Another command writes to it.
        DataError: Too many files cannot be read.
        OutputError: It would not fit on the disk, or the disk is full; the same call continues.
    """
    about = {
        "format": FORMAT,
        "name": source.name,
        "white": white,
        "fingerprints": fingerprints_of(source),
        **asdict(origin),
    }
    splits = source.all_splits
    _make_folder(out, overwrite=overwrite)
    with locked(out):
        done = _prepare(out, about)
        left = _left(splits, done)
        if left:
            _announce(out, source, left, origin, workers)
        unreadable = _decode(out, source, left, done, origin, workers, max_bad_fraction)
        described = {"splits": _described(splits), "unreadable": unreadable}
        write_json(out / ABOUT, about | described)
        (out / UNFINISHED).unlink()
    return unreadable


def _make_folder(out: Path, *, overwrite: bool) -> None:
    """Make the folder, or refuse one that is not ours to write to."""
    if is_cache(out):
        if not overwrite:
            raise ConfigError(f"{out} exists; choose another --out, or give --overwrite")
    elif not (out / UNFINISHED).is_file() and not _is_empty(out):
        raise ConfigError(f"{out} exists and is no cache; choose another --out")
    with explained(out):
        out.mkdir(parents=True, exist_ok=True)
    if overwrite:
        with locked(out):
            for name in (ABOUT, UNFINISHED, ROWS, PIXELS):  # no cache from the first of them on
                (out / name).unlink(missing_ok=True)


def _is_empty(out: Path) -> bool:
    """Whether nothing is there, but perhaps the lock of a command that was killed at its start."""
    return not out.exists() or (out.is_dir() and {path.name for path in out.iterdir()} <= {LOCK})


def _prepare(out: Path, about: dict[str, Any]) -> int:
    """Begin a cache, or cut an unfinished one back to what is whole.

    Returns:
        The number of images that are in it.
    """
    if not (out / UNFINISHED).is_file():
        write_json(out / UNFINISHED, about)
        return 0
    # Where the images are does not matter: they may have moved meanwhile.
    if read_object(out / UNFINISHED) | {"data": about["data"]} != about:
        raise ConfigError(
            f"{out} is an unfinished cache of other images, or of another size or quality; choose "
            "another --out, or give --overwrite"
        )
    return _cut_back(out)


def _cut_back(out: Path) -> int:
    """Drop what a kill left half written; returns the number of whole images."""
    for name in (PIXELS, ROWS):
        (out / name).touch()
    num_whole = os.path.getsize(out / ROWS) // (8 * NUM_COLUMNS)
    rows = np.fromfile(out / ROWS, np.int64, num_whole * NUM_COLUMNS).reshape(-1, NUM_COLUMNS)
    ends = rows[:, BYTES].cumsum()
    fits = int(np.searchsorted(ends, os.path.getsize(out / PIXELS), side="right"))
    os.truncate(out / ROWS, fits * 8 * NUM_COLUMNS)
    os.truncate(out / PIXELS, int(ends[fits - 1]) if fits else 0)
    return fits


def _left(splits: dict[str, ImageSet], done: int) -> list[tuple[str, int]]:
    """Split and number of each image that is not in the cache yet, in order."""
    every = [(split, index) for split, images in splits.items() for index in range(len(images))]
    return every[done:]


def _announce(
    out: Path, source: Source, left: list[tuple[str, int]], origin: CacheOrigin, workers: int
) -> None:
    """Log size and time before it starts, measured on a sample.

    Raises:
        OutputError: The disk has no room for it.
    """
    numbers = np.unique(np.linspace(0, len(left) - 1, NUM_TIMED).astype(int))
    dataset = _Reduced(source.all_splits, [left[number] for number in numbers], origin)
    start_s = time.perf_counter()
    sample = [dataset[number] for number in range(len(dataset))]
    elapsed_s = (time.perf_counter() - start_s) / len(sample) * len(left)
    elapsed_s /= max(1, workers)
    sizes = [len(decoded.contents) for decoded in sample if isinstance(decoded, Decoded)]
    needed = (float(np.mean(sizes)) if sizes else 0.0) * len(left)
    logger.info(
        f"{len(left):,} images to decode into {out}: about {needed / 1e9:,.2f} GB, and about "
        f"{max(1, round(elapsed_s / 60)):,} min with {workers} workers"
    )
    free = shutil.disk_usage(out).free
    if needed * RESERVE > free:
        raise OutputError(
            f"{out} needs about {needed * RESERVE / 1e9:,.2f} GB, and {free / 1e9:,.2f} GB are "
            "free: make room, choose another folder, a smaller --side, or JPEGs by --quality"
        )


def _decode(
    out: Path,
    source: Source,
    left: list[tuple[str, int]],
    done: int,
    origin: CacheOrigin,
    workers: int,
    max_bad_fraction: float,
) -> dict[str, str]:
    """Decode the images that are left; returns those that cannot be, with the reason."""
    splits = source.all_splits
    dataset = _Reduced(splits, left, origin)
    unreadable = _unreadable_before(out, source, done)
    num_images = sum(map(len, splits.values()))
    with (
        stage("images", total=num_images) as bar,
        explained(out / PIXELS),
        open(out / PIXELS, "ab") as pixels,
        open(out / ROWS, "ab") as rows,
    ):
        bar.skip(done)
        for number, decoded in enumerate(_in_order(dataset, workers), start=1):
            row = np.zeros(NUM_COLUMNS, np.int64)
            if isinstance(decoded, str):
                split, index = left[number - 1]
                unreadable[source.file_of(split, splits[split].names[index])] = decoded
                source.check_failures(unreadable, num_images, max_bad_fraction)
            else:
                contents = decoded.contents
                row[:] = pixels.tell(), *decoded.size, zlib.crc32(contents), len(contents)
                pixels.write(contents)
            rows.write(row.tobytes())
            if number % KEPT_EVERY == 0 or number == len(left):
                for file in (pixels, rows):  # a row never reaches the disk before its pixels
                    file.flush()
                    os.fsync(file.fileno())
            bar.advance()
    return unreadable


def _unreadable_before(out: Path, source: Source, done: int) -> dict[str, str]:
    """The images among the first ``done`` that could not be decoded."""
    if not done:
        return {}
    rows = np.fromfile(out / ROWS, np.int64).reshape(-1, NUM_COLUMNS)
    places = _left(source.all_splits, 0)
    reason = "could not be decoded before the interruption"
    return {
        source.file_of(split, source.all_splits[split].names[index]): reason
        for split, index in (places[row] for row in np.flatnonzero(rows[:, HEIGHT] == 0))
    }


def _described(splits: dict[str, ImageSet]) -> dict[str, Any]:
    """Names and labels of each split; unreadable images have a row and so a name too."""
    return {
        split: {
            "names": list(images.names),
            "paths": _real_paths(images),
            "is_array": isinstance(images, ArrayImages),
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


class _Reduced(Dataset[Decoded | str]):
    """Images decoded, upright, and reduced to a short side; or why they cannot be decoded."""

    def __init__(
        self, splits: dict[str, ImageSet], places: list[tuple[str, int]], origin: CacheOrigin
    ) -> None:
        self.splits, self.places, self.origin = splits, places, origin

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> Decoded | str:
        split, index = self.places[number]
        side = self.origin.side

        def shrink(size: Size) -> float:
            return max(1.0, min(size) / side)

        try:
            image, (height, width) = self.splits[split].read_sized(index, shrink)
        except UnreadableImageError as error:
            return str(error)
        scale = side / min(height, width)
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            image = image.resize(size, Image.Resampling.BILINEAR)
        return Decoded((image.height, image.width), self._stored(image))

    def _stored(self, image: Image.Image) -> bytes:
        if self.origin.quality is None:
            return image.tobytes()
        made = io.BytesIO()
        # Only pixels: metadata, such as an orientation that has been applied, would be read again.
        Image.frombytes("RGB", image.size, image.tobytes()).save(
            made, "JPEG", quality=self.origin.quality
        )
        return made.getvalue()


def _in_order(dataset: _Reduced, workers: int) -> Iterator[Decoded | str]:
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
