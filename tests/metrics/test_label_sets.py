import numpy as np
import pytest

from quarterturn import average_precision
from quarterturn.metrics.label_sets import label_set_metrics

SCORES = np.array([[0.9, 0.1, 0.5], [0.8, 0.2, 0.4], [0.7, 0.3, 0.3], [0.6, 0.4, 0.2]])
LABEL_SETS = np.array([[1, 0, 0], [0, 1, 0], [1, -1, 0], [-1, 0, 0]], np.int8)


def test_each_class_has_its_precision_and_its_chance():
    found = label_set_metrics(SCORES, LABEL_SETS, ["ant", "bee", "cat"])
    ant = (1 + 2 / 3) / 2
    bee = 1 / 2  # the fourth image is before it, the third is ignored
    assert found == {
        "mean_ap": pytest.approx((ant + bee) / 2),
        "worst_class": pytest.approx(bee),
        "worst_class_name": "bee",
        "per_class": {"ant": pytest.approx(ant), "bee": pytest.approx(bee), "cat": None},
        "prevalence": {"ant": pytest.approx(2 / 3), "bee": pytest.approx(1 / 3), "cat": 0},
        "rule": "step",
        "n": 4,
    }


@pytest.mark.parametrize("rule", ["step", "envelope", "11-point"])
def test_the_rule_is_that_of_each_class(rng, rule):
    scores, label_sets = rng.normal(size=(40, 2)), rng.integers(-1, 2, (40, 2))
    found = label_set_metrics(scores, label_sets, ["ant", "bee"], rule)
    for name, column, entries in zip(["ant", "bee"], scores.T, label_sets.T, strict=True):
        expected = average_precision(column, entries, entries < 0, rule)
        assert found["per_class"][name] == pytest.approx(expected)
    assert found["rule"] == rule


def test_no_class_at_all_has_no_figure():
    found = label_set_metrics(SCORES, np.zeros_like(LABEL_SETS), ["ant", "bee", "cat"])
    assert (found["mean_ap"], found["worst_class"]) == (None, None)
