from dataclasses import replace

import pytest

from quarterturn.pages.probe_tables import (
    few_shot_table,
    groups_table,
    probe_table,
    tables_of,
    training_images,
    with_spread,
)
from quarterturn.runs.records import ProbeResult, Score, ScoreName, Statistic
from tests.fixtures.probes import PROTOCOL, probe_result


def score(
    name: str, top1: float, *, balanced: float = 0.5, **groups: float | Statistic | None
) -> Score:
    """A score by the words of its name; groups without a figure are empty."""
    given = {"many": None, "medium": None, "few": None, "worst_class": 0.125, **groups}
    given = {"std_over_classes": 0.25, "std_over_groups": None, **given}
    measures = {
        measure: value if isinstance(value, Statistic) else Statistic(value)
        for measure, value in given.items()
    }
    measures |= {"top1": Statistic(top1, 0.0125), "balanced": Statistic(balanced, 0.9)}
    return Score(*name.split(), measures)


NAMES = [
    "trained invariant knn-20 upright",
    "trained invariant knn-20 turned",
    "trained conv1 knn-20 upright",
    "untrained invariant linear turned",
]


@pytest.fixture
def result() -> ProbeResult:
    return probe_result(
        score(NAMES[0], 0.9345, balanced=0.925),
        score(NAMES[1], 0.75),
        score(NAMES[2], 0.5),
        score(NAMES[3], 1.0, balanced=1.0),
    )


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
        later = score("trained invariant linear turned", 0.25)
        rows = probe_table(replace(result, scores=(*result.scores, later))).cells()
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
            (1234, 0, "; the run was trained on 1,234 of the test images, without labels"),
            (1234, 1234, "; the run was trained on 1,234 of the test images, with labels"),
            (1234, 5, "; the run was trained on 1,234 of the test images, 5 of them with labels"),
            (1234, None, "; the run was trained on 1,234 of the test images"),
            (
                None,
                None,
                "; it is not known whether the run was trained on them",
            ),
            (0, 0, ""),
        ],
    )
    def test_says_what_the_run_has_learned_from(self, result, learned, with_labels, told):
        overlapping = replace(
            result, test_images_learned_from=learned, test_images_learned_with_labels=with_labels
        )
        assert probe_table(overlapping).note == probe_table(result).note + told


def test_what_trained_classifiers_were_trained_on():
    def names(classifier: str) -> list[ScoreName]:
        return [ScoreName("trained", "conv1", classifier, "upright")]

    protocol = {"head": "convolutional", "training_images": 50000}
    assert training_images(protocol, names("convolutional")) == "50,000 upright training images"
    assert training_images(protocol, names("convolutional-20")) == (
        "50,000 upright training images, convolutional-K of the first K of each class"
    )
    fitted = {"training_images": 1347}
    assert training_images(fitted, names("knn-20")) == "1,347 upright training images"


class TestFewShotTable:
    @pytest.fixture
    def few_shot(self) -> ProbeResult:
        return probe_result(
            score("trained invariant few-shot-10 upright", 0.75),
            score("trained invariant few-shot-2 upright", 0.5),
            score("trained invariant few-shot-2 turned", 0.375),
            protocol={**PROTOCOL, "name": "few-shot", "draws": 5},
            left_out="K = 100: the class 'x' has 31 training images",
        )

    def test_a_column_for_each_k(self, few_shot):
        [table] = tables_of(few_shot)
        assert table.columns == ["features", "view", "2", "10"]
        assert table.cells() == [
            ["trained: invariant", "upright", "50.0 ± 1.2", "75.0 ± 1.2"],
            ["trained: invariant", "turned", "37.5 ± 1.2", "-"],
        ]

    def test_names_what_the_spread_is_over_and_what_is_missing(self, few_shot):
        note = few_shot_table(replace(few_shot, test_images_learned_from=7)).note
        assert "over n = 10 draws of the labelled images, 5 for each of 2 seeds" in note
        assert "every class has K; left out: K = 100: the class 'x' has 31 training images" in note
        assert note.endswith("; the run was trained on 7 of the test images")
        assert "left out" not in few_shot_table(replace(few_shot, left_out="")).note


class TestGroupsTable:
    @pytest.fixture
    def grouped(self) -> ProbeResult:
        few = [0.1, Statistic(0.25, 0.031), 0.1, 0.1]
        return probe_result(
            *(score(n, 0.5, many=0.8 + 0.01 * i, few=few[i]) for i, n in enumerate(NAMES))
        )

    def test_a_row_for_each_figure(self, grouped):
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
        other = replace(grouped, protocol={**PROTOCOL, "many": 50, "few": 10})
        assert groups_table(other).note == (
            "mean accuracy of the classes in %; many: more than 50 training images, few: fewer "
            "than 10; sd: standard deviation over the classes, and over many, medium and few; "
            "n = 2 seeds"
        )

    @pytest.mark.parametrize("groups", [{}, {"many": 0.5}, {"medium": 0.5}, {"few": 0.5}])
    def test_is_left_out_where_all_classes_are_of_one_group(self, groups):
        assert groups_table(probe_result(*(score(n, 0.5, **groups) for n in NAMES))) is None

    def test_an_accuracy_of_zero_is_a_figure(self):
        result = probe_result(score("trained both linear upright", 0.5, many=0.75, few=0.0))
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
    assert with_spread(Statistic(mean, spread)) == shown
