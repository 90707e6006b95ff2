from pathlib import Path

import numpy as np
import pytest

from quarterturn.data.labelled import open_labelled
from quarterturn.data.train_test_split import TrainTestSplit
from quarterturn.errors import DataError

from .test_labelled import archive


def examples(path: Path, **labels: list[int]) -> TrainTestSplit:
    split = open_labelled(archive(path / "x.npz", **labels), empty_classes=True)
    return TrainTestSplit.of(split, 0, leave_out_empty=True)


def test_drops_test_images_of_classes_without_training_images(tmp_path: Path) -> None:
    found = examples(tmp_path, train=[0, 2] * 5, test=[0, 1, 2, 1, 3, 2])
    assert found.class_counts.tolist() == [5, 0, 5, 0]
    assert found.test.labels.tolist() == [0, 2, 2]
    assert found.description == (
        "the split 'test'; left out: 3 test images of classes without training images: 1, 3"
    )
    assert found.description in found.words()


def test_nothing_is_left_out_where_no_class_is_empty(tmp_path: Path) -> None:
    found = examples(tmp_path, train=[0, 1] * 5, test=[0, 1, 1])
    assert found.test.labels.tolist() == [0, 1, 1]
    assert found.description == "the split 'test'"


def test_nothing_left_to_test_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no test image is of a class that has a training image"):
        examples(tmp_path, train=[0, 1] * 5, test=[2, 3])
    assert np.load(tmp_path / "x.npz")["test_labels"].tolist() == [2, 3]


def test_training_images_of_each_class_are_drawn(tmp_path: Path) -> None:
    split = open_labelled(archive(tmp_path / "x.npz", train=[0, 1] * 10, test=[0, 1, 1]))
    found = TrainTestSplit.of(split, 3, per_class=4)
    assert found.class_counts.tolist() == [4, 4]
    assert found.test.labels.tolist() == [0, 1, 1]
    whole = TrainTestSplit.of(split, 3)
    assert set(found.train.names) < set(whole.train.names)
