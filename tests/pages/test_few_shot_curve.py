import io
from dataclasses import replace

import pytest
from PIL import Image

from quarterturn.pages.few_shot_curve import few_shot_curve, lines_of_probe
from quarterturn.runs.records import ProbeResult, Score, Statistic, few_shot_name
from tests.fixtures.probes import probe_result


def score(origin: str, shots: int, view: str, *top1: float | None) -> Score:
    name = few_shot_name(shots)
    return Score(origin, "invariant", name, view, {"top1": Statistic(*top1)})


@pytest.fixture
def result() -> ProbeResult:
    return probe_result(
        score("trained", 10, "upright", 0.75, 0.0125),
        score("trained", 2, "upright", 0.5, 0.0125),
        score("trained", 2, "turned", 0.375, 0.0125),
        score("untrained", 2, "upright", 0.25, None),
    )


def test_a_line_for_each_representation_over_k_in_each_view(result):
    figure = few_shot_curve(lines_of_probe(result), "photos-few-shot-1")
    assert figure.name == "photos-few-shot-1"
    trained, turned, untrained = figure.data["lines"]
    assert trained == {
        "label": "trained: invariant",
        "colour": "invariant",
        "dotted": False,
        "view": "upright",
        "images_per_class": [2, 10],
        "mean": [0.5, 0.75],
        "spread": [0.0125, 0.0125],
        "measure": "top-1",
    }
    assert (turned["view"], turned["images_per_class"], turned["mean"]) == ("turned", [2], [0.375])
    assert (untrained["label"], untrained["dotted"]) == ("untrained: invariant", True)
    assert untrained["spread"] == [None]
    assert "trained: invariant 75.0 % with 10 a class" in figure.alt


def test_the_picture_shows_what_was_measured(result):
    figure = few_shot_curve(lines_of_probe(result), "x")
    with Image.open(io.BytesIO(figure.png)) as image:
        image.load()
        assert image.width > 900
    lower = replace(result, scores=(score("trained", 10, "upright", 0.55), *result.scores[1:]))
    assert few_shot_curve(lines_of_probe(lower), "x").png != figure.png
