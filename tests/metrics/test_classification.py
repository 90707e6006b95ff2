import numpy as np
import pytest

from quarterturn.metrics.classification import (
    classification_metrics,
    confusion_matrix,
    expected_calibration_error,
    group_accuracy,
    mean_and_spread,
    per_class_accuracy,
    reliability_bins,
)


def test_per_class_accuracy_by_hand():
    targets = np.array([0, 0, 0, 0, 1, 1, 3])
    predictions = np.array([0, 0, 0, 2, 1, 0, 2])
    accuracy = per_class_accuracy(predictions, targets, 4)
    np.testing.assert_array_equal(accuracy, [0.75, 0.5, np.nan, 0.0])


def test_per_class_accuracy_is_a_loop_over_the_examples(rng):
    targets, predictions = rng.integers(0, 6, 200), rng.integers(0, 6, 200)
    for c, found in enumerate(per_class_accuracy(predictions, targets, 6)):
        hits = [p == t for p, t in zip(predictions, targets, strict=True) if t == c]
        assert found == pytest.approx(sum(hits) / len(hits), abs=1e-12)


def test_classification_metrics_by_hand():
    targets = np.array([0, 0, 0, 0, 1, 1, 3])
    predictions = np.array([0, 0, 0, 2, 1, 0, 2])
    found = classification_metrics(predictions, targets, ["ant", "bee", "cat", "dog"])
    assert found == {
        "top1": pytest.approx(4 / 7),
        "balanced": pytest.approx((0.75 + 0.5 + 0.0) / 3),  # the empty class takes no part
        "worst_class": 0.0,
        "worst_class_name": "dog",
        "std_over_classes": pytest.approx(np.std([0.75, 0.5, 0.0])),
        "per_class": {"ant": 0.75, "bee": 0.5, "cat": None, "dog": 0.0},
        "n": 7,
    }
    assert type(found["top1"]) is float


def test_spread_over_groups_by_hand():
    targets = np.arange(4).repeat(10)
    predictions = targets.copy()
    predictions[10:15] = 0  # half of class 1
    predictions[30:] = 0  # all of class 3
    names = ["a", "b", "c", "d"]
    found = classification_metrics(predictions, targets, names, np.array([500, 200, 50, 10]))
    assert (found["many"], found["medium"], found["few"]) == (0.75, 1.0, 0.0)
    assert found["std_over_groups"] == pytest.approx(np.std([0.75, 1.0, 0.0]))
    assert found["std_over_classes"] == pytest.approx(np.std([1.0, 0.5, 1.0, 0.0]))
    alike = classification_metrics(predictions, targets, names, np.full(4, 500))
    assert alike["std_over_groups"] is None


def test_confusion_matrix_by_hand():
    targets, predictions = np.array([0, 0, 2, 2, 2]), np.array([0, 2, 2, 1, 1])
    expected = [[1, 0, 1], [0, 0, 0], [0, 2, 1]]
    assert confusion_matrix(predictions, targets, 3).tolist() == expected


def test_balanced_accuracy_does_not_follow_the_large_class():
    targets = np.array([0] * 98 + [1] * 2)
    found = classification_metrics(np.zeros(100, dtype=np.int64), targets, ["many", "few"])
    assert found["top1"] == pytest.approx(0.98)
    assert found["balanced"] == pytest.approx(0.5)
    assert found["worst_class_name"] == "few"


def test_groups_by_hand_at_their_borders():
    counts = np.array([1000, 101, 100, 20, 19, 0])
    by_class = np.array([0.9, 0.7, 0.5, 0.2, 0.1, 0.0])
    assert group_accuracy(by_class, counts) == {
        "many": pytest.approx(0.8),
        "medium": pytest.approx(0.35),
        "few": pytest.approx(0.05),
    }


@pytest.mark.parametrize(
    ("count", "group"), [(101, "many"), (100, "medium"), (20, "medium"), (19, "few"), (0, "few")]
)
def test_each_border_belongs_to_medium(count, group):
    found = group_accuracy(np.array([0.25]), np.array([count]))
    assert found == {name: 0.25 if name == group else None for name in ("many", "medium", "few")}
    assert type(found[group]) is float


@pytest.mark.parametrize(
    ("many", "few", "expected"),
    [
        (10, 5, [(11, 50), (5, 10), (0, 4)]),
        (4, 5, [(5, 50), None, (0, 4)]),  # nothing between
        (0, 0, [(1, 50), (0, 0), None]),
        (50, 0, [None, (0, 50), None]),
        (49, 50, [(50, 50), None, (0, 49)]),
    ],
)
def test_borders_of_groups_can_be_set(many, few, expected):
    counts = np.arange(51)
    found = group_accuracy(counts / 100, counts, many=many, few=few)
    for group, ends in zip(("many", "medium", "few"), expected, strict=True):
        if ends is None:
            assert found[group] is None
        else:
            assert found[group] == pytest.approx(sum(ends) / 200)


def test_classes_without_test_examples_take_no_part_in_their_group():
    counts = np.array([200, 200, 50, 5])
    found = group_accuracy(np.array([0.4, np.nan, np.nan, 0.25]), counts)
    assert found == {"many": 0.4, "medium": None, "few": 0.25}


def test_groups_are_a_loop_over_the_classes(rng):
    targets, predictions = rng.integers(0, 40, 400), rng.integers(0, 40, 400)
    predictions = np.where(rng.random(400) < 0.5, targets, predictions)
    counts = rng.integers(0, 200, 40)
    names = [f"class {c}" for c in range(40)]
    found = classification_metrics(predictions, targets, names, counts, many=120, few=30)
    groups: dict[str, list[float]] = {"many": [], "medium": [], "few": []}
    for c, count in enumerate(counts):
        hits = [p == t for p, t in zip(predictions, targets, strict=True) if t == c]
        if hits:
            group = "many" if count > 120 else "few" if count < 30 else "medium"
            groups[group].append(sum(hits) / len(hits))
    for name, values in groups.items():
        assert len(values) > 3
        assert found[name] == pytest.approx(sum(values) / len(values), abs=1e-12)
    without = classification_metrics(predictions, targets, names)
    assert without == {name: value for name, value in found.items() if name in without}
    assert found.keys() - without.keys() == {*groups, "std_over_groups"}


def test_mean_and_spread_by_hand():
    found = mean_and_spread([0.5, 0.7, 0.9])
    assert found == {"mean": pytest.approx(0.7), "spread": pytest.approx(0.2)}  # n - 1: not 0.163
    assert all(type(value) is float for value in found.values())
    assert mean_and_spread([0.3, 0.3]) == {"mean": pytest.approx(0.3), "spread": pytest.approx(0)}


def test_mean_and_spread_is_the_definition(rng):
    values = rng.normal(size=7).tolist()
    mean = sum(values) / 7
    spread = (sum((value - mean) ** 2 for value in values) / 6) ** 0.5
    found = mean_and_spread(values)
    assert found == {"mean": pytest.approx(mean), "spread": pytest.approx(spread)}


@pytest.mark.parametrize(
    ("values", "mean"), [([0.25], 0.25), ([], None), ([None, None], None), ([0.5, None], None)]
)
def test_one_figure_has_no_spread_and_missing_ones_no_mean(values, mean):
    assert mean_and_spread(values) == {"mean": mean, "spread": None}


def naive_bins(confidences, correct, num_bins):
    """For each bin (low, high] the predictions in it; the first one holds 0 as well."""
    for m in range(num_bins):
        low, high = m / num_bins, (m + 1) / num_bins
        yield [
            (p, right)
            for p, right in zip(confidences.tolist(), correct.tolist(), strict=True)
            if low < p <= high or (m == 0 and p == 0)
        ]


@pytest.mark.parametrize("num_bins", [1, 4, 15])
def test_calibration_is_a_loop_over_the_bins(rng, num_bins):
    confidences = rng.uniform(0.2, 1, 300).astype(np.float32)
    correct = rng.random(300) < confidences**2
    bins = reliability_bins(confidences, correct, num_bins)
    error = 0.0
    for m, inside in enumerate(naive_bins(confidences, correct, num_bins)):
        assert bins.counts[m] == len(inside)
        if not inside:
            assert np.isnan(bins.confidence[m])
            assert np.isnan(bins.accuracy[m])
            continue
        confidence, accuracy = np.mean(inside, axis=0)
        assert bins.confidence[m] == pytest.approx(confidence)
        assert bins.accuracy[m] == pytest.approx(accuracy)
        error += len(inside) / 300 * abs(confidence - accuracy)
    assert expected_calibration_error(confidences, correct, num_bins) == pytest.approx(error)
    np.testing.assert_allclose(bins.edges, np.arange(num_bins + 1) / num_bins)


def test_a_bin_holds_its_upper_edge():
    confidences = np.array([0.0, 0.25, 0.5, 0.5, 0.75, 1.0])
    bins = reliability_bins(confidences, np.ones(6, dtype=bool), 4)
    np.testing.assert_array_equal(bins.counts, [2, 2, 1, 1])


def test_calibration_error_by_hand():
    # 15 bins: (0.8, 0.867] holds the first three, (0.467, 0.533] the last.
    confidences = np.array([0.81, 0.83, 0.85, 0.5])
    correct = np.array([True, True, False, True])
    expected = 3 / 4 * (0.83 - 2 / 3) + 1 / 4 * 0.5
    assert expected_calibration_error(confidences, correct) == pytest.approx(expected)


def test_calibrated_predictions_have_no_calibration_error():
    confidences = np.repeat([0.3, 0.7, 1.0], 10)
    correct = np.concatenate([np.arange(10) < n for n in (3, 7, 10)])
    assert expected_calibration_error(confidences, correct) == pytest.approx(0, abs=1e-12)
    assert expected_calibration_error(confidences, ~correct) == pytest.approx(1.8 / 3)
