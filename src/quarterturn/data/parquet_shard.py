"""The images of one ``.parquet`` file: a column of image files, read by row groups.

A row group is the smallest piece of a ``.parquet`` file that can be read, often a hundred or a
thousand rows. Of it only the bytes of the images are read, and each process keeps those that it
read last.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from quarterturn.data.image_file import UnreadableImageError
from quarterturn.data.shard_table import Block, changed, version_of
from quarterturn.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MAX_KEPT_BYTES = 256_000_000
"""Bytes of row groups that a process keeps; the last one is kept in any case."""


@dataclass(frozen=True)
class ParquetShard:
    """A ``.parquet`` file whose images are read by row groups.

    Attributes:
        path: Where it is, an absolute path.
        version: Its size and modification time when it was indexed.
        column: The column of the images' bytes, such as ``image.bytes``.
        starts: The first row of each row group, and the number of rows.
        group_bytes: Bytes of the column in each row group.
    """

    path: str
    version: tuple[int, int]
    column: str
    starts: tuple[int, ...]
    group_bytes: tuple[int, ...]

    knows_sizes: ClassVar[bool] = False

    def content(self, place: int) -> bytes:
        """The image file in a row.

        Raises:
            UnreadableImageError: The row holds no image, its row group is damaged, or the file has
                changed.
        """
        group = self._group(place)
        value = _row_groups.get(self, group)[place - self.starts[group]].as_py()
        if value is None:
            raise UnreadableImageError("no image in this row: its bytes are null")
        return bytes(value)

    def block(self, place: int) -> Block:
        """The row group of a row."""
        group = self._group(place)
        return Block(group, self.group_bytes[group], True)

    def read_group(self, group: int) -> pa.ChunkedArray:
        """The images' bytes of a row group.

        Raises:
            UnreadableImageError: It is damaged, or the file has changed.
        """
        import pyarrow as pa

        name = os.path.basename(self.path)
        try:
            # Opened for each row group: files may be more than a process may open, and a reader
            # with threads of its own does not live through a fork.
            with open_parquet(self.path, self.version) as file:
                table = file.read_row_group(group, columns=[self.column], use_threads=False)
        except (pa.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())  # some are of several lines
            raise UnreadableImageError(f"row group {group} of {name}: {reason}") from error
        column = table.column(0)
        if pa.types.is_struct(column.type):
            column = pa.chunked_array([_bytes_of(chunk) for chunk in column.chunks])
        return column

    def _group(self, place: int) -> int:
        return int(np.searchsorted(self.starts, place, side="right")) - 1


def _bytes_of(chunk: pa.StructArray) -> pa.Array:
    """The one field that was read of a column of structs; null where the struct is."""
    import pyarrow.compute as pc

    return pc.struct_field(chunk, [0])


class _RowGroups:
    """The row groups that this process read last; threads share them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], pa.ChunkedArray] = OrderedDict()
        self._num_bytes = 0
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._forget_lock)

    def get(self, shard: ParquetShard, group: int) -> pa.ChunkedArray:
        key = (shard.path, shard.version, shard.column, group)
        with self._lock:
            if (kept := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return kept
        read = shard.read_group(group)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = read
                self._num_bytes += read.nbytes
            while self._num_bytes > MAX_KEPT_BYTES and len(self._kept) > 1:
                self._num_bytes -= self._kept.popitem(last=False)[1].nbytes
        return read

    def _forget_lock(self) -> None:
        """A thread of the parent that held the lock does not exist in a forked worker."""
        self._lock = threading.Lock()


_row_groups = _RowGroups()


def open_parquet(path: str, version: tuple[int, int] | None = None) -> pq.ParquetFile:
    """A ``.parquet`` file, of which the metadata are read.

    Args:
        path: The file.
        version: What it has to be; see `version_of`.

    Raises:
        DataError: pyarrow is not installed.
        UnreadableImageError: It has changed.
        pyarrow.ArrowException: It is damaged.
    """
    try:
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DataError(
            f"{path} is read by pyarrow, which is an extra: pip install 'quarterturn[parquet]'"
        ) from error
    if version is not None and version_of(os.stat(path)) != version:
        raise changed(path)
    options: dict[str, Any] = {"pre_buffer": False, "page_checksum_verification": True}
    return pq.ParquetFile(path, **options)
