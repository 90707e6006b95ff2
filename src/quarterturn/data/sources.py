"""Open ``DATA``: from what the user writes to indexed images.

DATA is a folder of images or of shards, one shard or a pattern of them, a ``.csv`` manifest, a
``.npz`` file in the MedMNIST layout, ``digits``, or NAME:ROOT for a well-known data set in the
folder ROOT.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from quarterturn.config.shared import MAX_PIXELS
from quarterturn.data.archive_index import ArchiveIndex
from quarterturn.data.data_argument import DIGITS, locate, split_name
from quarterturn.data.digits import read_digits
from quarterturn.data.folder import index_folder, is_image_name, list_images
from quarterturn.data.header_index import HeaderIndex
from quarterturn.data.image_file import irregular
from quarterturn.data.imageset import ImageSet
from quarterturn.data.indexed_files import IndexedFiles
from quarterturn.data.manifest import index_manifest
from quarterturn.data.named_sources import NAMED_SOURCES, ArraySource
from quarterturn.data.npz import read_npz
from quarterturn.data.pixel_cache import is_cache, open_cache
from quarterturn.data.shard_files import (
    SUFFIXES,
    ShardFiles,
    divided,
    is_pattern,
    is_shard,
    shards_below,
    shards_of_pattern,
)
from quarterturn.data.shards import index_shards
from quarterturn.data.source import Source
from quarterturn.data.split_folders import find_split_folders, split_of
from quarterturn.data.unreadable import check_sample
from quarterturn.errors import DataError

MIN_IMAGES = 8
"""Fewest images that a training accepts."""


def open_source(
    data: str,
    *,
    index: Path | None = None,
    max_bad_fraction: float = 0.05,
    max_pixels: int = MAX_PIXELS,
    white: int | None = None,
    verify: bool = False,
    download: bool = False,
    min_images: int = MIN_IMAGES,
) -> Source:
    """Find and index the images of ``DATA``.

    Args:
        data: A folder, shards, a ``.csv`` manifest, a ``.npz`` file, ``digits``, or NAME:ROOT.
        index: A folder that keeps the headers of image files, and what is in archives, from one
            opening to the next; see `HeaderIndex` and `ArchiveIndex`.
        max_bad_fraction: Largest share of image files that may be unreadable.
        max_pixels: Larger images count as unreadable.
        white: White point of 16-bit grey files; by default that of a sample of them.
        verify: Decode every file in full before anything else.
        download: Fetch a named data set that is missing; nothing is downloaded otherwise.
        min_images: Fewest images to train on; 1 where nothing is trained.

    Raises:
        DataError: DATA does not exist, has too few images, or too many are unreadable.
    """
    named = split_name(data)
    headers = HeaderIndex(locate(data), index, verify=verify, max_pixels=max_pixels)
    reader = None if named is None else NAMED_SOURCES.get(named.name)
    if named is None or reader is None:
        source = _open_unnamed(data, headers, ArchiveIndex(locate(data), index))
    elif isinstance(reader, ArraySource):
        source = _source_of_splits(named.name, reader.read(named.root, download=download))
    else:
        source = _source_of_files(named.name, reader.index_splits(named.root, headers), headers)
    if index is not None:
        source.keep_index(index)
    source.set_white(white)
    num_files = source.num_indexed + len(source.unreadable)
    if source.sample.num_files < num_files:
        check_sample(num_files, source.sample, source.unreadable, max_bad_fraction)
    source.check_failures({}, source.num_indexed, max_bad_fraction)
    if len(source.train) < min_images:
        raise DataError(
            f"{data} holds {len(source.train)} readable images; at least {min_images} are needed\n"
            + "\n".join([*source.summary()[1:], *_hint_of_shards(source)])
        )
    return source


def _open_unnamed(data: str, headers: HeaderIndex, archives: ArchiveIndex) -> Source:
    """A folder, shards, a manifest, a ``.npz`` file, or the digits."""
    if data == DIGITS:
        return _source_of_splits(DIGITS, read_digits())
    path = Path(data).expanduser()
    if is_cache(path):
        cached = open_cache(path)
        source = _source_of_splits(cached.name, cached.splits)
        source.cache, source.unreadable = cached.origin, dict(cached.unreadable)
        return source
    if is_pattern(str(path)):
        root, names = shards_of_pattern(str(path))
        return _source_of_shards(
            _name_of_pattern(path, root), divided(root, names), headers, archives
        )
    if path.is_dir():
        name = path.resolve().name or "images"
        splits, beside = _index_splits(path, headers)
        has_images = beside or any(f.num_files for f in splits.values())
        if not has_images and (shards := shards_below(path)):
            return _source_of_shards(name, divided(path, shards), headers, archives)
        source = _source_of_files(name, splits, headers)
        source.beside = beside
        return source
    if path.exists() and (reason := irregular(os.stat(path))) is not None:
        raise DataError(f"{path} is {reason}; expected a file or a folder")
    if path.suffix.lower() == ".csv":
        manifest = index_manifest(path, headers)
        source = _source_of_files(path.stem, manifest.splits, headers)
        source.ignored_columns, source.labelled = manifest.ignored_columns, manifest.labelled
        return source
    if path.exists() and is_shard(path.name):
        name = path.name.partition(".")[0] or "images"
        return _source_of_shards(name, divided(path.parent, [path.name]), headers, archives)
    if path.suffix == ".npz":
        return _source_of_splits(path.stem, read_npz(path))
    named = split_name(data)
    unknown = "" if named is None else f", and no data set named {named.name!r}"
    raise DataError(
        f"no data at {data!r}{unknown}: expected a folder of images, a .csv manifest with a "
        "column 'path', .tar or .parquet shards, a .npz file with train_images, the word 'digits', "
        "or " + " or ".join(f"{known}:ROOT" for known in NAMED_SOURCES)
    )


def _source_of_splits(name: str, splits: Mapping[str, ImageSet]) -> Source:
    """A source of the splits present among train, val and test.

    The test images are those of ``test``, else of ``val``. A split with labels takes precedence,
    since public test splits often come without.
    """
    others = [split for split in ("test", "val") if split in splits]
    others.sort(key=lambda split: splits[split].targets is None)
    if not others:
        return Source(name, splits["train"])
    unused = {split: splits[split] for split in others[1:]}
    return Source(name, splits["train"], splits[others[0]], others[0], unused)


def _source_of_files(name: str, splits: Mapping[str, IndexedFiles], index: HeaderIndex) -> Source:
    """A source of image files, with what was left out of any split."""
    source = _source_of_splits(name, {split: files.images for split, files in splits.items()})
    source.index = index
    for split, files in splits.items():
        for file, reason in files.unreadable.items():
            source.unreadable[source.file_of(split, file)] = reason
        source.ignored += files.ignored
        source.num_heic += files.num_heic
        source.sample += files.sample
        source.bad_boxes += files.bad_boxes
    return source


def _hint_of_shards(source: Source) -> list[str]:
    """What to do about shards in a folder that was taken as one of images."""
    if source.archives is not None or not any(source.ignored[suffix] for suffix in SUFFIXES):
        return []
    return [
        "shards are read from a folder without image files; or by a pattern, such as 'FOLDER/*.tar'"
    ]


def _source_of_shards(
    name: str, files: ShardFiles, headers: HeaderIndex, archives: ArchiveIndex
) -> Source:
    """A source of shards, with what was left out of any of them."""
    found = index_shards(files, headers, archives)
    source = _source_of_files(name, found.splits, headers)
    source.archives, source.beside = archives, files.beside
    source.ignored_columns = found.ignored_columns
    return source


def _name_of_pattern(path: Path, root: Path) -> str:
    """A short name for the files of a pattern: what comes before its braces, or their folder's."""
    start = re.split(r"[{*?\[]", path.name, maxsplit=1)[0].strip("-_. ")
    is_split = split_of(start) is not None
    return (root.resolve().name if is_split else start) or "images"


def _index_splits(root: Path, index: HeaderIndex) -> tuple[dict[str, IndexedFiles], Counter[str]]:
    """The splits of a folder, and the images beside them, counted by folder.

    All images are ``train`` if there is no other split beside it.
    """
    found = find_split_folders(root)
    if not found.folders:
        return {"train": index_folder(root, index)}, Counter()
    splits = {split: index_folder(root / name, index) for split, name in found.folders.items()}
    beside = Counter({f"{name}/": len(list_images(root / name)[0]) for name in found.others})
    beside[""] = sum(is_image_name(name) for name in os.listdir(root) if (root / name).is_file())
    return splits, +beside  # without those that hold no images
