"""The images of one ``.tar`` file in the WebDataset layout, found once and read by their offsets.

Files that belong together have one key, the name up to the first dot after the last slash:
``kitchen/7.jpg`` is the image, and ``kitchen/7.cls`` or ``kitchen/7.json`` has its label.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quarterturn.data.folder import is_image_name
from quarterturn.data.image_file import UnreadableImageError, irregular
from quarterturn.data.shard_table import Block, changed, inner_name, version_of
from quarterturn.errors import DataError

LABEL_KEYS = ("label", "cls", "class")
"""Keys of a ``.json`` file that may hold the label; the first one that is there does."""
MAX_LABEL_BYTES = 1_000_000
COMPRESSIONS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
"""First bytes of compressed files."""
DAMAGE = (tarfile.TarError, OSError, ValueError, OverflowError, LookupError, EOFError, MemoryError)
"""Errors that tarfile raises on damaged archives."""

Label = str | list[str] | None
"""The name of an image's class, or of several; None where it has no label."""


class Member(NamedTuple):
    """A file in an archive.

    Attributes:
        name: Its name, in the shortest form.
        offset: Where its contents begin, in bytes.
        num_bytes: Their length.
    """

    name: str
    offset: int
    num_bytes: int


@dataclass
class TarContents:
    """What is in a ``.tar`` file.

    Attributes:
        names: The names of the images, in the archive's order.
        offsets: Where the contents of each begin, in bytes.
        sizes: Their lengths, in bytes.
        labels: The label of each image.
        unreadable: Images that cannot be taken, by name, with the reason.
        ignored: Other files, counted by suffix.
    """

    names: list[str]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    labels: list[Label]
    unreadable: dict[str, str] = field(default_factory=dict)
    ignored: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class TarShard:
    """A ``.tar`` file whose images are read by their offsets.

    Attributes:
        path: Where it is, an absolute path.
        version: Its size and modification time when it was indexed.
        offsets: Where the contents of its images begin, by place, in bytes.
        sizes: Their lengths, in bytes.
    """

    path: str
    version: tuple[int, int]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]

    knows_sizes: ClassVar[bool] = True

    def content(self, place: int) -> bytes:
        """The image file at a place.

        Raises:
            UnreadableImageError: It cannot be read, or the archive has changed.
        """
        offset, num_bytes = int(self.offsets[place]), int(self.sizes[place])
        try:
            # Opened for each image: archives may be more than the files that a process may open.
            with open(self.path, "rb", buffering=0) as file:
                if version_of(os.fstat(file.fileno())) != self.version:
                    raise changed(self.path)
                content = os.pread(file.fileno(), num_bytes, offset)
        except OSError as error:
            reason = f"{os.path.basename(self.path)}: {error.strerror}"
            raise UnreadableImageError(reason) from error
        if len(content) < num_bytes:
            raise UnreadableImageError(f"{os.path.basename(self.path)} is cut off")
        return content

    def block(self, place: int) -> Block:
        """One image is read by itself."""
        return Block(place, int(self.sizes[place]), False)


def read_tar(path: str) -> TarContents:
    """Find the images of a ``.tar`` file and read their labels; no image is read.

    Raises:
        DataError: The archive is compressed, damaged, cut off, or has a name twice.
    """
    try:
        if (reason := irregular(os.stat(path))) is not None:
            raise DataError(f"{path} is {reason}; expected a .tar file")
        with open(path, "rb") as file:
            return _contents(path, list(_members(path, file)), file)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _members(path: str, file: BinaryIO) -> Iterator[tuple[Member, str]]:
    """Every member but folders, each with the reason why it is no file to read."""
    start = file.read(8)
    for magic, kind in COMPRESSIONS.items():
        if start.startswith(magic):
            raise DataError(
                f"{path} is compressed ({kind}), so that no image in it can be read without all "
                "those before it; decompress it"
            )
    file.seek(0)
    size, last = os.fstat(file.fileno()).st_size, "its beginning"
    archive = None
    try:
        archive = tarfile.TarFile(path, fileobj=file, errors="surrogateescape")
        while (about := archive.next()) is not None:
            # tarfile would keep a kilobyte for each member.
            archive.members = []  # type: ignore[attr-defined]
            if about.isdir():
                continue
            name, reason = inner_name(about.name), ""
            if name is None:
                name, reason = about.name.replace("\0", "?"), "its name leads out of the archive"
            elif not about.isreg():
                reason = "a link or a device in the archive; expected the image itself"
            elif about.issparse():
                reason = "stored as a sparse file; write the archive without --sparse"
            elif not 0 <= about.offset_data <= about.offset_data + about.size <= size:
                raise DataError(_damage(path, f"after {last}", "a member reaches beyond its end"))
            last = name
            yield Member(name, about.offset_data, about.size), reason
        _check_end(path, file, archive.offset, f"after {last}")
    except DAMAGE as error:
        raise DataError(_damage(path, f"after {last}", str(error))) from error


def _check_end(path: str, file: BinaryIO, offset: int, place: str) -> None:
    """Refuse an archive that ends otherwise than by blocks of zeros.

    tarfile takes a damaged header, or half of one, for the end.
    """
    file.seek(offset)
    block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise DataError(_damage(path, place, "it ends without the mark of its end"))
    while block:
        if block.strip(b"\0"):
            raise DataError(
                _damage(
                    path,
                    place,
                    "something that is no member follows (archives that were "
                    "joined with cat are not one archive)",
                )
            )
        block = file.read(2**20)


def _damage(path: str, place: str, reason: str) -> str:
    return (
        f"{path} is damaged or cut off {place}: {reason}. Copy or write it again, or move it away "
        "to use the others"
    )


def _contents(path: str, members: list[tuple[Member, str]], file: BinaryIO) -> TarContents:
    """The images among the members, one of each key, with the labels beside them."""
    _check_repeats(path, [member.name for member, _ in members])
    images, labels = list[Member](), list[Label]()
    unreadable, ignored = dict[str, str](), Counter[str]()
    samples: dict[str, dict[str, Member]] = {}
    for member, reason in members:
        key, suffix = _key_and_suffix(member.name)
        if reason and _is_image(member.name):
            unreadable[member.name] = reason
        elif reason or not suffix:
            is_hidden = not suffix and "/." in f"/{member.name}"
            ignored["hidden" if is_hidden else suffix.lower() or "(no suffix)"] += 1
        else:
            samples.setdefault(key, {})[suffix] = member
    for sample in samples.values():
        found = _images_of(sample)
        if len(found) > 1:
            kinds = " and ".join(found)
            for suffix in found:
                name = sample.pop(suffix).name
                unreadable[name] = f"its key has several images, {kinds}; expected one"
        elif found:
            images.append(sample.pop(found[0]))
            labels.append(_take_label(sample, file))
        ignored.update(suffix.lower() for suffix in sample)
    # The files of a key need not lie together.
    order = sorted(range(len(images)), key=lambda i: images[i].offset)
    return TarContents(
        [images[i].name for i in order],
        np.array([images[i].offset for i in order], np.int64),
        np.array([images[i].num_bytes for i in order], np.int64),
        [labels[i] for i in order],
        unreadable,
        ignored,
    )


def _check_repeats(path: str, names: list[str]) -> None:
    if len(set(names)) < len(names):
        twice = [name for name, number in Counter(names).items() if number > 1]
        more = f" and {len(twice) - 5} others" if len(twice) > 5 else ""
        raise DataError(
            f"{path} has more than one member named {', '.join(map(repr, twice[:5]))}{more}; "
            "expected each name once: write the archive again"
        )


def _key_and_suffix(name: str) -> tuple[str, str]:
    """``a/7.seg.png`` as ``a/7`` and ``.seg.png``; without a suffix where it has none."""
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    return (folder + slash + stem, dot + suffix) if stem else (name, "")


def _is_image(name: str) -> bool:
    return is_image_name(name.rpartition("/")[2])


def _images_of(sample: dict[str, Member]) -> list[str]:
    """The suffixes of a key's images: ``.jpg`` before ``.seg.png``, which is beside an image."""
    images = [suffix for suffix, member in sample.items() if _is_image(member.name)]
    plain = [suffix for suffix in images if suffix.count(".") == 1]
    return plain or images


def _take_label(sample: dict[str, Member], file: BinaryIO) -> Label:
    """The label of a key; the file that it is from is taken out of the sample."""
    for suffix in (".cls", ".json"):
        if suffix in sample and (label := _label_in(sample[suffix], suffix, file)) is not None:
            del sample[suffix]
            return label
    return None


def _label_in(member: Member, suffix: str, file: BinaryIO) -> Label:
    if member.num_bytes > MAX_LABEL_BYTES:
        return None
    file.seek(member.offset)
    try:
        text = file.read(member.num_bytes).decode().strip()
        return label_of(_in_json(json.loads(text)) if suffix == ".json" else text)
    except (ValueError, RecursionError):  # no text, or no JSON
        return None


def _in_json(found: Any) -> Any:
    if not isinstance(found, dict):
        return found
    return next((found[key] for key in LABEL_KEYS if key in found), None)


def label_of(value: Any) -> Label:
    """A label as words: of text, of a whole number, or of a list of these; None for anything else.

    A negative number, which data sets put for "not known", is none.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return str(value) if value >= 0 else None
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, list):
        words = [label_of(one) for one in value]
        if all(isinstance(word, str) for word in words):
            return [word for word in words if isinstance(word, str)]
    return None
