"""Upright copies of a collection: written one by one, those that cannot be are listed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from quarterturn.data.image_file import UnreadableImageError
from quarterturn.data.imageset import FileImages
from quarterturn.data.source import Source
from quarterturn.data.turned_files import CannotTurnError
from quarterturn.data.unreadable import list_unreadable
from quarterturn.data.upright_copies import UprightCopies
from quarterturn.errors import OutputError
from quarterturn.files import DISK_FULL, refusal
from quarterturn.orientation.options import OrientOptions
from quarterturn.orientation.reviewed_turns import ReviewedTurns
from quarterturn.pages.tables import printable
from quarterturn.progress import stage

logger = logging.getLogger(__name__)


def upright_copies(data: str, source: Source, options: OrientOptions) -> UprightCopies:
    """The folder of ``--write``, checked; see `UprightCopies.beside`."""
    assert options.write is not None
    return UprightCopies.beside(data, source, options.write, overwrite=options.overwrite)


def write_copies(
    copies: UprightCopies,
    source: Source,
    turns: ReviewedTurns,
    *,
    unreadable: Mapping[str, Collection[int]] | None = None,
    write_all: bool = False,
) -> dict[str, Any]:
    """Write the copies; one that cannot be written does not keep the others from being.

    Args:
        copies: Where they go.
        source: The images.
        turns: Which are turned, and by how much.
        unreadable: Split to numbers of images that are not copied.
        write_all: Copy the others too, as they are.

    Returns:
        ``folder``; how many were ``turned`` and ``copied``; and ``left_out``, file to the reason.

    Raises:
        OutputError: The disk is full.
    """
    written: dict[str, Any] = {
        "folder": str(copies.folder),
        "turned": 0,
        "copied": 0,
        "left_out": {},
    }
    for split, images in source.all_splits.items():
        assert isinstance(images, FileImages)
        of_split = turns[split]
        chosen = np.arange(len(images)) if write_all else np.array(sorted(of_split), np.int64)
        left = np.setdiff1d(chosen, list((unreadable or {}).get(split, ())))
        with stage("upright copies", total=len(left), weight=len(images)) as bar:
            for index in left.tolist():
                quarter_turns = of_split.get(index, 0)
                if reason := _write(copies, images, index, quarter_turns):
                    written["left_out"][str(images.path(index))] = reason
                else:
                    written["turned" if quarter_turns else "copied"] += 1
                bar.advance()
    if written["left_out"]:
        lines = ["copies that could not be written:", *list_unreadable(written["left_out"])]
        logger.warning(printable("\n".join(lines)))
    return written


def _write(copies: UprightCopies, images: FileImages, index: int, turns: int) -> str:
    """Write one copy; the reason if it cannot be written, else empty."""
    try:
        image = None if images.are_files else images.encoded(index)
        copies.write(images.path(index), turns, image)
    except (CannotTurnError, UnreadableImageError) as error:
        return str(error)
    except OutputError as error:
        cause = refusal(error)
        if cause is not None and cause.errno in DISK_FULL:
            raise  # all others would fail too
        return str(error)
    return ""


def require_whole(written: Mapping[str, Any]) -> None:
    """End a command that could not write all copies with an error, after all that it could do.

    Raises:
        OutputError: Some are missing.
    """
    missing = len(written["left_out"])
    if missing:
        done = written["turned"] + written["copied"]
        raise OutputError(
            f"{missing:,} of {missing + done:,} copies could not be written, for the reasons "
            f"listed above; the other {done:,} are in {written['folder']}"
        )
