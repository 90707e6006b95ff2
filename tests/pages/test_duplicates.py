from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from quarterturn.pages.duplicates import DuplicatesPage, write_duplicates
from quarterturn.pages.exploration import GroupShown, Shown
from quarterturn.pages.measures import Measure
from quarterturn.pages.sprite import make_sprite
from tests.fixtures.browser import Browser
from tests.pages.elements import Elements

EVIL = '</script><script>alert("1")</script>\'&.jpg'


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A wide and a high picture in a group, of which more are left out."""
    pixels = np.full((2, 160, 160, 3), 200, np.uint8)
    shown = [
        Shown(EVIL, "photos/a.jpg", 0, "keep", 1.0, 0.5),
        Shown("b.jpg", "photos/b%201.jpg", 1, "turned 90°, 0.99", 0.5, 1.0),
    ]
    path = tmp_path / "duplicates.html"
    write_duplicates(
        path,
        DuplicatesPage(
            title="Duplicates in photos",
            date="2026-11-30",
            summary=["200 images; 70 are copies of another."],
            measures=[Measure("Groups", "70", "of images that show the same picture")],
            facts=["ignored files that are not images: 1 .txt"],
            unreadable={"/home/me/broken.jpg": "the file is empty"},
            plates=make_sprite(pixels, 100_000),
            groups=[GroupShown("turned", shown)],
            num_groups=70,
            how=["By pixels."],
        ),
        "copies.csv",
    )
    return path


def test_names_are_text_and_paths_are_cut(page: Path) -> None:
    text = page.read_text()
    elements = Elements(text)
    assert elements.all("script") == []
    assert [a["href"] for a in elements.all("a")] == ["photos/a.jpg", "photos/b%201.jpg"]
    assert "/home/me" not in text
    assert "The first 1 of 70 groups are shown; <code>copies.csv</code> lists them all." in text


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_pictures_keep_their_shape(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.open(page, width=width, dark=dark)
    assert browser.errors == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    sizes = browser.run(
        "[...document.querySelectorAll('.plate')].map(p => [p.clientWidth, p.clientHeight])"
    )
    side = 160 if width == 1280 else 130
    assert sizes == [[side, side // 2], [side // 2, side]]
