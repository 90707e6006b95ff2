import numpy as np
import pytest

from quarterturn.data.class_matching import match_classes, untrained_classes
from quarterturn.data.imageset import ArrayImages
from quarterturn.errors import DataError


def labelled(labels: list[int], class_names: list[str]) -> ArrayImages:
    return ArrayImages(
        np.zeros((len(labels), 1, 1, 3), np.uint8),
        [str(i) for i in range(len(labels))],
        np.array(labels),
        class_names,
    )


def test_labels_take_the_numbers_of_the_training_classes():
    train = labelled([0, 1, 2, 3], ["ant", "bee", "cat", "dog"])
    test = labelled([1, 0, 0, 1], ["bee", "dog"])
    matched = match_classes(test, train)
    assert matched.labels.tolist() == [3, 1, 1, 3]
    assert matched.class_names == train.class_names
    assert list(matched.names) == list(test.names)
    assert test.labels.tolist() == [1, 0, 0, 1]  # as it was
    assert test.class_names == ["bee", "dog"]


def test_a_class_that_training_lacks_is_named():
    train = labelled([0, 1], ["ant", "bee"])
    with pytest.raises(DataError, match="missing from the training images: cat, dog"):
        match_classes(labelled([0, 1, 2], ["bee", "cat", "dog"]), train)


def test_classes_without_training_images_are_listed():
    names = ["ant", "bee", "cat", "dog"]
    assert untrained_classes(labelled([0, 2, 3, 3], names), labelled([0, 1], names)) == names[2:]
    assert untrained_classes(labelled([0, 1], names), labelled([0, 1, 2], names)) == []
