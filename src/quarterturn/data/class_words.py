"""Images with the classes that words name: numbered in sorted order, by value if all are integers.

Shapes: N images.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from quarterturn.data.imageset import FileImages, ImageSet
from quarterturn.data.label_sets import label_sets_of, words_of


def with_classes(images: FileImages, words: Sequence[str]) -> FileImages:
    """Images of one class each.

    Args:
        images: N images.
        words: (N,) the name of each one's class.
    """
    class_names = _sorted_classes(set(words))
    number = {name: i for i, name in enumerate(class_names)}
    labels = np.array([number[word] for word in words], dtype=np.int64)
    return replace(images, labels=labels, class_names=class_names)


def with_label_sets(images: FileImages, words: Sequence[Sequence[str]]) -> FileImages:
    """Images of any number of classes each; see `quarterturn.data.label_sets`.

    Args:
        images: N images.
        words: (N,) the names of each one's classes.
    """
    sets = [set(names) for names in words]
    class_names = _sorted_classes(set().union(*sets))
    return replace(images, label_sets=label_sets_of(sets, class_names), class_names=class_names)


def label_words(images: ImageSet, index: int) -> str:
    """The label of an image in words, as a manifest has it; empty for an image without one."""
    if images.label_sets is not None:
        return words_of(images.label_sets[index], images.class_names)
    if images.labels is None or images.labels[index] < 0:
        return ""
    return images.class_names[images.labels[index]]


def _sorted_classes(names: set[str]) -> list[str]:
    if all(re.fullmatch(r"[+-]?[0-9]{1,18}", name) for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)
