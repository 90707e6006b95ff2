"""Open ``DATA``: from what the user writes to indexed images.

DATA is a folder of images or of shards, one shard or a pattern of them, a ``.csv`` manifest, a
``.npz`` file in the MedMNIST layout, ``digits``, or NAME:ROOT for a well-known data set in the
folder ROOT.
"""

from __future__ import annotations

import logging
import os
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path

from quarterturn.config.shared import MAX_PIXELS
from quarterturn.data.archive_index import ArchiveIndex
from quarterturn.data.data_argument import DIGITS, locate, split_name
from quarterturn.data.digits import read_digits
from quarterturn.data.encoded_image import EncodedImage
from quarterturn.data.folder import index_folder, is_image_name, list_images
from quarterturn.data.header_index import HeaderIndex
from quarterturn.data.image_file import UNSUPPORTED, irregular
from quarterturn.data.imageset import FileImages, ImageSet
from quarterturn.data.indexed_files import IndexedFiles, Sample
from quarterturn.data.manifest import index_manifest
from quarterturn.data.named_sources import NAMED_SOURCES, ArraySource
from quarterturn.data.npz import read_npz
from quarterturn.data.pixel_cache import CacheOrigin, is_cache, open_cache
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
from quarterturn.data.split_folders import find_split_folders, split_of
from quarterturn.data.unreadable import (
    MAX_LISTED,
    check_sample,
    check_unreadable,
    count_files,
    list_unreadable,
)
from quarterturn.data.white_point import find_levels
from quarterturn.errors import DataError

logger = logging.getLogger(__name__)

MIN_IMAGES = 8
"""Fewest images that a training accepts."""


@dataclass
class Source:
    """The images found under ``DATA``, and what was left out.

    Attributes:
        name: Short name, used for run directories.
        train: The training images; all images if the data has no splits.
        test: The test split (``test``, else ``val``), or None.
        test_name: The name of that split.
        unused: Splits used neither for training nor for testing, such as ``val`` beside ``test``.
        beside: Images, or shards, that lie beside the splits, counted by folder; those in none
            under "".
        unreadable: Image files that cannot be read, with the reason.
        ignored: Files that are not images, counted by suffix.
        num_heic: HEIC files left out because the extra that reads them is not installed.
        sample: The image files whose headers have been read.
        ignored_columns: Columns of a manifest other than path, label and split, or of parquet files
            other than images and labels.
        bad_boxes: Boxes of annotations that are left out or cut, with the reason.
        index: The index of file headers; None if the images came as arrays.
        cache: What DATA was made of, if it is a cache; None if not.
        archives: The index of ``.tar`` files; None without any.
    """

    name: str
    train: ImageSet
    test: ImageSet | None = None
    test_name: str = ""
    unused: dict[str, ImageSet] = field(default_factory=dict)
    beside: Counter[str] = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    num_heic: int = 0
    sample: Sample = field(default_factory=Sample)
    ignored_columns: list[str] = field(default_factory=list)
    bad_boxes: list[str] = field(default_factory=list)
    index: HeaderIndex | None = None
    cache: CacheOrigin | None = None
    archives: ArchiveIndex | None = None

    def keep_index(self, folder: Path) -> None:
        """Write the indexes to a folder, for the next `open_source` to read."""
        for index in (self.index, self.archives):
            if index is not None:
                index.keep(folder)

    @property
    def num_indexed(self) -> int:
        """Images that are not known to be unreadable, over the splits in use."""
        return sum(map(len, self.splits.values()))

    @property
    def splits(self) -> dict[str, ImageSet]:
        """The splits in use by name: ``train``, and the test split if there is one."""
        return {"train": self.train} | ({} if self.test is None else {self.test_name: self.test})

    @property
    def all_splits(self) -> dict[str, ImageSet]:
        """All splits by name, used and unused."""
        return self.splits | self.unused

    def file_of(self, split: str, name: str) -> str:
        """A unique name for a file: splits in separate folders may share file names."""
        all_images = self.all_splits.values()
        roots = {images.root for images in all_images if isinstance(images, FileImages)}
        return os.path.join(split, name) if len(roots) > 1 else name

    def set_white(self, white: int | None) -> None:
        """Set the black and white point of 16-bit grey files, one for all splits.

        Args:
            white: The white point; None for that of a sample.
        """
        files = [images for images in self.all_splits.values() if isinstance(images, FileImages)]
        names = [name for images in files for name in images.names]
        starts = list(accumulate((len(images) for images in files), initial=0))

        def encoded(number: int) -> EncodedImage:
            which = bisect_right(starts, number) - 1
            return files[which].encoded(number - starts[which])

        levels = find_levels(names, encoded, white) if names else None
        for images in files:
            images.decoding = replace(images.decoding, levels=levels)

    def check_failures(
        self, failed: dict[str, str], num_used: int, max_bad_fraction: float
    ) -> None:
        """Stop when too many files are unreadable: of those in use, or of all files.

        Args:
            failed: Files in use that failed to decode, with the reason.
            num_used: Images in use, including the failed ones.
            max_bad_fraction: Largest share of files that may fail.

        Raises:
            DataError: Too many fail; lists the files.
        """
        check_unreadable(failed, num_used - len(failed), max_bad_fraction)
        num_readable = self.num_indexed - len(failed)
        check_unreadable(self.unreadable | failed, num_readable, max_bad_fraction)

    def log_summary(self, *, uses_all: bool = False) -> None:
        """Log `summary`, as every command does that opens images."""
        for line in self.summary(uses_all=uses_all):
            logger.info(line)

    def summary(self, *, uses_all: bool = False) -> list[str]:
        """What was read, left out and ignored, one line each.

        Args:
            uses_all: Whether the command uses every split.
        """
        lines = [f"{len(self.train):,} images in {self.name}"]
        if self.train.class_names:
            lines[0] += f" ({len(self.train.class_names)} classes)"
        if self.cache is not None:
            lines[0] += f", from a cache: {self.cache}"
        if self.test is not None:
            lines.append(f"{len(self.test):,} images in the split {self.test_name!r}")
        unused = ", which is not used"
        lines += [
            f"{len(images):,} images in the split {split!r}" + ("" if uses_all else unused)
            for split, images in self.unused.items()
        ]
        lines += self.left_out()
        if self.unreadable:
            lines.append(f"left out: {count_files(len(self.unreadable))} that cannot be read:")
            lines += list_unreadable(self.unreadable)
        if self.bad_boxes:
            lines.append(f"boxes left out or cut: {len(self.bad_boxes):,}")
            lines += [f"  {box}" for box in self.bad_boxes[:MAX_LISTED]]
            if len(self.bad_boxes) > MAX_LISTED:
                lines.append(f"  ... and {len(self.bad_boxes) - MAX_LISTED:,} more")
        return lines

    def left_out(self) -> list[str]:
        """What was ignored: images beside the splits, other files, columns; one line each."""
        lines = []
        if self.beside:
            places = [f"{n:,} in {folder or 'no folder'}" for folder, n in self.beside.items()]
            kind = "images" if self.archives is None else "shards"
            lines.append(f"{kind} beside the splits, which are not used: {', '.join(places)}")
        others = Counter({s: n for s, n in self.ignored.items() if s not in UNSUPPORTED})
        if others:
            lines.append(f"ignored files that are not images: {_kinds(others)}")
        if images := self.ignored - others:
            advice = "convert them to PNG, TIFF or JPEG"
            if ".avif" in images:
                advice += "; .avif is read by Pillow 11.3 or newer"
            lines.append(f"left out images of formats not read here: {_kinds(images)}; {advice}")
        if self.ignored_columns:
            lines.append(f"ignored columns: {', '.join(self.ignored_columns)}")
        if self.num_heic:
            lines.append(
                f"left out: {self.num_heic} HEIC files; read them with: "
                "pip install 'quarterturn[heic]'"
            )
        return lines


def _kinds(counts: Counter[str]) -> str:
    return ", ".join(f"{n} {suffix}" for suffix, n in sorted(counts.items()))


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
        source.ignored_columns = manifest.ignored_columns
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
