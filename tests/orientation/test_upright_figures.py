import io

import numpy as np
import pytest
from PIL import Image

from quarterturn.metrics.classification import expected_calibration_error
from quarterturn.orientation.upright_figures import agnostic_histogram, reliability_diagram

from .handmade_tables import random_table, variants_of


@pytest.fixture
def variants(random_images, rng):
    return variants_of(random_table(random_images(40, 8), rng), rng)


def test_the_histogram_counts_every_score_and_cuts_at_the_threshold(rng):
    agnostic = np.concatenate([rng.random(200), [0.0, 0.5, 1.0, 1.0000001]])
    data = agnostic_histogram(agnostic).data
    assert sum(data["counts"]) == 204
    middle = data["edges"].index(data["threshold"])
    assert sum(data["counts"][middle:]) == (agnostic >= 0.5).sum()
    for count, low, high in list(zip(data["counts"], data["edges"], data["edges"][1:]))[:-1]:  # noqa: B905
        assert count == ((agnostic >= low) & (agnostic < high)).sum()


def test_reliability_diagram_compares_one_crop_before_and_after_calibration(variants):
    data = reliability_diagram(variants).data
    assert set(data) == {"before", "after"}
    for when, variant in [("before", variants[0]), ("after", variants[1])]:
        shown = data[when]
        confidences = variant.probabilities.max(axis=2).ravel()
        right = (variant.probabilities.argmax(axis=2) == np.arange(4)).ravel()
        assert sum(shown["counts"]) == len(confidences) == 160
        assert min(shown["counts"]) > 0
        assert np.dot(shown["counts"], shown["accuracy"]) == pytest.approx(right.sum())
        assert np.dot(shown["counts"], shown["confidence"]) == pytest.approx(confidences.sum())
        error = expected_calibration_error(confidences, right)
        assert shown["calibration_error"] == error
        assert f"{100 * error:.1f} % {when} the temperature" in reliability_diagram(variants).alt
        assert shown["temperature"] == variant.temperature


def test_charts_are_pictures_and_equal_data_give_equal_files(variants):
    for figure, again in [
        (agnostic_histogram(variants[2].agnostic), agnostic_histogram(variants[2].agnostic)),
        (reliability_diagram(variants), reliability_diagram(variants)),
    ]:
        assert Image.open(io.BytesIO(figure.png)).width > 900
        assert figure.png == again.png
        assert figure.alt
        assert figure.caption


def test_the_threshold_parts_two_colours():
    blue, brown = (42, 108, 168), (181, 98, 27)
    for score, colour, other in [(0.49, blue, brown), (0.5, brown, blue)]:
        png = agnostic_histogram(np.full(9, score)).png
        pixels = np.array(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
        assert (np.abs(pixels - colour).max(axis=2) < 5).sum() > 1000
        assert not (np.abs(pixels - other).max(axis=2) < 5).any()
