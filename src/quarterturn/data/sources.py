"""From ``DATA``, as a user writes it, to indexed images.

DATA is a folder, a ``.csv`` manifest, a ``.npz`` file in the MedMNIST layout, ``digits``, or
NAME:ROOT for a well-known data set that lies in the folder ROOT.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from quarterturn.data.arrays import read_digits, read_npz
from quarterturn.data.folder import index_folder
from quarterturn.data.header_index import HeaderIndex
from quarterturn.data.imageset import FileImages, ImageSet
from quarterturn.data.indexed_files import IndexedFiles
from quarterturn.data.manifest import index_manifest
from quarterturn.data.named_sources import ARRAYS, FILES, NAMED
from quarterturn.errors import DataError

MIN_IMAGES = 8


@dataclass
class Source:
    """What was found under ``DATA``.

    Attributes:
        name: Short name, used for run directories.
        train: The images to learn from; all of them where the data has no splits.
        test: The test split (``test``, else ``val``), or None.
        test_name: The name of that split.
        unused: Splits that are neither learned from nor tested on, such as ``val`` beside ``test``.
        unreadable: Image files that cannot be read, with the reason.
        ignored: Files that are no images, counted by suffix.
        num_heic: HEIC files, where the extra that reads them is not installed.
        ignored_columns: Columns of a manifest that mean nothing here.
        index: The headers of its files; None where the images came as arrays.
    """

    name: str
    train: ImageSet
    test: ImageSet | None = None
    test_name: str = ""
    unused: dict[str, ImageSet] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    num_heic: int = 0
    ignored_columns: list[str] = field(default_factory=list)
    index: HeaderIndex | None = None

    def keep_index(self, folder: Path) -> None:
        """Leave the headers of its files in a folder, where `open_source` may look for them."""
        if self.index is not None:
            self.index.keep(folder)

    @property
    def num_indexed(self) -> int:
        """Images whose headers could be read, in the splits that are used."""
        return sum(map(len, self.splits.values()))

    @property
    def splits(self) -> dict[str, ImageSet]:
        """``train``, and the test split by its name."""
        return {"train": self.train} | ({} if self.test is None else {self.test_name: self.test})

    @property
    def all_splits(self) -> dict[str, ImageSet]:
        """Those that are used, and those that are not."""
        return self.splits | self.unused

    def file_of(self, split: str, name: str) -> str:
        """A name that no other file has: splits in folders of their own may share names."""
        every = self.all_splits.values()
        roots = {images.root for images in every if isinstance(images, FileImages)}
        return os.path.join(split, name) if len(roots) > 1 else name

    def check_failures(
        self, failed: dict[str, str], num_used: int, max_bad_fraction: float
    ) -> None:
        """Stop when too many files cannot be read: of those in use, or of all.

        Args:
            failed: Files in use that could not be decoded after all, with the reason.
            num_used: Images in use, the failed ones among them.
            max_bad_fraction: The most that may fail.

        Raises:
            DataError: Lists the files.
        """
        check_unreadable(failed, num_used - len(failed), max_bad_fraction)
        num_good = self.num_indexed - len(failed)
        check_unreadable(self.unreadable | failed, num_good, max_bad_fraction)

    def summary(self) -> list[str]:
        """What was read, left out and ignored, a line each."""
        lines = [f"{len(self.train):,} images in {self.name}"]
        if self.train.class_names:
            lines[0] += f" ({len(self.train.class_names)} sub-folders or classes)"
        if self.test is not None:
            lines.append(f"{len(self.test):,} images in its split {self.test_name!r}")
        lines += [
            f"{len(images):,} images in its split {split!r}, which is not used"
            for split, images in self.unused.items()
        ]
        if self.ignored:
            kinds = ", ".join(f"{n} {suffix}" for suffix, n in sorted(self.ignored.items()))
            lines.append(f"ignored, not images: {kinds}")
        if self.ignored_columns:
            lines.append(f"ignored columns: {', '.join(self.ignored_columns)}")
        if self.num_heic:
            lines.append(
                f"left out: {self.num_heic} HEIC files; to read them: "
                "pip install 'quarterturn[heic]'"
            )
        if self.unreadable:
            lines.append(f"{len(self.unreadable)} image files cannot be read and are left out:")
            lines += list_unreadable(self.unreadable)
        return lines


def open_source(
    data: str,
    *,
    index: Path | None = None,
    max_bad_fraction: float = 0.05,
    verify: bool = False,
    download: bool = False,
    min_images: int = MIN_IMAGES,
    say: Callable[[str], None] | None = None,
) -> Source:
    """Find and index the images of ``DATA``.

    Args:
        data: A folder, a ``.csv`` manifest, a ``.npz`` file, ``digits``, or NAME:ROOT.
        index: A folder in which the headers of image files are kept from one opening to the next;
            see `HeaderIndex`.
        max_bad_fraction: More unreadable image files than this are an error.
        verify: Decode every file in full, not only its header.
        download: Fetch a named data set that is not there; nothing is downloaded without it.
        min_images: Fewer to learn from are an error; 1 where nothing is learned.
        say: Takes lines on the progress where there are many headers to read.

    Raises:
        DataError: Nothing there, too few images, or too many that cannot be read.
    """
    path, name = Path(data).expanduser(), _name_of(data)
    headers = HeaderIndex(locate(data), index, verify=verify, say=say)
    if data == "digits":
        source = _of_splits("digits", read_digits())
    elif name in ARRAYS:
        source = _of_splits(name, ARRAYS[name](_root_of(data), download=download))
    elif name in FILES:
        source = _of_files(name, FILES[name](_root_of(data), headers), headers)
    elif path.is_dir():
        source = _of_files(path.resolve().name or "images", _splits_of(path, headers), headers)
    elif path.suffix.lower() == ".csv":
        manifest = index_manifest(path, headers)
        source = _of_files(path.stem, manifest.splits, headers)
        source.ignored_columns = manifest.ignored_columns
    elif path.suffix == ".npz":
        source = _of_splits(path.stem, read_npz(path))
    else:
        unknown = f", and no data set of the name {name!r}" if name else ""
        raise DataError(
            f"no data at {data!r}{unknown}: expected a folder of images, a .csv manifest with a "
            "column 'path', a .npz file with train_images, the word 'digits', or "
            + " or ".join(f"{known}:ROOT" for known in NAMED)
        )
    if index is not None:
        source.keep_index(index)
    source.check_failures({}, source.num_indexed, max_bad_fraction)
    if len(source.train) < min_images:
        raise DataError(
            f"{data} holds {len(source.train)} readable images; at least {min_images} are needed\n"
            + "\n".join(source.summary()[1:])
        )
    return source


def _of_splits(name: str, splits: Mapping[str, ImageSet]) -> Source:
    """A source of what is there of train, val and test.

    The test images are those of ``test``, else of ``val``, but rather of the one that has labels: a
    test split often comes without.
    """
    others = [split for split in ("test", "val") if split in splits]
    others.sort(key=lambda split: splits[split].labels is None)
    if not others:
        return Source(name, splits["train"])
    unused = {split: splits[split] for split in others[1:]}
    return Source(name, splits["train"], splits[others[0]], others[0], unused)


def _of_files(name: str, splits: Mapping[str, IndexedFiles], index: HeaderIndex) -> Source:
    """A source of image files, with what was left out in any split."""
    source = _of_splits(name, {split: files.images for split, files in splits.items()})
    source.index = index
    for split, files in splits.items():
        for file, reason in files.unreadable.items():
            source.unreadable[source.file_of(split, file)] = reason
        source.ignored += files.ignored
        source.num_heic += files.num_heic
    return source


def _splits_of(root: Path, index: HeaderIndex) -> dict[str, IndexedFiles]:
    """What a folder holds: its splits, where there are any to learn from and to test on."""
    splits = [split for split in ("train", "val", "test") if (root / split).is_dir()]
    if "train" not in splits or len(splits) == 1:
        return {"train": index_folder(root, index)}
    return {split: index_folder(root / split, index) for split in splits}


def _name_of(data: str) -> str:
    """The NAME of NAME:ROOT; empty where DATA is something else, such as a path with a colon."""
    name, colon, root = data.partition(":")
    is_word = re.fullmatch(r"[\w-]+", name) is not None
    return name if colon and root and is_word and not Path(data).expanduser().exists() else ""


def _root_of(data: str) -> Path:
    return Path(data.partition(":")[2]).expanduser()


def locate(data: str) -> str:
    """DATA in a form that means the same from any working directory."""
    if data == "digits":
        return data
    if (name := _name_of(data)) in NAMED:
        return f"{name}:{_root_of(data).resolve()}"
    path = Path(data).expanduser()
    if path.suffix.lower() == ".csv":
        # What a manifest lists is relative to its folder, from which a link may lead elsewhere.
        return str(path.parent.resolve() / path.name)
    return str(path.resolve())


def short_name(data: str) -> str:
    """DATA in a word, for the names of files: the last two parts of a path, or NAME and ROOT's."""
    if (name := _name_of(data)) in NAMED:
        return f"{name}-{_root_of(data).resolve().name}"
    return "-".join(Path(locate(data)).with_suffix("").parts[-2:])


def check_unreadable(bad: dict[str, str], num_good: int, max_bad_fraction: float) -> None:
    """Stop when too many image files cannot be read.

    Raises:
        DataError: Lists the files with their reasons.
    """
    total = len(bad) + num_good
    if total and len(bad) / total > max_bad_fraction:
        raise DataError(
            f"{len(bad)} of {total} image files cannot be read ({len(bad) / total:.1%}; the limit "
            f"--max-bad-fraction is {max_bad_fraction:.1%}):\n" + "\n".join(list_unreadable(bad))
        )


def list_unreadable(bad: dict[str, str], most: int = 20) -> list[str]:
    """The first files with their reasons, and how many more there are."""
    lines = [f"  {name}: {reason}" for name, reason in list(bad.items())[:most]]
    if len(bad) > most:
        lines.append(f"  ... and {len(bad) - most} more")
    return lines
