"""Where what was found in a collection is kept.

The files are ``explore.html``, the page; ``collection.csv``, every image with what was found of it;
and ``explore.json``, the figures of the page.
"""

from __future__ import annotations

import logging
from pathlib import Path

from quarterturn.data.data_argument import locate, short_name
from quarterturn.errors import CheckpointError
from quarterturn.kept_files import read_object
from quarterturn.runs import Run

logger = logging.getLogger(__name__)

PAGE, TABLE, FIGURES = "explore.html", "collection.csv", "explore.json"


def exploration_folder(run: Run, data: str | None) -> Path:
    """Where `quarterturn explore` puts what it finds, without ``--out``.

    Args:
        run: Whose network looks at the images.
        data: DATA; None for the run's own.
    """
    if data is None or (run.data is not None and locate(data) == locate(run.data)):
        return run.path
    return run.path / f"explore-{short_name(data)}"


def exploration_of(run: Run, data: str) -> Path | None:
    """The ``collection.csv`` of a run's network and of these images; None where there is none.

    One that is older than the network's weights is of another network, which is logged.
    """
    folder = exploration_folder(run, data)
    table = folder / TABLE
    try:
        of = read_object(folder / FIGURES)["data"]
        if not table.is_file() or locate(str(of)) != locate(data):
            return None
        if table.stat().st_mtime_ns < run.checkpoint.stat().st_mtime_ns:
            logger.info(f"{table} is older than the weights of {run.path}, and so is not used")
            return None
    except (OSError, KeyError, CheckpointError):
        return None
    return table
