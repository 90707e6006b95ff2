"""The features of a run's network, for commands that may run beside others on the same run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from quarterturn.errors import CheckpointError, OutputError
from quarterturn.features.cache import FeatureCache
from quarterturn.runs import Run
from quarterturn.runs.lock import locked

logger = logging.getLogger(__name__)

FOLDER = "features"
"""Within the run."""


@contextmanager
def run_cache(run: Run, *, is_main: bool = True) -> Iterator[FeatureCache]:
    """The feature cache of a run, which is read in any case, and written to where that is possible.

    A run that is being trained can be embedded meanwhile, and one on a read-only disk at any time;
    then nothing is added to its cache, which is logged.

    Args:
        run: The run.
        is_main: Whether this process is given the features; of several, the others only help.
    """
    folder = run.path / FOLDER
    with ExitStack() as held:
        keeps = is_main
        if is_main:
            try:
                held.enter_context(locked(run.path))
            except (CheckpointError, OutputError) as error:
                logger.info(f"features are computed and not kept: {error}")
                keeps = False
        yield FeatureCache(folder, keeps=keeps)
