"""Image files listed in a ``.csv`` manifest: ``path[,label][,split]``.

The first line names the columns, in any order, between commas, semicolons or tabs. The images keep
the order of the rows.

Where any label holds a ``|``, images have several labels each: ``cat|dog``, or ``|`` for none of
the classes.
"""

from __future__ import annotations

import csv
import errno
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from quarterturn.data.class_words import with_classes, with_label_sets
from quarterturn.data.header_index import HeaderIndex
from quarterturn.data.imageset import FileImages
from quarterturn.data.indexed_files import IndexedFiles, index_files
from quarterturn.data.label_sets import SEPARATOR
from quarterturn.errors import DataError
from quarterturn.files import unguarded

NAMES = {",": "comma", ";": "semicolon", "\t": "tab"}
"""Separators that are understood."""
COLUMNS = ("path", "label", "split")
SPLITS = ("train", "val", "test")
NO_SUCH_FILE = os.strerror(errno.ENOENT)
MAX_LISTED = 20


@dataclass(frozen=True)
class Manifest:
    """The content of a manifest.

    Attributes:
        splits: The files of each split; all are in ``train`` if there is no column ``split``.
        ignored_columns: Columns other than path, label and split.
        labelled: The images with a label, of each split in which others have none.
    """

    splits: dict[str, IndexedFiles]
    ignored_columns: list[str]
    labelled: dict[str, FileImages]


class Row(NamedTuple):
    """A row of a manifest.

    Attributes:
        line: Its line in the file, counted from 1.
        path: The image file, as written.
        label: Name of its class, or an empty string.
        split: ``train``, ``val`` or ``test``.
    """

    line: int
    path: str
    label: str
    split: str


def index_manifest(path: Path, index: HeaderIndex) -> Manifest:
    """Read a manifest and the headers of its image files.

    Paths are absolute, or relative to the manifest's folder. Each split numbers its classes on its
    own, as in a folder, in sorted order; by value if all are integers. A split with some images
    without a label counts as unlabelled, also where others have several: an empty cell does not say
    that none of the classes is there. Those that have one are kept beside it.

    Args:
        path: The manifest, in UTF-8.
        index: The index of headers.

    Raises:
        DataError: The manifest cannot be read, has no column ``path``, lists an image twice, has a
            split of another name, or has no split ``train``.
    """
    rows, ignored_columns = _read_rows(path)
    _check_split_names(path, rows)
    _check_duplicates(path, rows)
    has_several = any(SEPARATOR in row.label for row in rows)
    splits, labelled = {}, {}
    for split in SPLITS:
        if members := [row for row in rows if row.split == split]:
            files = index_files(path.parent, [row.path for row in members], index)
            images = _with_labels(files.images, members, has_several=has_several)
            if images.unlabelled:
                labelled[split] = _only_labelled(files.images, members, has_several=has_several)
            splits[split] = replace(
                files,
                images=images,
                unreadable={
                    name: "no such file" if reason == NO_SUCH_FILE else reason
                    for name, reason in files.unreadable.items()
                },
            )
    if "train" not in splits:
        raise DataError(f"{path} has no images in the split 'train'")
    return Manifest(splits, ignored_columns, labelled)


def _read_rows(path: Path) -> tuple[list[Row], list[str]]:
    """The rows that are not blank, and the ignored columns."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            separator = _separator(file.readline())
            file.seek(0)
            reader = csv.reader(file, delimiter=separator, skipinitialspace=True, strict=True)
            header = [name.strip() for name in next(reader, [])]
            lines = [(reader.line_num, cells) for cells in reader if any(map(str.strip, cells))]
    except FileNotFoundError:
        raise DataError(f"no file {path}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text, as a manifest must be: {error}") from error
    except csv.Error as error:
        raise DataError(f"{path} is damaged at line {reader.line_num}: {error}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if "path" not in header:
        found = ", ".join(map(repr, header)) or "nothing"
        raise DataError(
            f"{path} has no column 'path': its first line has {found}; expected "
            "path[,label][,split]"
        )
    if twice := [name for name in COLUMNS if header.count(name) > 1]:
        raise DataError(f"{path} has more than one column {twice[0]!r}")
    if uneven := [line for line, cells in lines if len(cells) != len(header)]:
        raise DataError(
            f"{path} has more or fewer cells than the {len(header)} of its first line on "
            f"{_listed(uneven)}; quote cells that contain a "
            f"{NAMES[separator]}"
        )

    def column(name: str, default: str) -> list[str]:
        if name not in header:
            return [default] * len(lines)
        return [cells[header.index(name)] for _, cells in lines]

    labels, splits = column("label", ""), column("split", "train")
    rows = [
        Row(line, _as_stored(path.parent, name), label.strip(), split.strip())
        for (line, _), name, label, split in zip(
            lines, column("path", ""), labels, splits, strict=True
        )
    ]
    if unnamed := [row.line for row in rows if not row.path.strip() or "\0" in row.path]:
        raise DataError(f"{path} has no file path on {_listed(unnamed)}")
    return rows, [name or "(unnamed)" for name in header if name not in COLUMNS]


def _separator(first_line: str) -> str:
    """Comma, semicolon or tab: the one that sets the name ``path`` apart in the first line."""
    for separator in NAMES:
        if "path" in (name.strip().strip('"') for name in first_line.split(separator)):
            return separator
    return ","


def _as_stored(folder: Path, name: str) -> str:
    """A path as written; if no such file is there, without blanks and a spreadsheet's guard."""
    plain = unguarded(name.strip())
    if plain == name or os.path.lexists(folder / name.replace("\0", "")):
        return name
    return plain


def _check_split_names(path: Path, rows: list[Row]) -> None:
    if others := [row for row in rows if row.split not in SPLITS]:
        names = ", ".join(map(repr, dict.fromkeys(row.split for row in others[:MAX_LISTED])))
        raise DataError(
            f"{path} has the split {names} on {_listed(row.line for row in others)}; expected "
            f"{', '.join(SPLITS)}"
        )


def _check_duplicates(path: Path, rows: list[Row]) -> None:
    lines: dict[str, list[int]] = {}
    for row in rows:
        lines.setdefault(os.path.normpath(path.parent / row.path), []).append(row.line)
    twice = [f"  {name}: {_listed(on)}" for name, on in lines.items() if len(on) > 1]
    if twice:
        more = [f"  ... and {len(twice) - MAX_LISTED} more"] if len(twice) > MAX_LISTED else []
        raise DataError(
            "\n".join([f"{path} lists images more than once:", *twice[:MAX_LISTED], *more])
        )


def _with_labels(images: FileImages, rows: list[Row], *, has_several: bool) -> FileImages:
    """The readable images with their labels, if all rows have some."""
    if without := [row.line for row in rows if not row.label]:
        some = len(without) < len(rows)
        reason = f"the split {rows[0].split!r} has labels, but none on {_listed(without)}"
        return replace(images, unlabelled=reason if some else "")
    label_of = {row.path: row.label for row in rows}
    labels = [label_of[name] for name in images.names]
    if not has_several:
        return with_classes(images, labels)
    several = [[part for part in map(str.strip, x.split(SEPARATOR)) if part] for x in labels]
    return with_label_sets(images, several)


def _only_labelled(images: FileImages, rows: list[Row], *, has_several: bool) -> FileImages:
    """Those of the readable images whose row has a label, with it."""
    with_label = [row for row in rows if row.label]
    paths = {row.path for row in with_label}
    numbers = [number for number, name in enumerate(images.names) if name in paths]
    part = images.subset(np.array(numbers, np.int64))
    return _with_labels(part, with_label, has_several=has_several)


def _listed(lines: Iterable[int]) -> str:
    """Line numbers in words, shortened to the first ones."""
    numbers: Sequence[int] = list(lines)
    word = "line " if len(numbers) == 1 else "lines "
    more = f" and {len(numbers) - MAX_LISTED} more" if len(numbers) > MAX_LISTED else ""
    return word + ", ".join(map(str, numbers[:MAX_LISTED])) + more
