import io
from typing import Any

import pytest
from PIL import Image

from quarterturn.pages.few_shot_curve import few_shot_curve


def top1(mean: float, spread: float | None = 0.0125) -> dict[str, Any]:
    return {"top1": {"mean": mean, "spread": spread}}


@pytest.fixture
def result() -> dict[str, Any]:
    return {
        "figures": {
            "trained/invariant/few-shot-10/upright": top1(0.75),
            "trained/invariant/few-shot-2/upright": top1(0.5),
            "trained/invariant/few-shot-2/turned": top1(0.375),
            "untrained/invariant/few-shot-2/upright": top1(0.25, None),
        }
    }


def test_a_line_for_each_representation_over_k_in_each_view(result):
    figure = few_shot_curve(result, "photos-few-shot-1")
    assert figure.name == "photos-few-shot-1"
    assert figure.data == {
        "upright": {
            "trained: invariant": {
                "images_per_class": [2, 10],
                "mean": [0.5, 0.75],
                "spread": [0.0125, 0.0125],
            },
            "untrained: invariant": {
                "images_per_class": [2],
                "mean": [0.25],
                "spread": [None],
            },
        },
        "turned": {
            "trained: invariant": {
                "images_per_class": [2],
                "mean": [0.375],
                "spread": [0.0125],
            },
        },
    }
    assert "trained: invariant 75.0 % with 10 a class" in figure.alt


def test_the_picture_shows_what_was_measured(result):
    figure = few_shot_curve(result, "x")
    with Image.open(io.BytesIO(figure.png)) as image:
        image.load()
        assert image.width > 900
    result["figures"]["trained/invariant/few-shot-10/upright"] = top1(0.55)
    assert few_shot_curve(result, "x").png != figure.png
