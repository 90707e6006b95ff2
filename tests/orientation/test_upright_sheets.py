import io

import numpy as np
import pytest
from PIL import Image

from quarterturn.data.imageset import ArrayImages
from quarterturn.features.pictures import thumbnail
from quarterturn.methods.configuration import Config
from quarterturn.orientation import upright_sheets as module
from quarterturn.orientation.upright_sheets import save_sheets
from quarterturn.pages.figures import load_figure
from quarterturn.runs import Run
from quarterturn.runs.pictures import FOLDER, Sheets, read_pictures

from .handmade_tables import predicted_turn, random_table, table_of

MOST_SHOWN = 5


@pytest.fixture(autouse=True)
def _few_are_shown(monkeypatch):
    """Drawing takes most of the time."""
    monkeypatch.setattr(module, "MOST_SHOWN", MOST_SHOWN)


@pytest.fixture
def images(random_images):
    return random_images(20, 8)


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path / "run", "photos", Config().with_settings(image_size=8), "f", "upright")
    run.create()
    return run


def sheets_of(run, images, table):
    return {sheet.name: sheet for sheet in save_sheets(run, images, table).sheets}


def indices(sheet):
    return [one.picture.index for one in sheet.pictures]


def test_both_ends_of_the_agnostic_score(images, rng, run):
    table = random_table(images, rng, unscored=(3, 9))
    sheets = sheets_of(run, images, table)
    scored = [i for i in range(20) if i not in (3, 9)]
    scores = sorted((float(table.agnostic[i]) for i in scored), reverse=True)
    most, least = sheets["most-agnostic"], sheets["most-rotatable"]
    assert [one.agnostic for one in most.pictures] == scores[:MOST_SHOWN]
    assert [one.agnostic for one in least.pictures] == scores[::-1][:MOST_SHOWN]
    assert most.summary == "5 of 18 images, those with the least clear up first."


def test_what_could_not_be_read_is_on_no_sheet(images, rng, run):
    # It has an agnostic score of 1, more than any other.
    sheets = sheets_of(run, images, random_table(images, rng, unscored=(3, 9)))
    assert all(not {3, 9} & set(indices(sheet)) for sheet in sheets.values())


def test_the_turned_are_shown_surest_first(images, run):
    sureness = np.linspace(0.6, 0.98, 8)
    turned = [predicted_turn(1 + i % 3, s) for i, s in enumerate(sureness)]
    sheets = sheets_of(run, images, table_of(images, [*turned, *[predicted_turn(0)] * 12]))
    shown = sheets["probably-turned"]
    assert indices(shown) == [7, 6, 5, 4, 3]
    # Stored turned by 90 degrees counter-clockwise, it takes another 270 to be upright.
    assert [one.turn for one in shown.pictures] == [3 - i % 3 for i in indices(shown)]
    assert shown.summary == "5 of 8 such images, the surest first."


def test_a_sheet_without_images_is_left_out(images, run):
    assert set(sheets_of(run, images, table_of(images, [predicted_turn(0)] * 20))) == {
        "most-agnostic",
        "most-rotatable",
    }


def test_no_image_is_among_both_ends_of_a_small_collection(random_images, rng, run):
    images = random_images(9, 8)
    sheets = sheets_of(run, images, random_table(images, rng))
    most, least = indices(sheets["most-agnostic"]), indices(sheets["most-rotatable"])
    assert len(most) == len(least) == 4
    assert not set(most) & set(least)


def test_data_and_pictures_are_those_of_the_images(images, rng, run):
    table = random_table(images, rng)
    sheets = save_sheets(run, images, table)
    assert read_pictures(run.path, "upright", Sheets) == sheets
    for sheet in sheets.sheets:
        figure = load_figure(run.figures, sheet.name)
        assert Image.open(io.BytesIO(figure.png)).width > 900
        stored = figure.data["images"]
        for one, line in zip(sheet.pictures, stored, strict=True):
            i = line["index"]
            with Image.open(run.path / FOLDER / one.picture.file) as image:
                assert image.tobytes() == thumbnail(images, i, run.config.data).tobytes()
            assert line["name"] == one.picture.name == images.names[i]
            assert line["label"] == one.label == images.class_names[images.labels[i]]
            assert line["agnostic"] == one.agnostic == float(table.agnostic[i])
            assert line["p_upright"] == [*one.p_upright] == table.p_upright[i].tolist()
            assert line["turn_to_upright"] == 90 * one.turn


def test_images_without_labels_have_none(images, rng, run):
    images = ArrayImages(images.pixels, images.names)
    for sheet in save_sheets(run, images, random_table(images, rng)).sheets:
        assert {one.label for one in sheet.pictures} == {None}
