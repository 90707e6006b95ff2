"""What is in the ``.tar`` files of a collection, stored between runs: none is read twice."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from quarterturn.data.file_table import Stat, in_threads, read_stat
from quarterturn.data.tar_shard import Member, TarContents, read_tar
from quarterturn.errors import OutputError
from quarterturn.files import atomic_write
from quarterturn.progress import stage

FORMAT = 1


class ArchiveIndex:
    """The members of one collection's archives, including those stored by an earlier opening.

    An archive is read again if its size, its modification time, or the time of the last change to
    its directory entry differs.

    Args:
        data: The collection, as `quarterturn.data.data_argument.locate` has it.
        folder: Folder where an earlier opening may have stored its index; None for none.
    """

    def __init__(self, data: str, folder: Path | None = None) -> None:
        key = hashlib.sha256(data.encode(errors="surrogateescape")).hexdigest()[:16]
        self._file_name = f"archives-{key}.json"
        self._about = f"{FORMAT} {data}"
        self._stored: dict[str, dict[str, Any]] = {}
        if folder is not None:
            self._stored = self._read(folder / self._file_name)
        self._stored_in = folder if self._stored else None
        self._found: dict[str, dict[str, Any]] = {}

    def contents(self, paths: Sequence[str]) -> list[tuple[Stat, TarContents]]:
        """Size, times and contents of archives.

        Args:
            paths: Absolute paths.

        Raises:
            DataError: An archive is compressed, damaged, cut off, or has a name twice.
        """
        found = []
        with stage("archives", total=len(paths), weight=0) as bar:
            for path, (stat, contents) in zip(
                paths, in_threads(self._contents, paths, per_task=1), strict=True
            ):
                self._found[path] = _record(stat, contents)
                found.append((stat, contents))
                bar.advance()
        return found

    def keep(self, folder: Path) -> None:
        """Write the index of this opening, unless the stored one is up to date.

        A failed write costs only time: the archives are read again.

        Args:
            folder: Folder that the next opening is given; made if needed.
        """
        if not self._found or (self._found == self._stored and folder == self._stored_in):
            return
        # A full disk, or a run of another user that is readable but not writable.
        with suppress(OSError, OutputError):
            folder.mkdir(exist_ok=True)
            with atomic_write(folder / self._file_name, "w") as file:
                json.dump({"about": self._about, "archives": self._found}, file)

    def _contents(self, path: str) -> tuple[Stat, TarContents]:
        stat = read_stat(path)
        stored = self._stored.get(path)
        if stored is not None and _stat_of(stored) == stat:
            return stat, _contents_of(stored)
        return stat, read_tar(path)

    def _read(self, path: Path) -> dict[str, dict[str, Any]]:
        """The index of an earlier opening; empty if it is damaged or about other data."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["about"] != self._about:
                return {}
            archives = found["archives"]
            for record in archives.values():
                _stat_of(record)
                _contents_of(record)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return {}
        return archives


def _record(stat: Stat, contents: TarContents) -> dict[str, Any]:
    return {
        "stat": list(stat),
        "images": [list(member) for member in contents.images],
        "labels": contents.labels,
        "unreadable": contents.unreadable,
        "ignored": dict(contents.ignored),
    }


def _stat_of(record: dict[str, Any]) -> Stat:
    num_bytes, modified_ns, changed_ns = map(int, record["stat"])
    return num_bytes, modified_ns, changed_ns


def _contents_of(record: dict[str, Any]) -> TarContents:
    images = [Member(str(name), int(at), int(size)) for name, at, size in record["images"]]
    labels = [label for _, label in zip(images, record["labels"], strict=True)]
    return TarContents(images, labels, dict(record["unreadable"]), Counter(record["ignored"]))
