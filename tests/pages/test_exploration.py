from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quarterturn.pages.exploration import (
    Colouring,
    ExplorationPage,
    Folder,
    GroupShown,
    KindShown,
    MapShown,
    Shown,
    TurnedShown,
    render_exploration,
    write_exploration,
)
from quarterturn.pages.measures import Measure
from quarterturn.pages.sprite import make_sprite
from tests.fixtures.browser import Browser, assert_runs_only_its_own_script

SIDE = 10  # points of a map in a square grid
EVIL = '</script><script>alert("1")</script>\'&.jpg'


def exploration() -> ExplorationPage:
    """A page whose map is a grid: left half cluster 1, right half cluster 2."""
    count = SIDE * SIDE
    places = np.arange(count)
    x, y = (places % SIDE) / (SIDE - 1), (places // SIDE) / (SIDE - 1)
    names = [f"grid/{place:02d}.jpg" for place in places]
    names[5] = EVIL
    tiles = np.zeros((count, 16, 16, 3), np.uint8)
    tiles[..., 0] = 200
    shown = [Shown(EVIL, "photos/5.jpg", 0), Shown("grid/07.jpg", "photos/7.jpg", 1, "a note")]
    return ExplorationPage(
        title="What is in grid",
        date="2026-11-30",
        summary=["100 images."],
        measures=[Measure("Images", "100", "that could be read")],
        facts=["ignored files that are not images: 1 .txt"],
        unreadable={"grid/broken.jpg": "the file is empty"},
        tables=[],
        map=MapShown(
            names=names,
            x=x.tolist(),
            y=y.tolist(),
            folders=[Folder("photos/")],
            splits=[0] * count,
            hrefs={5: "photos/odd%FF.jpg"},
            colourings=[
                Colouring("cluster", (x > 0.5).astype(int).tolist(), ["1", "2"]),
                Colouring("upright", y.tolist(), low="turned", high="upright"),
            ],
            tiles=make_sprite(tiles, 10**6),
            left_out=7,
        ),
        plates=make_sprite(tiles[:2], 10**6),
        kinds=[KindShown(1, 50, 0.5, "", shown), KindShown(2, 50, 0.5, "", shown)],
        kinds_rule="Two.",
        rarest=[2],
        groups=[GroupShown("1 turned", shown)],
        num_groups=3,
        num_copies=4,
        copies_words="3 turned, 1 exact",
        turned=[TurnedShown(shown[0], 1, 0.9)],
        num_turned=2,
        turned_caveat="A caveat.",
        odd=shown,
        how=["By hand."],
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "explore.html"
    write_exploration(path, exploration())
    return path


def place_of(browser: Browser, x: float, y: float) -> tuple[float, float]:
    """Where a place of the map is in the window, after the whole map was fitted in."""
    browser.run("document.getElementById('canvas').scrollIntoView({block: 'center'})")
    browser.settle()
    box = browser.run(
        "(b => [b.left, b.top, b.width, b.height])(document.getElementById('canvas')"
        ".getBoundingClientRect())"
    )
    left, top, width, height = box
    scale = min(width, height) - 62  # a margin of 30 and a border of 1
    return (
        left + (width - scale) / 2 + x * scale,
        top + (height - scale) / 2 + y * scale,
    )


def picked(browser: Browser) -> list[str]:
    names: list[str] = browser.run(
        "[...document.querySelectorAll('#selected li')].map(e => e.textContent)"
    )
    return names


def test_nothing_is_fetched_and_only_its_own_script_runs(page: Path) -> None:
    assert_runs_only_its_own_script(page.read_text())


def test_names_are_text_wherever_they_are(page: Path) -> None:
    text = page.read_text()
    assert 'alert("1")' not in re.sub(r"\\\"", "", text)
    found = re.search(r'id="points">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    assert json.loads(found[1])["names"][5] == EVIL


def test_what_is_not_shown_is_counted() -> None:
    page = exploration()
    text = render_exploration(page)
    assert "The first 1 of 3 groups are shown" in text
    assert "The first 1 of 2 photos are shown" in text
    assert "7 are left out here" in text
    assert "4 images beyond one of each (3 turned, 1 exact)" in text
    none = replace(page, groups=[], num_groups=0, turned=[], num_turned=None, odd=[])
    assert "This network predicts no turns" in render_exploration(none)


def test_a_click_picks_an_image_and_links_to_its_file(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.click(*place_of(browser, 7 / 9, 0))
    assert picked(browser) == ["grid/07.jpg"]
    href = browser.run("document.querySelector('#selected a').getAttribute('href')")
    assert href == "photos/grid/07.jpg"
    assert browser.run("document.getElementById('hover-name').textContent") == "grid/07.jpg"
    words = browser.run("document.getElementById('hover-words').textContent")
    assert words == "cluster: 2 · upright: 0 %"
    browser.click(*place_of(browser, 5 / 9, 0))
    assert picked(browser) == [EVIL]
    href = browser.run("document.querySelector('#selected a').getAttribute('href')")
    assert href == "photos/odd%FF.jpg"
    assert browser.errors == []


def test_a_lasso_picks_what_it_encircles(browser: Browser, page: Path) -> None:
    browser.open(page)
    x, y = place_of(browser, 0, 0)
    far_x, far_y = place_of(browser, 2.5 / 9, 1.5 / 9)
    browser.run("document.getElementById('lasso').click()")
    browser.mouse("Pressed", x - 15, y - 15)
    for to in [(far_x, y - 15), (far_x, far_y), (x - 15, far_y)]:
        browser.mouse("Moved", *to, buttons=1)
    browser.mouse("Released", x - 15, far_y)
    browser.settle()
    expected = ["grid/00.jpg", "grid/01.jpg", "grid/02.jpg"]
    assert picked(browser) == [*expected, *(name.replace("/0", "/1") for name in expected)]
    assert browser.run("document.getElementById('selected-count').textContent") == "6 images picked"
    assert browser.run("document.getElementById('lasso').getAttribute('aria-pressed')") == "false"


def test_keys_move_pick_and_clear(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.click(*place_of(browser, 0, 0))
    browser.run("document.getElementById('canvas').focus()")
    for key in ("ArrowRight", "ArrowDown", "Enter"):
        browser.press(key)
    assert picked(browser) == ["grid/00.jpg", "grid/11.jpg"]
    browser.press("Escape")
    assert picked(browser) == []


def test_dragging_and_the_wheel_move_the_map(browser: Browser, page: Path) -> None:
    browser.open(page)
    start = place_of(browser, 0.5, 0.5)
    browser.mouse("Moved", *start)
    browser.mouse("Pressed", *start)
    browser.mouse("Moved", start[0] + 60, start[1], buttons=1)
    browser.mouse("Released", start[0] + 60, start[1])
    x, y = place_of(browser, 0, 0)
    browser.click(x + 60, y)
    assert picked(browser) == ["grid/00.jpg"]
    browser.send(
        "Input.dispatchMouseEvent", type="mouseWheel", x=x + 60, y=y, deltaX=0, deltaY=-300
    )
    browser.settle()
    browser.click(x + 60, y)  # what is below the pointer stays there
    assert picked(browser) == ["grid/00.jpg"]


def test_names_and_csv_of_what_is_picked(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run(
        "URL.createObjectURL = blob => { window.saved = blob.text(); return 'data:,' };"
        "document.execCommand = () => { window.copied = document.activeElement.value };"
        "navigator.clipboard.writeText = () => Promise.reject()"
    )
    browser.run("document.querySelector('#cluster-2 .on-map').click()")
    assert len(picked(browser)) == 50
    browser.run("document.getElementById('save').click()")
    lines = browser.run("window.saved").split("\r\n")
    assert lines[0] == "name,cluster,upright"
    assert lines[1] == '"' + EVIL.replace('"', '""') + '",2,0.000'
    assert len(lines) == 52
    browser.run("document.getElementById('copy').click()")
    browser.settle()
    assert browser.run("window.copied").split("\n")[:2] == [EVIL, "grid/06.jpg"]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_it_is_drawn_in_any_window(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.open(page, width=width, height=800, dark=dark)
    assert browser.run("document.documentElement.scrollWidth") <= width
    place_of(browser, 0.5, 0.5)  # which brings the map into the window
    pixels = browser.pixels().astype(int)
    paper = pixels[5, 5]
    assert (paper.mean() < 60) == dark
    red = (pixels[..., 0] > 150) & (pixels[..., 1] < 60) & (pixels[..., 2] < 60)
    assert red.sum() > 5_000  # the pictures are red; 40 px each, where there is room
    assert red[:, : width // 2].any()
    assert red[:, width // 2 :].any()
    browser.run(
        "const c = document.getElementById('colour'); c.value = '1';"
        "c.dispatchEvent(new Event('change'))"
    )
    browser.settle()
    assert browser.run("document.getElementById('legend').textContent") == "turnedupright"
    assert (browser.pixels().astype(int) != pixels).any()
    assert browser.errors == []
