import csv

import numpy as np
import pytest

from quarterturn.data.imageset import ArrayImages
from quarterturn.orientation.scores_csv import write_scores
from quarterturn.orientation.upright_table import UprightTable

from ..data.pictures import noise

ODD = b"caf\xe9, noir.png"
NAMES = [ODD.decode(errors="surrogateescape"), "été/1.png", "lost.png", 'a "b".png']
P_UPRIGHT = [[0.9, 0.1, 0.6, 0.2], [0.05, 0.1, 0.0, 0.875], [0.25] * 4, [0.125, 0.5, 0.75, 0.2]]
AGNOSTIC = [0.12345, 0.5, 1.0, 0.98765]


@pytest.fixture
def table() -> UprightTable:
    rest = (1 - np.array(P_UPRIGHT))[..., None] / 3
    probabilities = np.concatenate([np.array(P_UPRIGHT)[..., None], *[rest] * 3], axis=-1)
    return UprightTable(
        NAMES,
        probabilities.astype(np.float32),
        np.array(AGNOSTIC, np.float32),
        np.array([1, 0, -1, 2]),
        "0",
    )


def images_of(labels: list[int] | None) -> ArrayImages:
    classes = ["house", "sea, or lake"] if labels is not None else []
    return ArrayImages(
        noise(0, 4, 2, 2, 3), NAMES, None if labels is None else np.array(labels), classes
    )


def test_a_line_for_each_image(table, tmp_path):
    write_scores(tmp_path / "scores.csv", images_of([0, 1, 1, 0]), table)
    with open(tmp_path / "scores.csv", newline="", errors="surrogateescape") as file:
        head, *rows = csv.reader(file)
    assert head == [
        "index",
        "path",
        "label",
        "fold",
        "agnostic",
        "half_turn",
        "turn_to_upright",
        "p_upright_0",
        "p_upright_90",
        "p_upright_180",
        "p_upright_270",
    ]
    of_numbers = [
        ["1", "0.1235", "0.4500", "0", "0.9000", "0.1000", "0.6000", "0.2000"],
        ["0", "0.5000", "-0.4875", "270", "0.0500", "0.1000", "0.0000", "0.8750"],
        [""] * 8,
        ["2", "0.9876", "0.4000", "180", "0.1250", "0.5000", "0.7500", "0.2000"],
    ]
    labels = ["house", "sea, or lake", "sea, or lake", "house"]
    assert rows == [
        [str(i), NAMES[i], labels[i], *of_image] for i, of_image in enumerate(of_numbers)
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]
    assert ODD in (tmp_path / "scores.csv").read_bytes()  # as the file system has it


def test_without_labels(table, tmp_path):
    write_scores(tmp_path / "scores.csv", images_of(None), table)
    with open(tmp_path / "scores.csv", newline="", errors="surrogateescape") as file:
        assert [row["label"] for row in csv.DictReader(file)] == [""] * 4
