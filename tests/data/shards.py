"""Shards as their producers write them: `webdataset`'s TarWriter, and Hugging Face's `datasets`."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Member = tuple[str, bytes]


def write_tar(path: Path, members: Iterable[Member]) -> Path:
    """Members one after another in a stream, with the header fields that TarWriter sets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream, tarfile.open(fileobj=stream, mode="w|") as archive:
        for name, content in members:
            about = tarfile.TarInfo(name)
            about.size, about.mode, about.mtime = len(content), 0o444, 1_700_000_000
            about.uname = about.gname = "bigdata"
            archive.addfile(about, io.BytesIO(content))
    return path


def sample(key: str, image: Path, label: object = None) -> list[Member]:
    """A key's members, in sorted order as TarWriter has them: its label, then its image."""
    own = [(f"{key}{image.suffix}", image.read_bytes())]
    if label is None:
        return own
    return [(f"{key}.cls", str(label).encode()), *own]


def image_and_label(class_names: Sequence[str] | None = None) -> dict[str, Any]:
    """Features as `datasets` writes them to the schema's metadata."""
    label = {"dtype": "int64", "_type": "Value"}
    if class_names is not None:
        label = {"names": list(class_names), "_type": "ClassLabel"}
    return {"image": {"_type": "Image"}, "label": label}


def write_parquet(
    path: Path,
    columns: dict[str, Any],
    features: dict[str, Any] | None = None,
    *,
    rows_in_group: int = 5,
) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if features is not None:
        about = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": about})
    pq.write_table(table, path, row_group_size=rows_in_group, compression="snappy")
    return path


def as_structs(files: Iterable[Path]) -> Any:
    """Image files as `datasets` stores them."""
    import pyarrow as pa

    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": file.read_bytes(), "path": file.name} for file in files], kind)
