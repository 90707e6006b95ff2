import numpy as np
import pytest

from quarterturn.data.imageset import ArrayImages
from quarterturn.orientation.upright_tables import (
    classes_table,
    collection_scores,
    collection_table,
    measure_variant,
    measures_table,
)

from .handmade_tables import predicted_turn, random_table, table_of, variants_of

UNSCORED = (4, 17)


@pytest.fixture
def images(random_images):
    return random_images(40, 8)  # three classes


@pytest.fixture
def table(images, rng):
    return random_table(images, rng, UNSCORED)


def loop_over_copies(variant):
    """Accuracy, nll and mean agnostic score, copy by copy."""
    right, logs = [], []
    for image in variant.probabilities.tolist():
        for k, copy in enumerate(image):
            right.append(max(copy) == copy[k])
            logs.append(-np.log(copy[k]))
    return np.mean(right), np.mean(logs), np.mean(variant.agnostic)


def test_a_variants_figures_are_a_loop_over_its_copies(table, rng):
    for variant in variants_of(table, rng):
        found = measure_variant(variant)
        accuracy, nll, agnostic = loop_over_copies(variant)
        assert found["images"] == len(variant.numbers)
        assert found["rotation_accuracy"] == pytest.approx(accuracy)
        assert found["nll"] == pytest.approx(nll, rel=1e-5)
        assert found["agnostic"] == pytest.approx(agnostic, rel=1e-5)


def test_calibration_takes_the_greatest_probability_of_each_copy(images):
    # All copies are told with 0.91 in one bin, those of a quarter of the images wrongly.
    table = table_of(images, [predicted_turn(int(i % 4 == 0)) for i in range(40)])
    used = variants_of(table, np.random.default_rng(0))[2]
    assert measure_variant(used)["calibration_error"] == pytest.approx(0.91 - 0.75, abs=1e-6)


def test_rows_are_the_variants_and_say_which_is_in_use(table, rng):
    variants = variants_of(table, rng)
    shown = measures_table(variants)
    names = [row[0] for row in shown.rows]
    assert names == [
        "stopped early",
        "temperature",
        "five crops (in use)",
        "in fold",
        "out of fold",
    ]
    for row, variant in zip(shown.rows, variants, strict=True):
        assert row[1:] == list(measure_variant(variant).values())
    assert shown.cells()[0][1] == "38"
    assert shown.cells()[0][2].endswith(" %")
    assert "%" not in shown.cells()[0][3] + shown.cells()[0][5]


def test_collection_scores_match_a_loop_over_readable_images(images, table):
    scores = collection_scores(table)
    read = [i for i in range(40) if i not in UNSCORED]
    p = table.p_upright
    assert scores["images"] == 38
    assert scores["unreadable"] == 2
    assert scores["threshold"] == 0.5
    assert scores["agnostic"] == pytest.approx(np.mean([table.agnostic[i] for i in read]))
    assert scores["agnostic_share"] == np.mean([table.agnostic[i] >= 0.5 for i in read])
    half = [p[i, 2] - (p[i, 1] + p[i, 3]) / 2 for i in read]
    assert scores["half_turn"] == pytest.approx(np.mean(half), abs=1e-6)


def test_counts_stored_turned_images_by_their_correcting_turn(images):
    # Stored turned by 90 degrees, it takes another 270 to be upright.
    turns = [1] * 5 + [2] * 3 + [3] * 2 + [0] * 30
    table = table_of(images, [predicted_turn(turn) for turn in turns])
    assert collection_scores(table)["turn_to_upright"] == {"90": 2, "180": 3, "270": 5}


def test_the_collection_in_a_row(images, table):
    scores = collection_scores(table)
    shown = collection_table(scores)
    cells = dict(zip(shown.columns, shown.cells()[0], strict=True))
    assert cells["images"] == "38"
    assert cells["no clear up"] == f"{100 * scores['agnostic_share']:.1f} %"
    assert cells["mean score"] == f"{scores['agnostic']:.4g}"
    assert cells["mean half-turn"] == f"{scores['half_turn']:.4g}"
    for degrees, number in scores["turn_to_upright"].items():
        assert cells[f"upright after {degrees}°"] == str(number)
    assert shown.note.endswith("2 could not be read")
    assert "could not be read" not in collection_table(scores | {"unreadable": 0}).note


def test_class_means_are_a_loop_over_the_images(images, table):
    p = table.p_upright
    expected = []
    for c, name in enumerate(images.class_names):
        members = [i for i in range(40) if images.labels[i] == c and i not in UNSCORED]
        agnostic = [float(table.agnostic[i]) for i in members]
        half_turn = [p[i, 2] - (p[i, 1] + p[i, 3]) / 2 for i in members]
        turned = [i for i in members if max(p[i, 1:]) > 0.5 and p[i, 0] < 0.25]
        expected.append(
            [
                name,
                len(members),
                np.mean(np.array(agnostic) >= 0.5),
                np.mean(agnostic),
                np.mean(half_turn),
                len(turned),
            ]
        )
    expected.sort(key=lambda row: -row[3])
    shown = classes_table(images, table)
    assert shown.columns == [
        "class",
        "images",
        "no clear up",
        "mean score",
        "mean half-turn",
        "probably turned",
    ]
    assert sum(row[5] for row in expected) > 0
    for row, expected_row in zip(shown.rows, expected, strict=True):
        assert row[0] == expected_row[0]
        assert row[1:] == pytest.approx(expected_row[1:], abs=1e-6)


def test_a_class_without_readable_images_has_no_row(images, rng):
    unscored = np.flatnonzero(images.labels == 1).tolist()
    shown = classes_table(images, random_table(images, rng, unscored))
    assert {row[0] for row in shown.rows} == {"class 0", "class 2"}


def test_without_labels_there_are_no_classes(images, table):
    assert classes_table(ArrayImages(images.pixels, images.names), table) is None
