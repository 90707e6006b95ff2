"""From ``DATA``, as a user writes it, to indexed images.

DATA is a folder, a ``.npz`` file in the MedMNIST layout, or ``digits``.
"""

from __future__ import annotations

import os
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.decode import (
    HEIC,
    READABLE,
    UnreadableImageError,
    heic_is_readable,
    read_image,
    read_size,
)
from quarterturn.data.imageset import ArrayImages, FileImages, ImageSet
from quarterturn.errors import DataError

MIN_IMAGES = 8
DIGITS_SPLIT_SEED = 0
DIGITS_TEST_FRACTION = 0.25


@dataclass
class Source:
    """What was found under ``DATA``.

    Attributes:
        name: Short name, used for run directories.
        train: The images to learn from; all of them where the data has no splits.
        test: The test split (``test``, else ``val``), or None.
        test_name: The name of that split.
        unreadable: Image files that cannot be read, with the reason.
        ignored: Files that are no images, counted by suffix.
        num_heic: HEIC files, where the extra that reads them is not installed.
        notes: What else the user should know of the data, a line each.
    """

    name: str
    train: ImageSet
    test: ImageSet | None = None
    test_name: str = ""
    unreadable: dict[str, str] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)
    num_heic: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def num_indexed(self) -> int:
        """Images whose headers could be read, in all splits."""
        return len(self.train) + (0 if self.test is None else len(self.test))

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
        check_bad_fraction(failed, num_used - len(failed), max_bad_fraction)
        num_good = self.num_indexed - len(failed)
        check_bad_fraction(self.unreadable | failed, num_good, max_bad_fraction)

    def summary(self) -> list[str]:
        """What was read, left out and ignored, a line each."""
        lines = [f"{len(self.train):,} images in {self.name}"]
        if self.train.class_names:
            lines[0] += f" ({len(self.train.class_names)} sub-folders or classes)"
        if self.test is not None:
            lines.append(f"{len(self.test):,} images in its split {self.test_name!r}")
        if self.ignored:
            kinds = ", ".join(f"{n} {suffix}" for suffix, n in sorted(self.ignored.items()))
            lines.append(f"ignored, not images: {kinds}")
        if self.num_heic:
            lines.append(
                f"left out: {self.num_heic} HEIC files; to read them: "
                "pip install 'quarterturn[heic]'"
            )
        lines += self.notes
        if self.unreadable:
            lines.append(f"{len(self.unreadable)} image files cannot be read and are left out:")
            lines += list_of_bad(self.unreadable)
        return lines


def open_source(data: str, *, max_bad_fraction: float = 0.05, verify: bool = False) -> Source:
    """Find and index the images of ``DATA``.

    Args:
        data: A folder, a ``.npz`` file, or ``digits``.
        max_bad_fraction: More unreadable image files than this are an error.
        verify: Decode every file in full, not only its header.

    Raises:
        DataError: Nothing there, too few images, or too many that cannot be read.
    """
    if data == "digits":
        return _digits()
    path = Path(data).expanduser()
    if path.suffix == ".npz":
        source = _npz(path)
    elif path.is_dir():
        source = _folder(path, verify=verify)
        source.check_failures({}, source.num_indexed, max_bad_fraction)
    else:
        raise DataError(
            f"no data at {data!r}: expected a folder of images, a .npz file with train_images, or "
            "the word 'digits'"
        )
    if len(source.train) < MIN_IMAGES:
        raise DataError(
            f"{data} holds {len(source.train)} readable images; at least {MIN_IMAGES} are needed\n"
            + "\n".join(source.summary()[1:])
        )
    return source


def locate(data: str) -> str:
    """DATA in a form that means the same from any working directory."""
    return data if data == "digits" else str(Path(data).expanduser().resolve())


def check_bad_fraction(bad: dict[str, str], num_good: int, max_bad_fraction: float) -> None:
    """Stop when too many image files cannot be read.

    Raises:
        DataError: Lists the files with their reasons.
    """
    total = len(bad) + num_good
    if total and len(bad) / total > max_bad_fraction:
        raise DataError(
            f"{len(bad)} of {total} image files cannot be read ({len(bad) / total:.1%}; the limit "
            f"--max-bad-fraction is {max_bad_fraction:.1%}):\n" + "\n".join(list_of_bad(bad))
        )


def list_of_bad(bad: dict[str, str], most: int = 20) -> list[str]:
    """The first files with their reasons, and how many more there are."""
    lines = [f"  {name}: {reason}" for name, reason in list(bad.items())[:most]]
    if len(bad) > most:
        lines.append(f"  ... and {len(bad) - most} more")
    return lines


def _digits() -> Source:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    grey = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    images = ArrayImages(
        np.repeat(grey[..., None], 3, axis=3),
        [f"digit-{i:04d}" for i in range(len(grey))],
        bunch.target.astype(np.int64),
        [str(d) for d in range(10)],
    )
    train, test = train_test_split(
        np.arange(len(grey)),
        test_size=DIGITS_TEST_FRACTION,
        stratify=bunch.target,
        random_state=DIGITS_SPLIT_SEED,
    )
    return Source(
        "digits", images.subset(np.sort(train)), images.subset(np.sort(test)), test_name="test"
    )


def _npz(path: Path) -> Source:
    """MedMNIST layout: {train,val,test}_images (N, H, W[, 3]) uint8 and {...}_labels (N[, 1])."""
    try:
        # Opened here, since numpy leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except FileNotFoundError:
        raise DataError(f"no file {path}") from None
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is not a readable .npz file: {error}") from error
    if "train_images" not in arrays:
        raise DataError(f"{path} has no train_images; it has {', '.join(arrays) or 'nothing'}")
    splits = {
        split: _npz_split(path, split, arrays)
        for split in ("train", "val", "test")
        if f"{split}_images" in arrays
    }
    test_name = "test" if "test" in splits else "val" if "val" in splits else ""
    source = Source(path.stem, splits["train"], splits.get(test_name), test_name)
    if "train_labels" in arrays and source.train.labels is None:
        source.notes.append("several labels an image: taken as unlabelled")
    return source


def _npz_split(path: Path, split: str, arrays: dict[str, np.ndarray]) -> ArrayImages:
    pixels = arrays[f"{split}_images"]
    if pixels.ndim == 3:
        pixels = np.repeat(pixels[..., None], 3, axis=3)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
        raise DataError(
            f"{path}: {split}_images is {pixels.dtype} {pixels.shape}; expected uint8 (N, H, W) or "
            "(N, H, W, 3)"
        )
    labels = arrays.get(f"{split}_labels")
    class_names: list[str] = []
    if labels is not None and labels.ndim == 2 and labels.shape[1] > 1:
        labels = None  # several an image, which no probe here can use
    if labels is not None:
        labels = labels.reshape(len(labels), -1)
        is_whole = np.issubdtype(labels.dtype, np.integer)
        if labels.shape != (len(pixels), 1) or not is_whole or labels.min(initial=0) < 0:
            raise DataError(
                f"{path}: {split}_labels is {labels.dtype} {labels.shape}; expected one label for "
                f"each of the {len(pixels)} images, an integer from 0 on"
            )
        labels = labels[:, 0].astype(np.int64)
        every = np.concatenate([arrays[k].ravel() for k in arrays if k.endswith("_labels")])
        class_names = [str(c) for c in range(int(every.max(initial=0)) + 1)]
    return ArrayImages(pixels, [f"{split}[{i}]" for i in range(len(pixels))], labels, class_names)


def _folder(root: Path, *, verify: bool) -> Source:
    splits = [s for s in ("train", "val", "test") if (root / s).is_dir()]
    source = Source(root.resolve().name or "images", FileImages(root, [], _NO_SIZES, _NO_BYTES))
    if "train" not in splits or len(splits) < 2:
        source.train = _index(root, source, verify=verify)
        return source
    source.train = _index(root, source, "train", verify=verify)
    for source.test_name in [s for s in ("test", "val") if s in splits]:
        source.test = _index(root, source, source.test_name, verify=verify)
        if source.test.labels is not None:
            break  # a test split often comes without labels, and then val serves better
    return source


_NO_SIZES = np.empty((0, 2), dtype=np.int64)
_NO_BYTES = np.empty(0, dtype=np.int64)


def _index(data: Path, source: Source, split: str = "", *, verify: bool) -> FileImages:
    """Read the headers below ``data / split``, and note in ``source`` what is left out."""
    root = data / split
    readable = READABLE | HEIC if heic_is_readable() else READABLE
    candidates = []
    for path in _walk(root):
        suffix = path.suffix.lower()
        if path.name.startswith("."):
            source.ignored["hidden"] += 1
        elif suffix in readable:
            candidates.append(path)
        elif suffix in HEIC:
            source.num_heic += 1
        else:
            source.ignored[suffix or "(no suffix)"] += 1

    def inspect(path: Path) -> tuple[tuple[int, int], int] | str:
        try:
            size = read_size(path)
            if verify:
                read_image(path)
            return size, path.stat().st_size
        except UnreadableImageError as error:
            return str(error)

    names, sizes, num_bytes = [], [], []
    # Threads wait for the disk together; decoding releases the interpreter lock as well.
    with warnings.catch_warnings(), ThreadPoolExecutor(max_workers=8) as pool:
        warnings.simplefilter("ignore")  # damaged metadata in a picture that reads well
        for path, found in zip(candidates, pool.map(inspect, candidates), strict=True):
            name = str(path.relative_to(root))
            if isinstance(found, str):
                source.unreadable[str(path.relative_to(data))] = found  # two splits may share names
            else:
                names.append(name)
                sizes.append(found[0])
                num_bytes.append(found[1])
    labels, class_names = _labels_of(names)
    return FileImages(
        root,
        names,
        np.array(sizes, dtype=np.int64).reshape(-1, 2),
        np.array(num_bytes, dtype=np.int64),
        labels,
        class_names,
    )


def _walk(root: Path) -> Iterator[Path]:
    """Every file below ``root``, links followed, in the order of torchvision's ImageFolder.

    ImageFolder takes the classes in sorted order, and within each sorts the walked directories
    and then their files. Files beside the classes, which it does not read, come first here.
    """
    entries = sorted(root.iterdir(), key=lambda p: p.name)
    yield from (p for p in entries if not p.is_dir())
    above = _with_parents(os.path.realpath(root))
    for directory in (p for p in entries if p.is_dir() and not p.name.startswith(".")):
        if os.path.realpath(directory) in above:
            continue
        for folder, files in sorted(_walk_once(directory, above)):
            yield from (Path(folder) / name for name in sorted(files))


def _walk_once(directory: Path, above: set[str]) -> Iterator[tuple[str, list[str]]]:
    """Folders and their files, with links followed, but never into a folder that contains itself.

    Args:
        directory: Where to begin.
        above: Real paths of the folders that led there.
    """
    led_here = {str(directory): above}
    for folder, subfolders, files in os.walk(directory, followlinks=True):
        containing = led_here.pop(folder) | _with_parents(os.path.realpath(folder))
        subfolders[:] = [
            s
            for s in subfolders
            if not s.startswith(".") and os.path.realpath(os.path.join(folder, s)) not in containing
        ]
        led_here.update((os.path.join(folder, s), containing) for s in subfolders)
        yield folder, files


def _with_parents(folder: str) -> set[str]:
    return {folder, *map(str, Path(folder).parents)}


def _labels_of(names: list[str]) -> tuple[NDArray[np.int64] | None, list[str]]:
    """Top-level sub-folders as classes, where every image is in one and there are two or more."""
    tops = [Path(name).parts[0] if len(Path(name).parts) > 1 else None for name in names]
    class_names = sorted({top for top in tops if top is not None})
    if len(class_names) < 2 or None in tops:
        return None, []
    number = {name: i for i, name in enumerate(class_names)}
    return np.array([number[top] for top in tops if top is not None]), class_names
