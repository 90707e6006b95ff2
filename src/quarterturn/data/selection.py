"""Which images of a source take part: long tails, limits, held-out images, stratified splits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ImageSet
from quarterturn.data.long_tail import long_tail_indices
from quarterturn.data.sources import MIN_IMAGES, Source, open_source
from quarterturn.errors import DataError
from quarterturn.randomness import permutation

SELECTION_SEED = 0
"""Fixed, so that runs with different seeds learn from the same images."""
MAX_HELD_OUT = 1000


@dataclass(frozen=True)
class Selection:
    """The images of a run.

    Attributes:
        source: Where they are from, and what was left out.
        chosen: What a long tail and a limit leave of the training images.
        train: Those to learn from.
        held_out: Those for diagnostics, or None.
        held_out_of_train: Whether these were taken away from the training images.
        labels_read: What labels were read for, as words; empty where none were.
    """

    source: Source
    chosen: ImageSet
    train: ImageSet
    held_out: ImageSet | None
    held_out_of_train: bool
    labels_read: str = ""

    def file_of_held_out(self, index: int) -> str:
        """The name of a held-out image, which no training image has."""
        assert self.held_out is not None
        name, source = self.held_out.names[index], self.source
        return name if self.held_out_of_train else source.file_of(source.test_name, name)


def select_images(
    data: str,
    settings: DataConfig,
    *,
    index: Path | None = None,
    download: bool = False,
    say: Callable[[str], None] | None = None,
) -> Selection:
    """Open DATA and part it as the settings say.

    A long tail is cut first, and reads the labels; nothing else here does.
    Held out is the test split of the data where it has one of 8 images or more, at most 1,000 of
    it; else a fraction of the training images.

    Args:
        data: DATA as the user wrote it.
        settings: Which images.
        index: Where the headers of image files are kept; see `open_source`.
        download: Fetch a named data set that is not there.
        say: Takes lines on the progress.

    Raises:
        DataError: DATA cannot be read, or leaves too few images.
    """
    source = open_source(
        data,
        index=index,
        max_bad_fraction=settings.max_bad_fraction,
        verify=settings.verify,
        download=download,
        say=say,
    )
    train, labels_read = source.train, ""
    if settings.long_tail is not None:
        train, labels_read = cut_long_tail(train, settings.long_tail, settings.long_tail_kind)
        if len(train) < MIN_IMAGES:
            raise DataError(
                f"--long-tail {settings.long_tail} leaves {len(train)} images to learn from; at "
                f"least {MIN_IMAGES} are needed"
            )
    chosen = limit_images(train, settings.limit)
    if source.test is not None and len(source.test) >= MIN_IMAGES:
        held_out: ImageSet | None = limit_images(source.test, MAX_HELD_OUT)
        return Selection(source, chosen, chosen, held_out, False, labels_read)
    train, held_out = hold_out(chosen, settings.holdout)
    if len(train) < MIN_IMAGES:
        raise DataError(
            f"--holdout {settings.holdout} leaves {len(train)} images to learn from; at least "
            f"{MIN_IMAGES} are needed"
        )
    return Selection(source, chosen, train, held_out, True, labels_read)


def cut_long_tail(images: ImageSet, factor: float, kind: str) -> tuple[ImageSet, str]:
    """The images of `long_tail_numbers`, and its words."""
    kept, words = long_tail_numbers(images, factor, kind)
    return images.subset(kept), words


def long_tail_numbers(images: ImageSet, factor: float, kind: str) -> tuple[NDArray[np.int64], str]:
    """Numbers of the images that a long tail keeps, and words on what labels were read for.

    Args:
        images: Labelled images.
        factor: The rarest class's share of the most frequent one's images.
        kind: ``exponential`` or ``step``; see `quarterturn.data.long_tail`.

    Returns:
        The numbers, ascending, and the words.

    Raises:
        DataError: No labels, fewer than two classes, or a class without images.
    """
    if images.labels is None:
        raise DataError(
            f"--long-tail {factor} reads labels, and these images have none: expected a sub-folder "
            "for each class, or data with labels"
        )
    kept = np.sort(long_tail_indices(images.labels, factor, kind, SELECTION_SEED))
    counts = np.bincount(images.labels[kept], minlength=int(images.labels.max()) + 1)
    words = (
        f"labels were read to cut a long tail ({kind}, {factor:g}): {len(kept):,} of "
        f"{len(images):,} images, {counts.max():,} to {counts.min():,} a class"
    )
    return kept, words


def limit_images(images: ImageSet, limit: int | None) -> ImageSet:
    """A random part of the images, drawn once by a fixed seed, in their order."""
    if limit is None or limit >= len(images):
        return images
    chosen = permutation(len(images), SELECTION_SEED, "limit")[:limit]
    return images.subset(np.sort(chosen.numpy()))


def hold_out(images: ImageSet, fraction: float) -> tuple[ImageSet, ImageSet | None]:
    """Part the images in those to learn from and at most 1,000 for diagnostics.

    Args:
        images: All images.
        fraction: Share to hold out.

    Returns:
        (training, held out); the second is None where the share is less than 8 images.
    """
    num_held = min(round(len(images) * fraction), MAX_HELD_OUT)
    if num_held < 8:
        return images, None
    order = permutation(len(images), SELECTION_SEED, "hold-out").numpy()
    return images.subset(np.sort(order[num_held:])), images.subset(np.sort(order[:num_held]))


def first_of_each_class(
    labels: NDArray[np.int64], num_classes: int, images_per_class: int
) -> NDArray[np.int64] | None:
    """Numbers of the first so many images of each class, ascending; None where one has fewer."""
    members = [np.flatnonzero(labels == label) for label in range(num_classes)]
    if min(len(of_class) for of_class in members) < images_per_class:
        return None
    return np.sort(np.concatenate([of_class[:images_per_class] for of_class in members]))


def stratified_split(
    labels: NDArray[np.int64], test_fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of training and of test images, every class in the same proportion.

    Each class gives the nearest whole number of its images to the test part, so that a class with
    very few may give none; scikit-learn's splitter refuses such classes.

    Args:
        labels: (N,) classes.
        test_fraction: Share of each class in the test part.
        seed: Which images they are.

    Returns:
        (training, test) numbers, ascending.
    """
    random = np.random.default_rng(seed)
    in_test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        in_test[random.permutation(members)[: round(len(members) * test_fraction)]] = True
    return np.flatnonzero(~in_test), np.flatnonzero(in_test)


def match_classes(test: ImageSet, train: ImageSet) -> ImageSet:
    """Labelled test images under the class numbers of the training images.

    Raises:
        DataError: A test image of a class whose name the training images have not.
    """
    if missing := unknown_classes(test, train):
        raise DataError(
            f"test classes that the training images lack: {', '.join(missing[:10])} (finetune "
            "leaves them out with --leave-out-empty)"
        )
    return known_classes(test, train)


def unknown_classes(test: ImageSet, train: ImageSet) -> list[str]:
    """Names of test classes that the training images have not."""
    return [name for name in test.class_names if name not in set(train.class_names)]


def known_classes(test: ImageSet, train: ImageSet) -> ImageSet:
    """The test images of classes whose names the training images have, under their numbers."""
    assert test.labels is not None
    number = {name: i for i, name in enumerate(train.class_names)}
    labels = np.array([number.get(name, -1) for name in test.class_names])[test.labels]
    known = np.flatnonzero(labels >= 0)
    matched = test.subset(known)
    matched.labels, matched.class_names = labels[known], train.class_names
    return matched
