import math

import numpy as np
import pytest
import torch

from quarterturn.losses.class_counts import checked_counts


@pytest.mark.parametrize("make", [list, np.array, torch.tensor])
def test_counts_of_any_kind_are_float64(make):
    counts = checked_counts(make([5000, 50, 1]))
    assert counts.dtype == torch.float64
    assert counts.tolist() == [5000, 50, 1]


def test_expected_counts_need_not_be_whole():
    assert checked_counts([0.5, 2.25]).tolist() == [0.5, 2.25]


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ([3, 0, 2, 0], "no images of class 1, 3"),
        ([3, -1], "0 or more"),
        ([3, math.nan], "0 or more"),
        ([3, math.inf], "0 or more"),
        ([], r"\(C,\), found \(0,\)"),
        ([[1, 2]], r"found \(1, 2\)"),
        ([0, 0], "no images at all"),
    ],
)
def test_what_cannot_be_is_refused(counts, words):
    with pytest.raises(ValueError, match=words):
        checked_counts(counts)


def test_empty_classes_pass_when_asked_for_but_not_all():
    assert checked_counts([3, 0], leave_out_empty=True).tolist() == [3, 0]
    with pytest.raises(ValueError, match="no images at all"):
        checked_counts([0, 0], leave_out_empty=True)
