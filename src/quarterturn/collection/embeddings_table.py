"""Embeddings as a ``.parquet`` file, for pandas, polars, DuckDB and LanceDB.

A row is an image that could be read. The columns are ``path`` (absolute; null where the image is no
file of its own), ``name``, ``split``, ``label``, ``cluster``, ``turn_degrees`` (counter-clockwise,
to bring it upright; null where that is not clear), ``x`` and ``y`` (its place on the map of
``explore``), and ``vector``, a list of D float32. Those from ``cluster`` to ``y`` are what
``explore`` found with the same network in the same images, and null where it has not been run.
Under the key ``quarterturn`` the schema's metadata say, as JSON, what the vectors are.

Shapes: n images; D width.
"""

from __future__ import annotations

import csv
import json
import logging
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quarterturn.collection.embeddings import Embeddings
from quarterturn.errors import ConfigError
from quarterturn.exploring.exploration_files import exploration_of
from quarterturn.files import replacing
from quarterturn.orientation.turns import TURN, UPRIGHT
from quarterturn.pages.tables import printable
from quarterturn.runs import Run
from quarterturn.runs.closing import command

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

ROWS_AT_ONCE = 16_384
FOUND = {"cluster": int, "turn_degrees": int, "x": float, "y": float}
"""Columns that ``collection.csv`` has."""
CLEAR = (UPRIGHT, *TURN.values())
"""Verdicts on images of which it is clear how they are stored."""


def require_pyarrow(out: Path) -> None:
    """Refuse to write a file for which a package is missing, before anything is computed for it.

    Raises:
        ConfigError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"{out} is written by pyarrow, which is an extra: pip install 'quarterturn[parquet]'; "
            "or give a file ending in .npz or .csv"
        ) from error


def write_parquet(out: Path, embeddings: Embeddings, run: Run, data: str) -> None:
    """Write the table; see above.

    Args:
        out: The file.
        embeddings: What to write.
        run: Whose network computed them.
        data: DATA that the images are from.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = _found(run, data, embeddings)
    schema = _schema(embeddings, run, data)
    with replacing(out) as partial, pq.ParquetWriter(partial, schema) as writer:
        for first in range(0, len(embeddings.names), ROWS_AT_ONCE):
            rows = slice(first, first + ROWS_AT_ONCE)
            values = pa.array(embeddings.values[rows].ravel(), pa.float32())
            vectors = pa.FixedSizeListArray.from_arrays(values, embeddings.values.shape[1])
            columns = {
                "path": [
                    None if file is None else printable(file) for file in embeddings.files[rows]
                ],
                "name": [printable(name) for name in embeddings.names[rows]],
                "split": embeddings.splits[rows],
                "label": [printable(words) or None for words in embeddings.label_words[rows]],
                **{column: values[rows] for column, values in found.items()},
            }
            arrays = [pa.array(columns[name], schema.field(name).type) for name in columns]
            writer.write_table(pa.Table.from_arrays([*arrays, vectors], schema=schema))


def _schema(embeddings: Embeddings, run: Run, data: str) -> pa.Schema:
    import pyarrow as pa

    about = {
        "run": str(run.path.resolve()),
        "data": data,
        "features": embeddings.part,
        "method": run.config.method.name,
        "backbone": run.config.model.backbone,
        "image_size": run.config.data.image_size,
        "quarterturn": version("quarterturn"),
    }
    width = embeddings.values.shape[1]
    return pa.schema(
        [
            ("path", pa.string()),
            ("name", pa.string()),
            ("split", pa.string()),
            ("label", pa.string()),
            ("cluster", pa.int32()),
            ("turn_degrees", pa.int16()),
            ("x", pa.float32()),
            ("y", pa.float32()),
            ("vector", pa.list_(pa.float32(), width)),
        ],
        metadata={"quarterturn": json.dumps(about)},
    )


def _found(run: Run, data: str, embeddings: Embeddings) -> dict[str, list[Any]]:
    """What explore has found, for each image; None where it has not seen it."""
    explored = exploration_of(run, data)
    nothing: dict[str, list[Any]] = {name: [None] * len(embeddings.names) for name in FOUND}
    if explored is None:
        given = [] if run.data == data else ["--data", data]
        logger.info(
            f"the columns {', '.join(FOUND)} are empty, since this network has not explored these "
            f"images: {command('explore', run.path, *given)}, then embed once more"
        )
        return nothing
    with open(explored, encoding="utf-8", errors="surrogateescape", newline="") as file:
        by_name = {(row["split"], row["name"]): row for row in csv.DictReader(file)}
    names = zip(embeddings.splits, embeddings.unique_names, strict=True)
    rows = [by_name.get(place, {}) for place in names]
    if missing := sum(not row for row in rows):
        logger.info(
            f"{missing:,} of {len(rows):,} images are not in {explored}, since they were added "
            f"after it: their {', '.join(FOUND)} are empty"
        )
    for row in rows:
        if row.get("verdict") not in CLEAR:
            row["turn_degrees"] = ""
    return {
        name: [kind(row[name]) if row.get(name) else None for row in rows]
        for name, kind in FOUND.items()
    }
