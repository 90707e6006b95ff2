"""What is in a ``.parquet`` file: the column of images, their names, and their labels.

As Hugging Face's ``datasets`` writes it, ``image`` is a struct of ``bytes`` and ``path``, and the
metadata of the schema say which column is the label and what its classes are called. Images may be
a plain column of bytes too.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quarterturn.data.file_table import Stat, read_stat
from quarterturn.data.image_file import irregular
from quarterturn.data.parquet_shard import ParquetShard, open_parquet
from quarterturn.data.shard_table import inner_name
from quarterturn.data.tar_shard import Label, label_of
from quarterturn.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

IMAGE = "image"
LABELS = ("label", "labels", "class", "cls")
"""Columns taken as labels where no metadata say which one is."""


@dataclass(frozen=True)
class ParquetContents:
    """The rows of a ``.parquet`` file.

    Attributes:
        shard: Reads the images.
        names: The name of each row's image.
        labels: The label of each.
        unlabelled: Why there are no labels, if some might be expected.
        ignored_columns: The other columns.
        stat: A checksum of its metadata, and its times.
    """

    shard: ParquetShard
    names: list[str]
    labels: list[Label]
    unlabelled: str
    ignored_columns: list[str]
    stat: Stat


def read_parquet(path: str) -> ParquetContents:
    """Read the metadata, names and labels of a ``.parquet`` file; no image is read.

    Args:
        path: The file, an absolute path.

    Raises:
        DataError: The file is damaged, or has no column of images, or several; or pyarrow is not
            installed.
    """
    try:
        about = os.stat(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    if (reason := irregular(about)) is not None:
        raise DataError(f"{path} is {reason}; expected a .parquet file")
    num_bytes, modified_ns, changed_ns = read_stat(path)
    with _damage_explained(path), open_parquet(path) as file:
        features = _features(file.schema_arrow)
        image, column, paths = _image_column(path, file.schema_arrow, features)
        label, unlabelled = _label_column(file.schema_arrow, features)
        starts, group_bytes = _row_groups(file, column)
        names = _names(file, paths)
        labels: list[Label] = [None] * len(names)
        if label is not None:
            values = file.read(columns=[label], use_threads=False).column(0).to_pylist()
            labels = _labels(values, _class_names(features.get(label)))
        others = [name for name in file.schema_arrow.names if name not in (image, label)]
        checksum = _checksum(path, num_bytes)
    shard = ParquetShard(path, (num_bytes, modified_ns), column, starts, group_bytes)
    return ParquetContents(
        shard, names, labels, unlabelled, others, (checksum, modified_ns, changed_ns)
    )


@contextmanager
def _damage_explained(path: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # pyarrow's errors are not known before it is imported
        import pyarrow as pa

        if not isinstance(error, pa.ArrowException | OSError):
            raise
        reason = " ".join(str(error).split()).rstrip(".")
        raise DataError(
            f"{path} is damaged, or no parquet file: {reason}. Copy or write it again, or move it "
            "away to use the others"
        ) from error


def _checksum(path: str, num_bytes: int) -> int:
    """CRC-32 of the metadata, which has the sizes and places of all pieces, and of the size."""
    with open(path, "rb") as file:
        file.seek(-8, os.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - length, os.SEEK_END)
        return zlib.crc32(file.read(length), num_bytes)


def _row_groups(file: pq.ParquetFile, column: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The first row of each row group and the number of rows; bytes of the column in each."""
    about, starts, num_bytes = file.metadata, [0], list[int]()
    number = next(i for i in range(about.num_columns) if about.schema.column(i).path == column)
    for group in range(about.num_row_groups):
        of_group = about.row_group(group)
        starts.append(starts[-1] + of_group.num_rows)
        num_bytes.append(of_group.column(number).total_uncompressed_size)
    return tuple(starts), tuple(num_bytes)


def _features(schema: pa.Schema) -> dict[str, Any]:
    """What ``datasets`` says of the columns; empty where it did not write the file."""
    try:
        found = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (LookupError, ValueError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _image_column(
    path: str, schema: pa.Schema, features: dict[str, Any]
) -> tuple[str, str, str | None]:
    """The column of images, that of their bytes, and that of their paths if there is one.

    What ``datasets`` calls images, else what is laid out as it lays images out, else bytes.
    """
    structs = [field.name for field in schema if _has_bytes(field.type)]
    plain = [field.name for field in schema if _is_binary(field.type)]
    declared = [
        name
        for name in structs + plain
        if isinstance(features.get(name), dict) and features[name].get("_type") == "Image"
    ]
    candidates = declared or structs or plain
    if not candidates:
        found = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
        raise DataError(
            f"{path} has no column of images; expected bytes of image files, or a struct with "
            f"'bytes' as Hugging Face's datasets writes it. Its columns: {found}"
        )
    if len(candidates) > 1 and IMAGE not in candidates:
        raise DataError(
            f"{path} has {len(candidates)} columns of images: {', '.join(candidates)}; expected "
            f"one, or one named {IMAGE!r}. Rename the one that is meant"
        )
    name = candidates[0] if len(candidates) == 1 else IMAGE
    if name in plain:
        return name, name, None
    fields = [field.name for field in schema.field(name).type]
    return name, f"{name}.bytes", f"{name}.path" if "path" in fields else None


def _has_bytes(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if not pa.types.is_struct(kind):
        return False
    number = kind.get_field_index("bytes")
    return number >= 0 and _is_binary(kind.field(number).type)


def _is_binary(kind: pa.DataType) -> bool:
    from pyarrow import types

    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def _names(file: pq.ParquetFile, column: str | None) -> list[str]:
    """The paths that the rows have, where they are names; else the rows' numbers."""
    num_rows = file.metadata.num_rows
    if column is not None:
        table = file.read(columns=[column], use_threads=False)
        found = [None if row is None else row["path"] for row in table.column(0).to_pylist()]
        names = [inner_name(name) if isinstance(name, str) and name else None for name in found]
        if None not in names and len(set(names)) == num_rows:
            return [name for name in names if name is not None]
    digits = len(str(max(num_rows - 1, 0)))
    return [f"{row:0{digits}}" for row in range(num_rows)]


def _label_column(schema: pa.Schema, features: dict[str, Any]) -> tuple[str | None, str]:
    """The column of labels, or None and why there is none, if some might be expected."""
    declared = [name for name in schema.names if _class_label(features.get(name)) is not None]
    if len(declared) > 1 and "label" not in declared:
        reason = f"it has several columns of labels, {', '.join(declared)}; name one 'label'"
        return None, reason
    if declared:
        return ("label" if "label" in declared else declared[0]), ""
    return next((name for name in LABELS if name in schema.names), None), ""


def _class_label(feature: Any) -> dict[str, Any] | None:
    """A ``ClassLabel`` of ``datasets``, or that of a list of them; None for anything else."""
    if isinstance(feature, list) and len(feature) == 1:
        return _class_label(feature[0])
    if not isinstance(feature, dict):
        return None
    if feature.get("_type") == "ClassLabel":
        return feature
    return _class_label(feature["feature"]) if "feature" in feature else None


def _class_names(feature: Any) -> Sequence[str]:
    names = (_class_label(feature) or {}).get("names")
    return names if isinstance(names, list) and all(isinstance(n, str) for n in names) else []


def _labels(values: Sequence[Any], class_names: Sequence[str]) -> list[Label]:
    """The names of classes that the numbers stand for; numbers are names where there are none."""

    def named(value: Any) -> Any:
        if isinstance(value, list):
            return [named(one) for one in value]
        is_number = isinstance(value, int) and not isinstance(value, bool)
        return class_names[value] if is_number and 0 <= value < len(class_names) else value

    return [label_of(named(value)) for value in values]
