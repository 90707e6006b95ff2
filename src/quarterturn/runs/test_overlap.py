"""How many test images a run has learned from already, with their labels or without."""

from __future__ import annotations

from pathlib import Path

from quarterturn.data.identity import identities
from quarterturn.data.imageset import ImageSet
from quarterturn.data.selection import select_images
from quarterturn.data.sources import locate
from quarterturn.data.train_test_split import TrainTestSplit, open_training_data
from quarterturn.errors import DataError, QuarterturnError
from quarterturn.runs import Run


def count_learned(path: Path | str, tests: ImageSet, data: str) -> dict[str, int | None]:
    """Count the images that a run has learned from, or the run that its training began with.

    Args:
        path: The run.
        tests: The images that are to be tested on.
        data: DATA that they are from.

    Returns:
        ``"test_images_learned_from"``, and how many of these it has learned from with their labels,
        ``"test_images_learned_with_labels"``; None for both where data that it learned from, or
        a run, is gone.
    """
    total: int | None = None
    labelled: int | None = None
    try:
        seen, seen_with_labels = _learned(Run.open(path))
        held = identities(tests, locate(data))
        total, labelled = len(held & (seen | seen_with_labels)), len(held & seen_with_labels)
    except QuarterturnError:
        pass  # a run is of use without its data
    return {"test_images_learned_from": total, "test_images_learned_with_labels": labelled}


def _learned(run: Run) -> tuple[set[str], set[str]]:
    """Identities of the images learned from without labels, and of those with labels.

    Raises:
        QuarterturnError: They are not known.
    """
    if run.data is None:
        raise DataError(f"the weights of {run.path} came without their images")
    seen, with_labels = (set(), set()) if run.start is None else _learned(Run.open(run.start))
    if run.kind == "finetune":
        split = open_training_data(run.data, run.config, index=run.index)
        # Whether classes are empty is no matter here: the run has been made.
        images = TrainTestSplit.of(split, run.config.run.seed, leave_out_empty=True).train
        return seen, with_labels | identities(images, run.data)
    images = select_images(run.data, run.config.data, index=run.index).train
    found = identities(images, run.data)
    if run.config.imbalance.reads_labels:
        return seen, with_labels | found
    return seen | found, with_labels
