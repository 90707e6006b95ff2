"""What was found under ``DATA``: the images of its splits, and what was left out."""

from __future__ import annotations

import logging
import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path

from quarterturn.data.archive_index import ArchiveIndex
from quarterturn.data.encoded_image import EncodedImage
from quarterturn.data.header_index import HeaderIndex
from quarterturn.data.image_file import UNSUPPORTED
from quarterturn.data.imageset import FileImages, ImageSet
from quarterturn.data.indexed_files import Sample
from quarterturn.data.pixel_cache import CacheOrigin
from quarterturn.data.unreadable import (
    MAX_LISTED,
    check_unreadable,
    list_unreadable,
)
from quarterturn.data.white_point import find_levels
from quarterturn.wording import counted

logger = logging.getLogger(__name__)


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
        labelled: The images with a label, of each split in which others have none.
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
    labelled: Mapping[str, ImageSet] = field(default_factory=dict)

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

    @property
    def labelled_train(self) -> ImageSet:
        """The training images, without those that have no label where others have one."""
        return self.labelled.get("train", self.train)

    @property
    def labelled_test(self) -> ImageSet | None:
        """The same of the test split, if there is one."""
        return self.labelled.get(self.test_name, self.test)

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
        with_label = [images for images in self.labelled.values() if isinstance(images, FileImages)]
        for images in [*files, *with_label]:
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
        lines = [f"{counted(len(self.train), 'image')} in {self.name}"]
        if self.train.class_names:
            lines[0] += f" ({len(self.train.class_names)} classes)"
        if self.cache is not None:
            lines[0] += f", from a cache: {self.cache}"
        if self.test is not None:
            lines.append(f"{counted(len(self.test), 'image')} in the split {self.test_name!r}")
        unused = ", which is not used"
        lines += [
            f"{counted(len(images), 'image')} in the split {split!r}" + ("" if uses_all else unused)
            for split, images in self.unused.items()
        ]
        every = self.all_splits
        lines += [
            f"{len(every[split]) - len(images):,} images without a label in the split {split!r}, "
            "left out where labels are needed"
            for split, images in self.labelled.items()
        ]
        lines += self.left_out()
        if self.unreadable:
            lines.append(
                f"left out: {counted(len(self.unreadable), 'image file')} that cannot be read:"
            )
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
