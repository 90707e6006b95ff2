"""``DATA`` as the user writes it: split NAME:ROOT, locate paths, and shorten to a name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from quarterturn.data.named_sources import NAMED_SOURCES
from quarterturn.data.shard_files import is_pattern, some_exist

DIGITS = "digits"


class NameAndRoot(NamedTuple):
    """The two halves of NAME:ROOT.

    Attributes:
        name: NAME, which need not be a data set known here.
        root: The folder ROOT.
    """

    name: str
    root: Path


def split_name(data: str) -> NameAndRoot | None:
    """NAME:ROOT as its halves; None for anything else, such as an existing path with a colon."""
    name, colon, root = data.partition(":")
    is_word = re.fullmatch(r"[\w-]+", name) is not None
    if not (colon and root and is_word) or Path(data).expanduser().exists():
        return None
    return NameAndRoot(name, Path(root).expanduser())


def locate(data: str) -> str:
    """DATA in a form that means the same from any working directory."""
    if data == DIGITS:
        return data
    named = split_name(data)
    if named is not None and named.name in NAMED_SOURCES:
        return f"{named.name}:{named.root.resolve()}"
    path = Path(data).expanduser()
    if path.suffix.lower() == ".csv":
        # A manifest lists paths relative to its own folder, so a link to the file is not followed.
        return str(path.parent.resolve() / path.name)
    return str(path.resolve())


def is_there(data: str) -> bool:
    """Whether anything is where DATA should be; it need not be readable."""
    named = split_name(data)
    is_named = named is not None and named.name in NAMED_SOURCES
    place = named.root if named is not None and is_named else Path(data).expanduser()
    if is_pattern(str(place)):
        return some_exist(str(place))
    return data == DIGITS or place.exists()


def short_name(data: str) -> str:
    """DATA as part of a file name: the last two parts of a path, or NAME and ROOT's last part."""
    named = split_name(data)
    if named is not None and named.name in NAMED_SOURCES:
        return f"{named.name}-{named.root.resolve().name}"
    words = "-".join(Path(locate(data)).with_suffix("").parts[-2:])
    return re.sub(r"[{}*?\[\],]+", "_", words) if is_pattern(data) else words
