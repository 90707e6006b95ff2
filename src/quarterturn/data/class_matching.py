"""Classes of test images matched to those of training images, by name.

Each split numbers its classes on its own, so only the names are comparable.
"""

from __future__ import annotations

import numpy as np

from quarterturn.data.imageset import ImageSet
from quarterturn.data.label_sets import class_counts, renumbered
from quarterturn.errors import DataError


def match_classes(test: ImageSet, train: ImageSet) -> ImageSet:
    """Labelled test images under the class numbers of the training images.

    Raises:
        DataError: A test class has a name that no training class has.
    """
    if missing := unknown_classes(test, train):
        raise DataError(
            f"test classes missing from the training images: {', '.join(missing[:10])} (finetune "
            "leaves them out with --leave-out-empty)"
        )
    return keep_known_classes(test, train)


def unknown_classes(test: ImageSet, train: ImageSet) -> list[str]:
    """Names of test classes that no training class has."""
    return [name for name in test.class_names if name not in set(train.class_names)]


def keep_known_classes(test: ImageSet, train: ImageSet) -> ImageSet:
    """The test images whose class has a training class of its name, under that class's number.

    Of images with several labels only the classes are left out, not the images.
    """
    if test.label_sets is not None:
        matched = test.subset(np.arange(len(test)))
        matched.label_sets = renumbered(test.label_sets, test.class_names, train.class_names)
        matched.class_names = train.class_names
        return matched
    assert test.labels is not None
    number = {name: i for i, name in enumerate(train.class_names)}
    labels = np.array([number.get(name, -1) for name in test.class_names])[test.labels]
    known = np.flatnonzero(labels >= 0)
    matched = test.subset(known)
    matched.labels, matched.class_names = labels[known], train.class_names
    return matched


def untrained_classes(test: ImageSet, train: ImageSet) -> list[str]:
    """Classes that have test images but no training image; both under the same class numbers."""
    if test.label_sets is not None and train.label_sets is not None:
        untrained = (class_counts(test.label_sets) > 0) & (class_counts(train.label_sets) == 0)
        return [test.class_names[c] for c in np.flatnonzero(untrained)]
    assert test.labels is not None
    assert train.labels is not None
    return [test.class_names[c] for c in np.setdiff1d(test.labels, train.labels)]
