"""The images that a run was trained on, so that tests on them can be counted or refused."""

from __future__ import annotations

from pathlib import Path

from quarterturn.data.data_argument import locate
from quarterturn.data.imageset import ArrayImages, ImageSet
from quarterturn.data.selection import select_images
from quarterturn.data.train_test_split import TrainTestSplit, open_training_data
from quarterturn.errors import DataError, QuarterturnError
from quarterturn.methods.classifier_options import ClassifierOptions
from quarterturn.runs.resumption import require_images
from quarterturn.runs.run import Run


def count_trained_on(
    run: Run, tests: ImageSet, data: str, *, index: Path | None = None
) -> dict[str, int | None]:
    """Count the test images that a run was trained on, itself or by the run it started from.

    Args:
        run: The run.
        tests: The test images.
        data: DATA that they are from.
        index: Where the headers of the run's image files are known; its own index by default.

    Returns:
        ``"test_images_learned_from"``, and ``"test_images_learned_with_labels"``: those of them
        that were trained on with their labels. Both are None if some of the training data, or a
        run, no longer exists.
    """
    total: int | None = None
    labelled: int | None = None
    try:
        without_labels, with_labels = _training_identities(run, index or run.index)
        tested = tests.identities(locate(data))
        total, labelled = len(tested & (without_labels | with_labels)), len(tested & with_labels)
    except QuarterturnError:
        pass  # a run is useful without its data
    return {"test_images_learned_from": total, "test_images_learned_with_labels": labelled}


def _training_identities(run: Run, index: Path) -> tuple[set[str], set[str]]:
    """Identities of the images trained on without labels, and of those trained on with labels.

    Args:
        run: The run.
        index: Where the headers of its image files are known.

    Raises:
        QuarterturnError: They are unknown.
    """
    if run.data is None:
        raise DataError(f"the weights of {run.path} came without their images")
    without_labels, with_labels = set[str](), set[str]()
    if (start := run.open_start()) is not None:
        without_labels, with_labels = _training_identities(start, run.index_of_start or index)
    if run.kind == "finetune":
        images = labelled_examples(run, run.data, index).train
        return without_labels, with_labels | images.identities(run.data)
    images = select_images(run.data, run.config.data, index=index).train
    identities = images.identities(run.data)
    if run.config.imbalance.reads_labels:
        return without_labels, with_labels | identities
    return without_labels | identities, with_labels


def labelled_examples(run: Run, data: str, index: Path) -> TrainTestSplit:
    """The images whose labels a classifier was trained with or tested on.

    Args:
        run: A run of ``finetune``.
        data: Its DATA.
        index: Where the headers of its image files are known.

    Raises:
        QuarterturnError: They are gone.
    """
    options = run.config.method_as(ClassifierOptions)
    split = open_training_data(
        data,
        run.config.data,
        leave_out_unknown=options.leave_out_empty,
        index=index,
    )
    # The run is finished, so empty classes did not stop it.
    return TrainTestSplit.of(
        split, run.config.run.seed, leave_out_empty=True, per_class=options.per_class
    )


def training_names(run: Run, data: str) -> dict[str, str] | None:
    """The images that a run was trained on: identity to name in the run.

    If files have been added to or removed from the run's data since, all its training images are
    listed; the run knows some of them. If the data is gone, a collection of the same fingerprint is
    taken to be that data, moved. The fingerprint is required, since uncompressed images of one size
    would match otherwise.

    Args:
        run: A run of ``pretrain``, or of ``upright``, whose fold networks together see all images.
        data: DATA whose images are looked up, as `locate` has it.

    Returns:
        `ImageSet.identity` to name; None if the run's data is gone and ``data`` is something else.

    Raises:
        DataError: The run's data is an archive that now holds other images.
    """
    if run.data is None:  # imported weights come without their images
        return None
    for place in dict.fromkeys([run.data, locate(data)]):
        try:
            selection = select_images(place, run.config.data, index=run.index)
        except DataError:
            continue  # gone, or no longer splits as the run's data did
        images = selection.chosen if run.kind == "upright" else selection.train
        if images.fingerprint() == run.fingerprint:
            return _names_by_identity(images, place)
        if place == run.data:
            if isinstance(images, ArrayImages):
                require_images(run, images)
            return _names_by_identity(selection.source.train, place)
    return None


def _names_by_identity(images: ImageSet, data: str) -> dict[str, str]:
    return {images.identity(index, data): name for index, name in enumerate(images.names)}
