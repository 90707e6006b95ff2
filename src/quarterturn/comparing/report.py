"""``quarterturn report``: the page of a run, made again."""

from __future__ import annotations

import logging
from pathlib import Path

from quarterturn.pages.report import write_report
from quarterturn.runs import Run, seed_runs
from quarterturn.runs.lock import locked

logger = logging.getLogger(__name__)


def report(run: Path | str) -> Path:
    """Make the page of a run again, from what its directory holds.

    Runs of earlier versions have a page too, without what they did not keep.

    Args:
        run: The run directory, or that of several seeds, each of which has its page made.

    Returns:
        The page; of several seeds that of the first.

    Raises:
        CheckpointError: There is no such run.
    """
    runs = seed_runs(Path(run)) or [Run.open(run)]
    pages = []
    for each in runs:
        with locked(each.path):
            pages.append(write_report(each))
    for page in pages:
        logger.info("report: %s", page)
    return pages[0]
