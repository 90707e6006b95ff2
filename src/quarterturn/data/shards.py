"""Index the images of shards: ``.tar`` files in the WebDataset layout, and ``.parquet`` files.

Shapes: N images of a split.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from quarterturn.data.archive_index import ArchiveIndex
from quarterturn.data.class_words import with_classes, with_label_sets
from quarterturn.data.file_table import HEIGHT, Stat, unknown_rows
from quarterturn.data.folder import folder_labels
from quarterturn.data.header_index import HeaderIndex
from quarterturn.data.image_file import HEIC, heic_is_readable
from quarterturn.data.imageset import FileImages
from quarterturn.data.indexed_files import IndexedFiles, index_table
from quarterturn.data.parquet_rows import read_parquet
from quarterturn.data.parquet_shard import MAX_KEPT_BYTES
from quarterturn.data.shard_files import ShardFiles
from quarterturn.data.shard_table import Shard, ShardTable
from quarterturn.data.tar_shard import Label, TarContents, TarShard

logger = logging.getLogger(__name__)

LARGE_GROUP = 16_000_000
"""Bytes of a row group from which a warning says what it costs."""


@dataclass
class IndexedShards:
    """What is in the shards of a collection.

    Attributes:
        splits: The images of each split.
        ignored_columns: Columns of ``.parquet`` files other than images and labels.
    """

    splits: dict[str, IndexedFiles]
    ignored_columns: list[str]


@dataclass
class _Opened:
    """One shard: how its images are read, and what is known of each."""

    shard: Shard
    stats: list[Stat]
    names: list[str]
    labels: list[Label]
    is_archive: bool
    unlabelled: str = ""
    unreadable: dict[str, str] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    ignored_columns: Sequence[str] = ()
    group_bytes: Sequence[int] = ()


def index_shards(files: ShardFiles, headers: HeaderIndex, archives: ArchiveIndex) -> IndexedShards:
    """The images of shards, named by shard and name within it; in the shards' order.

    Labels are those in the shards. Where archives have none, their folders are labels, as in a
    folder of images.

    Args:
        files: The shards of each split.
        headers: The index of headers.
        archives: The index of archives.

    Raises:
        DataError: A shard is damaged, compressed, or holds no column of images.
    """
    paths = {
        name: os.path.abspath(files.root / name)
        for names in files.splits.values()
        for name in names
    }
    tars = [path for path in paths.values() if path.lower().endswith(".tar")]
    contents = dict(zip(tars, archives.contents(tars), strict=True))
    splits, columns, groups = {}, dict[str, None](), list[int]()
    for split, names in files.splits.items():
        opened = {}
        for name in names:
            path = paths[name]
            opened[name] = _of_tar(path, *contents[path]) if path in contents else _of_parquet(path)
            columns |= dict.fromkeys(opened[name].ignored_columns)
            groups += opened[name].group_bytes
        splits[split] = _index_split(files.root, split, opened, headers)
    _warn_of_large_groups(groups)
    return IndexedShards(splits, list(columns))


def _warn_of_large_groups(num_bytes: Sequence[int]) -> None:
    """Say what it costs to read images of row groups that are large, and too many to keep."""
    if sum(num_bytes) > MAX_KEPT_BYTES and (mean := sum(num_bytes) / len(num_bytes)) > LARGE_GROUP:
        logger.warning(
            f"to read one image of these parquet files is to read a row group of {mean / 1e6:.0f} "
            "MB, since they are too many to be kept. Write them with row groups of 100 images, or "
            "make a cache of them first: quarterturn cache DATA --out CACHE"
        )


def _of_tar(path: str, stat: Stat, contents: TarContents) -> _Opened:
    num_bytes, *times = stat
    return _Opened(
        TarShard(path, (num_bytes, times[0]), contents.offsets, contents.sizes),
        [(size, times[0], times[1]) for size in contents.sizes.tolist()],
        contents.names,
        contents.labels,
        is_archive=True,
        unreadable=contents.unreadable,
        ignored=contents.ignored,
    )


def _of_parquet(path: str) -> _Opened:
    found = read_parquet(path)
    return _Opened(
        found.shard,
        [found.stat] * len(found.names),
        found.names,
        found.labels,
        is_archive=False,
        unlabelled=found.unlabelled,
        ignored_columns=found.ignored_columns,
        group_bytes=found.shard.group_bytes,
    )


def _index_split(
    root: Path, split: str, opened: dict[str, _Opened], headers: HeaderIndex
) -> IndexedFiles:
    """The images of a split's shards, without HEIC files that cannot be read, and their labels."""
    left_out = () if heic_is_readable() else tuple(HEIC)
    names, labels, within = list[str](), list[Label](), list[str]()
    stats, shard_of, places = list[Stat](), list[int](), list[int]()
    num_heic, unreadable, ignored = 0, dict[str, str](), Counter[str]()
    for number, (shard, one) in enumerate(opened.items()):
        for place, (name, label) in enumerate(zip(one.names, one.labels, strict=True)):
            if name.lower().endswith(left_out):
                num_heic += 1
                continue
            names.append(f"{shard}/{name}")
            within.append(name)
            labels.append(label)
            stats.append(one.stats[place])
            shard_of.append(number)
            places.append(place)
        unreadable |= {f"{shard}/{name}": reason for name, reason in one.unreadable.items()}
        ignored += one.ignored
    rows = unknown_rows(len(names))
    rows[:, :HEIGHT] = np.array(stats, np.int64).reshape(-1, HEIGHT)
    table = ShardTable(
        os.path.abspath(root),
        names,
        rows,
        [one.shard for one in opened.values()],
        np.array(shard_of, np.int64),
        np.array(places, np.int64),
    )
    files = index_table(root, table, headers)
    images = _with_labels(files.images, split, labels)
    if images.targets is None and not images.unlabelled:
        if all(one.is_archive for one in opened.values()):
            images = _with_folders(files.images, within)
        reasons = [one.unlabelled for one in opened.values() if one.unlabelled]
        images.unlabelled = images.unlabelled or next(iter(reasons), "")
    return replace(
        files,
        images=images,
        unreadable=unreadable | files.unreadable,
        num_heic=num_heic,
        sample=files.sample,
        ignored=ignored,
    )


def _with_labels(images: FileImages, split: str, labels: Sequence[Label]) -> FileImages:
    """The images with their labels, if all have some."""
    found = [labels[row] for row in images.rows.tolist()]
    without = [i for i, label in enumerate(found) if label is None]
    if without:
        some = len(without) < len(found)
        reason = (
            f"the split {split!r} has labels, but {len(without):,} of its {len(found):,} images "
            f"have none, such as {images.names[without[0]]}"
        )
        return replace(images, unlabelled=reason if some else "")
    if any(isinstance(label, list) for label in found):
        return with_label_sets(
            images, [label if isinstance(label, list) else [str(label)] for label in found]
        )
    return with_classes(images, [str(label) for label in found]) if found else images


def _with_folders(images: FileImages, within: Sequence[str]) -> FileImages:
    """The images with the folders in their archives as labels, as in a folder of images."""
    names = [within[row] for row in images.rows.tolist()]
    labels, class_names, unlabelled = folder_labels(names)
    return replace(images, labels=labels, class_names=class_names, unlabelled=unlabelled)
