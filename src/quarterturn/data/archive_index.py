"""What is in the ``.tar`` files of a collection, stored between runs: none is read twice."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from quarterturn.data.file_table import Stat, in_threads, read_stat
from quarterturn.data.tar_shard import TarContents, read_tar
from quarterturn.errors import OutputError
from quarterturn.files import atomic_write
from quarterturn.progress import stage

FORMAT = 1
Indexed = tuple[Stat, TarContents]
"""Size and times of an archive, and what is in it."""


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
        self._stored: dict[str, Indexed] = {}
        if folder is not None:
            self._stored = self._read(folder / self._file_name)
        self._stored_in = folder if self._stored else None
        self._found: dict[str, Indexed] = {}
        self._has_new = False

    def contents(self, paths: Sequence[str]) -> list[Indexed]:
        """Size, times and contents of archives.

        Args:
            paths: Absolute paths.

        Raises:
            DataError: An archive is compressed, damaged, cut off, or has a name twice.
        """
        found = []
        with stage("archives", total=len(paths), weight=0) as bar:
            for indexed in in_threads(self._indexed, paths, per_task=1):
                found.append(indexed)
                bar.advance()
        self._found = dict(zip(paths, found, strict=True))
        self._has_new = any(self._found[path] is not self._stored.get(path) for path in paths)
        return found

    def keep(self, folder: Path) -> None:
        """Write the index of this opening, unless the stored one is up to date.

        A failed write costs only time: the archives are read again.

        Args:
            folder: Folder that the next opening is given; made if needed.
        """
        is_same = not self._has_new and self._found.keys() == self._stored.keys()
        if not self._found or (is_same and folder == self._stored_in):
            return
        archives = {path: _record(*indexed) for path, indexed in self._found.items()}
        # A full disk, or a run of another user that is readable but not writable.
        with suppress(OSError, OutputError):
            folder.mkdir(exist_ok=True)
            with atomic_write(folder / self._file_name, "w") as file:
                json.dump({"about": self._about, "archives": archives}, file)

    def _indexed(self, path: str) -> Indexed:
        stat = read_stat(path)
        stored = self._stored.get(path)
        return stored if stored is not None and stored[0] == stat else (stat, read_tar(path))

    def _read(self, path: Path) -> dict[str, Indexed]:
        """The index of an earlier opening; empty if it is damaged or about other data."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["about"] != self._about:
                return {}
            return {path: _indexed(record) for path, record in found["archives"].items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return {}


def _record(stat: Stat, contents: TarContents) -> dict[str, Any]:
    return {
        "stat": list(stat),
        "names": contents.names,
        "offsets": contents.offsets.tolist(),
        "sizes": contents.sizes.tolist(),
        "labels": contents.labels,
        "unreadable": contents.unreadable,
        "ignored": dict(contents.ignored),
    }


def _indexed(record: dict[str, Any]) -> Indexed:
    num_bytes, modified_ns, changed_ns = map(int, record["stat"])
    columns = [record[key] for key in ("names", "offsets", "sizes", "labels")]
    if len({len(column) for column in columns}) > 1:
        raise ValueError("columns of different lengths")
    contents = TarContents(
        [str(name) for name in record["names"]],
        np.array(record["offsets"], np.int64),
        np.array(record["sizes"], np.int64),
        record["labels"],
        dict(record["unreadable"]),
        Counter(record["ignored"]),
    )
    return (num_bytes, modified_ns, changed_ns), contents
