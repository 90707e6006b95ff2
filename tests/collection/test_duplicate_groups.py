from __future__ import annotations

import numpy as np
import pytest

from quarterturn.collection.duplicate_groups import Copy, _scores, duplicate_groups
from quarterturn.collection.survey import Survey
from quarterturn.data.imageset import ArrayImages
from quarterturn.data.source import Source
from tests.collection.conftest import smooth


def survey_of(pixels: list[np.ndarray]) -> Survey:
    """A survey whose features say nothing: of larger ones, they propose the first ten images."""
    images = ArrayImages(np.stack(pixels), [f"{i}" for i in range(len(pixels))])
    count = len(pixels)
    return Survey(
        source=Source("x", images),
        splits=["train"] * count,
        indices=np.arange(count),
        part="whole",
        features=np.ones((count, 4), np.float32),
        layers={},
        turn_logits=None,
        thumbnails=images.pixels,
        unreadable={},
    )


@pytest.mark.parametrize("column", range(8))
def test_orientation_by_the_pixels(column: int) -> None:
    first = np.asarray(smooth(1, 24))
    is_mirrored, turns = divmod(column, 4)
    second = np.rot90(first[:, ::-1] if is_mirrored else first, turns)
    scores = _scores(np.stack([first, second]), np.array([[0, 1]]))[0]
    assert int(scores.argmax()) == column
    assert scores[column] == pytest.approx(1, abs=1e-5)
    assert np.sort(scores)[-2] < 0.9


def test_groups_and_their_kinds(rng: np.random.Generator) -> None:
    first, other, third = (np.asarray(smooth(number, 24)) for number in (1, 2, 3))
    noisy = np.clip(first + rng.normal(0, 6, first.shape), 0, 255).astype(np.uint8)
    groups = duplicate_groups(
        survey_of([other, first, noisy, np.rot90(other, 3), third, first.copy()])
    )
    assert [[copy.place for copy in group] for group in groups] == [[1, 2, 5], [0, 3]]
    assert groups[0][0] == Copy(1)
    assert [copy.kind for copy in groups[0][1:]] == ["near", "exact"]
    assert [(copy.kind, copy.angle) for copy in groups[1][1:]] == [("turned", 270)]


def test_blank_pictures_are_duplicates_only_by_their_bytes() -> None:
    blank = [np.full((24, 24, 3), value, np.uint8) for value in (0, 5, 0)]
    [group] = duplicate_groups(survey_of([*blank, np.asarray(smooth(1, 24))]))
    assert [(copy.place, copy.kind) for copy in group] == [(0, ""), (2, "exact")]


def test_no_duplicates() -> None:
    assert duplicate_groups(survey_of([np.asarray(smooth(i, 24)) for i in range(12)])) == []


@pytest.mark.parametrize("side", [24, 25, 16])
def test_turned_copies_are_proposed_by_their_pixels(side: int) -> None:
    pictures = [np.asarray(smooth(number, side)) for number in range(60)]
    copies = [np.rot90(pictures[40], 1), np.rot90(pictures[50][:, ::-1], 2)]
    groups = duplicate_groups(survey_of([*pictures, *copies]))
    found = sorted((group[0].place, group[1].place, group[1].kind) for group in groups)
    assert found == [(40, 60, "turned"), (50, 61, "mirrored")]
