import io

import numpy as np
import pytest
from PIL import Image

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ArrayImages
from quarterturn.features.pictures import thumbnail
from quarterturn.orientation import upright_sheets as module
from quarterturn.orientation.upright_sheets import upright_sheets

from .handmade_tables import predicted_turn, random_table, table_of

CROP = DataConfig(image_size=8)
MOST_SHOWN = 5


@pytest.fixture(autouse=True)
def _few_are_shown(monkeypatch):
    """Drawing takes most of the time."""
    monkeypatch.setattr(module, "MOST_SHOWN", MOST_SHOWN)


@pytest.fixture
def images(random_images):
    return random_images(20, 8)


def sheets_of(images, table):
    return {sheet.figure.name: sheet for sheet in upright_sheets(images, table, CROP)}


def indices(sheet):
    return [one.picture.index for one in sheet.pictures]


def test_both_ends_of_the_agnostic_score(images, rng):
    table = random_table(images, rng, unscored=(3, 9))
    sheets = sheets_of(images, table)
    scored = [i for i in range(20) if i not in (3, 9)]
    scores = sorted((float(table.agnostic[i]) for i in scored), reverse=True)
    most, least = sheets["most-agnostic"], sheets["most-rotatable"]
    assert [one.agnostic for one in most.pictures] == scores[:MOST_SHOWN]
    assert [one.agnostic for one in least.pictures] == scores[::-1][:MOST_SHOWN]
    assert most.summary == "5 of 18 images, the most agnostic first."


def test_what_could_not_be_read_is_on_no_sheet(images, rng):
    # It has an agnostic score of 1, more than any other.
    sheets = sheets_of(images, random_table(images, rng, unscored=(3, 9)))
    assert all(not {3, 9} & set(indices(sheet)) for sheet in sheets.values())


def test_the_turned_are_shown_surest_first(images):
    sureness = np.linspace(0.6, 0.98, 8)
    turned = [predicted_turn(1 + i % 3, s) for i, s in enumerate(sureness)]
    sheets = sheets_of(images, table_of(images, [*turned, *[predicted_turn(0)] * 12]))
    shown = sheets["probably-turned"]
    assert indices(shown) == [7, 6, 5, 4, 3]
    # Stored turned by 90 degrees counter-clockwise, it takes another 270 to be upright.
    assert [one.turn for one in shown.pictures] == [3 - i % 3 for i in indices(shown)]
    assert shown.summary == "5 of 8 such images, the surest first."


def test_a_sheet_without_images_is_left_out(images):
    assert set(sheets_of(images, table_of(images, [predicted_turn(0)] * 20))) == {
        "most-agnostic",
        "most-rotatable",
    }


def test_no_image_is_among_both_ends_of_a_small_collection(random_images, rng):
    images = random_images(9, 8)
    sheets = sheets_of(images, random_table(images, rng))
    most, least = indices(sheets["most-agnostic"]), indices(sheets["most-rotatable"])
    assert len(most) == len(least) == 4
    assert not set(most) & set(least)


def test_data_and_pictures_are_those_of_the_images(images, rng):
    table = random_table(images, rng)
    for sheet in upright_sheets(images, table, CROP):
        assert Image.open(io.BytesIO(sheet.figure.png)).width > 900
        stored = sheet.figure.data["images"]
        for one, line in zip(sheet.pictures, stored, strict=True):
            i = line["index"]
            assert one.picture.image == thumbnail(images, i, CROP)
            assert line["name"] == one.picture.name == images.names[i]
            assert line["label"] == one.label == images.class_names[images.labels[i]]
            assert line["agnostic"] == one.agnostic == float(table.agnostic[i])
            assert line["p_upright"] == one.p_upright == table.p_upright[i].tolist()
            assert line["turn_to_upright"] == 90 * one.turn


def test_images_without_labels_have_none(images, rng):
    images = ArrayImages(images.pixels, images.names)
    for sheet in upright_sheets(images, random_table(images, rng), CROP):
        assert {one.label for one in sheet.pictures} == {None}
