"""Which shards DATA means: a folder of them, one file, or a pattern; and which split each is in.

Shards are ``.tar`` files in the WebDataset layout and ``.parquet`` files. A folder is one of shards
if it holds some and no image files beside them.
"""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from quarterturn.data.folder import list_files
from quarterturn.data.split_folders import NAMES, split_of
from quarterturn.errors import DataError

SUFFIXES = (".tar", ".parquet")
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4")
"""Suffixes of archives of which no image can be read without all those before it."""
MAX_FILES = 100_000
"""Most file names that a pattern in braces may stand for."""
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_INNERMOST = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class ShardFiles:
    """The shards of a collection.

    Attributes:
        root: The folder that the names are relative to.
        splits: Split to its shards' names; all are in ``train`` if there is no ``train`` with
            another split beside it.
        beside: Shards whose names and folders mean no split where others' do, counted by folder.
    """

    root: Path
    splits: dict[str, list[str]]
    beside: Counter[str]


def is_shard(name: str) -> bool:
    """Whether a file is taken as a shard by its name."""
    return name.lower().endswith((*SUFFIXES, *COMPRESSED))


def is_pattern(data: str) -> bool:
    """Whether DATA is a pattern of shards, such as ``photos-{000..012}.tar``."""
    return is_shard(data) and bool(re.search(r"[{*?\[]", data)) and not os.path.lexists(data)


def shards_below(root: Path) -> list[str]:
    """The names of all shards below a folder, in the order of image files."""
    return [name for name in list_files(root) if is_shard(name)]


def shards_of_pattern(pattern: str) -> tuple[Path, list[str]]:
    """The files that a pattern stands for: the folder above them all, and their names, in order.

    Braces mean what they do in a shell: ``{000..012}`` counts, ``{train,val}`` lists. ``*`` and
    ``?`` stand for what is there, sorted.

    Raises:
        DataError: Some of the files do not exist, or no file fits.
    """
    steady = re.split(r"[{*?\[]", pattern, maxsplit=1)[0]
    root = Path(os.path.dirname(steady) or ".")
    files: list[str] = []
    missing: list[str] = []
    for path in list(_expanded(pattern)):
        found = sorted(glob.glob(path)) if re.search(r"[*?\[]", path) else [path]
        files += found
        missing += [one for one in found if not os.path.exists(one)]
        if not found:
            missing.append(path)
    if missing:
        more = f" and {len(missing) - 5:,} more" if len(missing) > 5 else ""
        raise DataError(
            f"{pattern} stands for {len(files):,} files, of which {len(missing):,} do not exist: "
            f"{', '.join(missing[:5])}{more}"
        )
    return root, [os.path.relpath(file, root) for file in dict.fromkeys(files)]


def some_exist(pattern: str) -> bool:
    """Whether any of the files that a pattern stands for exists."""
    try:
        return any(glob.glob(path) for path in _expanded(pattern))
    except DataError:
        return False


def _expanded(pattern: str) -> Iterator[str]:
    """A pattern without its braces, every choice of each in turn; the first varies slowest."""
    number = 0
    waiting = [pattern]
    while waiting:
        found = _INNERMOST.search(first := waiting.pop())
        if found is None:
            number += 1
            if number > MAX_FILES:
                raise DataError(f"{pattern} stands for more than {MAX_FILES:,} files")
            yield first
        else:
            before, after = first[: found.start()], first[found.end() :]
            choices = _choices(pattern, found[1])
            waiting += [before + choice + after for choice in reversed(choices)]


def _choices(pattern: str, inside: str) -> Sequence[str]:
    if (ends := _RANGE.fullmatch(inside)) is not None:
        first, last = int(ends[1]), int(ends[2])
        if abs(last - first) >= MAX_FILES:
            raise DataError(f"{pattern} stands for more than {MAX_FILES:,} files")
        # As in a shell: leading zeros say how many digits every number has.
        has_zeros = any(len(end) > 1 and end.startswith("0") for end in ends.groups())
        digits = max(map(len, ends.groups())) if has_zeros else 0
        step = 1 if first <= last else -1
        return [f"{number:0{digits}}" for number in range(first, last + step, step)]
    if "," in inside:
        return inside.split(",")
    raise DataError(
        f"{pattern}: {{{inside}}} is no pattern; expected two numbers as in {{000..012}}, or "
        "a list as in {train,val}"
    )


def divided(root: Path, names: Sequence[str]) -> ShardFiles:
    """Shards by split: what their file names say, or else the folders that they are in.

    Raises:
        DataError: A shard is compressed.
    """
    if packed := [name for name in names if name.lower().endswith(COMPRESSED)]:
        raise DataError(
            f"{root / packed[0]} is compressed, so that no image in it can be read without all "
            "those before it; decompress it to a .tar file"
            + (f" ({len(packed):,} such files)" if len(packed) > 1 else "")
        )
    split_names = [_split_of_shard(name) for name in names]
    found = {split for split in split_names if split is not None}
    if "train" not in found or len(found) == 1:
        return ShardFiles(root, {"train": list(names)}, Counter())
    splits = {
        split: [name for name, of in zip(names, split_names, strict=True) if of == split]
        for split in NAMES
        if split in found
    }
    beside = Counter(
        os.path.join(os.path.dirname(name), "")
        for name, split in zip(names, split_names, strict=True)
        if split is None
    )
    return ShardFiles(root, splits, beside)


def _split_of_shard(name: str) -> str | None:
    """The split that one part of a shard's name means: its file's before its folders'."""
    path = PurePosixPath(name)
    for part in (path.stem, *reversed(path.parts[:-1])):
        words = re.split(r"[^a-zA-Z]+", part)
        meant = {split for word in words if (split := split_of(word)) is not None}
        if len(meant) == 1:
            return meant.pop()
    return None
