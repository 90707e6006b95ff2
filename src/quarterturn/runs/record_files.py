"""The one reader and writer of records: dataclasses to JSON and back, with the format's number.

Files of the first format, in which the four parts of a score's name were joined by slashes, are
read here too, and nowhere else.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from quarterturn.errors import CheckpointError
from quarterturn.kept_files import read_object
from quarterturn.runs.records import MEASURES

if TYPE_CHECKING:
    from cattrs import Converter

FORMAT = 2
"""Of the files; the first one joined a score's name by slashes."""

Record = TypeVar("Record")


def to_json(record: Any) -> dict[str, Any]:
    """A record as plain JSON values, with the format's number first."""
    return {"format": FORMAT, **_converter().unstructure(record)}


def from_json(stored: dict[str, Any], kind: type[Record]) -> Record:
    """The record that was stored, in this form or the former one.

    Raises:
        ValueError: It does not have the fields of such a record, or was written by a later version.
    """
    if not isinstance(stored, dict):
        raise ValueError(f"expected an object, found {type(stored).__name__}")
    version = stored.get("format", 1)
    if not isinstance(version, int):
        raise ValueError(f"format is {version!r}; expected a whole number")
    if version > FORMAT:
        raise ValueError(f"format {version} was written by a later version of quarterturn")
    if version == 1:
        stored = _upgraded(stored)
    try:
        return _converter().structure(stored, kind)
    except Exception as error:  # cattrs raises groups of errors, one for each field
        raise ValueError("; ".join(_reasons(error))) from error


def read_record(path: Path, kind: type[Record]) -> Record:
    """The record in a file.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: It is damaged, or no such record.
    """
    stored = read_object(path)
    try:
        return from_json(stored, kind)
    except ValueError as error:
        raise CheckpointError(f"{path} cannot be used: {error}") from error


def _upgraded(stored: dict[str, Any]) -> dict[str, Any]:
    """The former form: ``figures`` by ``<origin>/<part>/<classifier>/<view>``, with ``by_seed``."""
    figures = stored.get("figures")
    if not isinstance(figures, dict) or not any("/" in name for name in figures):
        return stored  # a classifier's: its form has not changed
    scores = []
    for name, found in figures.items():
        # Layers have no slash in their name, so the four are the first two and the last two.
        origin, part, classifier, view = name.split("/")
        repeats = found.get("by_seed", [])
        scores.append(
            {
                "origin": origin,
                "part": part,
                "classifier": classifier,
                "view": view,
                "measures": {
                    m: {**found[m], "values": [metrics.get(m) for metrics in repeats]}
                    for m in MEASURES
                    if m in found
                },
                "repeats": repeats,
            }
        )
    return {**stored, "scores": scores}


@cache
def _converter() -> Converter:
    """Dataclasses to and from JSON; loaded on first use, so that importing this costs nothing."""
    from cattrs.preconf.json import make_converter

    return make_converter()


def _reasons(error: Exception) -> list[str]:
    from cattrs import transform_error

    return [re.sub(r" @ \$", " at ", reason) for reason in transform_error(error)]
