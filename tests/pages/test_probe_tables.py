import copy
from typing import Any

import pytest

from quarterturn.pages.probe_tables import (
    classifier_and_view,
    few_shot_table,
    groups_table,
    learned_from,
    probe_table,
    tables_of,
    with_spread,
)


def measure(mean: float | None, spread: float | None = None) -> dict[str, float | None]:
    return {"mean": mean, "spread": spread}


def figure(top1: float, *, balanced: float = 0.5, **groups: float | None) -> dict[str, Any]:
    """One entry of a probe's figures; groups without a figure are empty."""
    every = {"many": None, "medium": None, "few": None, "worst_class": 0.125, **groups}
    every = {"std_over_classes": 0.25, "std_over_groups": None, **every}
    return {
        "n": 2,
        "top1": measure(top1, 0.0125),
        "balanced": measure(balanced, 0.9),
        **{name: measure(value) for name, value in every.items()},
    }


@pytest.fixture
def result() -> dict[str, Any]:
    return {
        "protocol": {
            "name": "frozen-features",
            "training_images": 1347,
            "test_images": 450,
            "seeds": [0, 1],
            "many": 100,
            "few": 20,
        },
        "test_images_learned_from": 0,
        "test": "the split 'test'",
        "epochs": 9,
        "epochs_done": 9.0,
        "figures": {
            "trained/invariant/knn-20/upright": figure(0.9345, balanced=0.925),
            "trained/invariant/knn-20/turned": figure(0.75),
            "trained/conv1/knn-20/upright": figure(0.5),
            "untrained/invariant/linear/turned": figure(1.0, balanced=1.0),
        },
    }


class TestProbeTable:
    def test_representations_by_classifiers_and_views(self, result):
        table = probe_table(result)
        assert table.columns == ["features", "knn-20", "knn-20 turned", "linear turned"]
        assert table.cells() == [
            ["trained: invariant", "93.5 ± 1.2 (92.5)", "75.0 ± 1.2 (50.0)", "-"],
            ["trained: conv1", "50.0 ± 1.2 (50.0)", "-", "-"],
            ["untrained: invariant", "-", "-", "100.0 ± 1.2 (100.0)"],
        ]

    def test_rows_stay_whole_where_figures_of_one_came_later(self, result):
        """As when another layer was probed in between."""
        result["figures"]["trained/invariant/linear/turned"] = figure(0.25)
        rows = probe_table(result).cells()
        assert [row[0] for row in rows] == [
            "trained: invariant",
            "trained: conv1",
            "untrained: invariant",
        ]
        assert rows[0][3] == "25.0 ± 1.2 (50.0)"

    def test_says_where_the_figures_come_from(self, result):
        assert probe_table(result).note == (
            "top-1 (balanced) accuracy in %; 1,347 upright training images; "
            "450 test images: the split 'test'; n = 2 seeds"
        )

    @pytest.mark.parametrize(
        ("learned", "with_labels", "told"),
        [
            (1234, 0, "; the run has learned from 1,234 of the test images, without labels"),
            (1234, 1234, "; the run has learned from 1,234 of the test images, with labels"),
            (1234, 5, "; the run has learned from 1,234 of the test images, 5 of them with labels"),
            (1234, None, "; the run has learned from 1,234 of the test images"),
            (None, None, "; whether the run has learned from them is not known, its data is gone"),
            (0, 0, ""),
        ],
    )
    def test_says_what_the_run_has_learned_from(self, result, learned, with_labels, told):
        before = probe_table(result).note
        result["test_images_learned_from"] = learned
        result["test_images_learned_with_labels"] = with_labels
        assert probe_table(result).note == before + told

    def test_changes_nothing(self, result):
        before = copy.deepcopy(result)
        probe_table(result)
        groups_table(result)
        assert result == before


def test_what_trained_classifiers_learned_from():
    protocol = {"head": "convolutional", "training_images": 50000}
    assert learned_from(protocol, ["convolutional/upright"]) == "50,000 upright training images"
    assert learned_from(protocol, ["convolutional-20/upright"]) == (
        "50,000 upright training images, convolutional-K of the first K of each class"
    )
    fitted = {"training_images": 1347}
    assert learned_from(fitted, ["knn-20/upright"]) == "1,347 upright training images"


class TestFewShotTable:
    @pytest.fixture
    def few_shot(self, result) -> dict[str, Any]:
        result["protocol"] |= {"name": "few-shot", "draws": 5}
        result["left_out"] = "K = 100: the class 'x' has 31 training images"
        result["figures"] = {
            "trained/invariant/few-shot-10/upright": figure(0.75),
            "trained/invariant/few-shot-2/upright": figure(0.5),
            "trained/invariant/few-shot-2/turned": figure(0.375),
        }
        return result

    def test_a_column_for_each_k(self, few_shot):
        [table] = tables_of(few_shot)
        assert table.columns == ["features", "view", "2", "10"]
        assert table.cells() == [
            ["trained: invariant", "upright", "50.0 ± 1.2", "75.0 ± 1.2"],
            ["trained: invariant", "turned", "37.5 ± 1.2", "-"],
        ]

    def test_names_what_the_spread_is_over_and_what_is_missing(self, few_shot):
        few_shot["test_images_learned_from"] = 7
        note = few_shot_table(few_shot).note
        assert "over n = 10 draws of the labelled images, 5 for each of 2 seeds" in note
        assert "every class has K; left out: K = 100: the class 'x' has 31 training images" in note
        assert note.endswith("; the run has learned from 7 of the test images")
        del few_shot["left_out"]
        assert "left out" not in few_shot_table(few_shot).note


class TestGroupsTable:
    @pytest.fixture
    def grouped(self, result) -> dict[str, Any]:
        for i, name in enumerate(result["figures"]):
            groups = {"many": 0.8 + 0.01 * i, "few": 0.1}
            result["figures"][name] = figure(0.5, **groups)
        return result

    def test_a_row_for_each_figure(self, grouped):
        grouped["figures"]["trained/invariant/knn-20/turned"]["few"] = measure(0.25, 0.031)
        table = groups_table(grouped)
        assert table.columns == [
            "features",
            "classifier",
            "many",
            "medium",
            "few",
            "worst class",
            "sd classes",
            "sd groups",
        ]
        assert table.cells() == [
            ["trained: invariant", "knn-20", "80.0", "none", "10.0", "12.5", "25.0", "-"],
            [
                "trained: invariant",
                "knn-20 turned",
                "81.0",
                "none",
                "25.0 ± 3.1",
                "12.5",
                "25.0",
                "-",
            ],
            ["trained: conv1", "knn-20", "82.0", "none", "10.0", "12.5", "25.0", "-"],
            ["untrained: invariant", "linear turned", "83.0", "none", "10.0", "12.5", "25.0", "-"],
        ]

    def test_the_rule_stands_beside_it(self, grouped):
        grouped["protocol"] |= {"many": 50, "few": 10}
        assert groups_table(grouped).note == (
            "mean accuracy of the classes in %; many: more than 50 training images, few: fewer "
            "than 10; sd: standard deviation over the classes, and over many, medium and few; "
            "n = 2 seeds"
        )

    @pytest.mark.parametrize("groups", [{}, {"many": 0.5}, {"medium": 0.5}, {"few": 0.5}])
    def test_is_left_out_where_all_classes_are_of_one_group(self, result, groups):
        for name in result["figures"]:
            result["figures"][name] = figure(0.5, **groups)
        assert groups_table(result) is None

    def test_an_accuracy_of_zero_is_a_figure(self, result):
        result["figures"] = {"trained/both/linear/upright": figure(0.5, many=0.75, few=0.0)}
        assert groups_table(result).cells() == [
            ["trained: both", "linear", "75.0", "none", "0.0", "12.5", "25.0", "-"]
        ]


@pytest.mark.parametrize(
    ("mean", "spread", "shown"),
    [
        (0.551, 0.0042, "55.1 ± 0.4"),
        (0.551, None, "55.1"),
        (1.0, 0.0, "100.0 ± 0.0"),
        (0.0, None, "0.0"),
        (None, None, None),
    ],
)
def test_with_spread(mean, spread, shown):
    assert with_spread(measure(mean, spread)) == shown


def test_classifier_and_view():
    assert classifier_and_view("trained/invariant/knn-20/turned") == "knn-20/turned"
