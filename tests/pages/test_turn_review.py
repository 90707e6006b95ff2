from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quarterturn.pages.exploration import Shown, TurnedShown
from quarterturn.pages.measures import Measure
from quarterturn.pages.sprite import make_sprite
from quarterturn.pages.tables import Table
from quarterturn.pages.turn_review import (
    ReviewRows,
    TurnReviewPage,
    render_turn_review,
    write_turn_review,
)
from tests.fixtures.browser import Browser, assert_runs_only_its_own_script

NAMES = [
    "a/0.jpg",
    '</script><script>alert("1")</script>,.jpg',
    "odd \udcff.jpg",
    "a/long name of a photo, with a comma.jpg",
]
PROBABILITIES = [0.999, 0.95, 0.7, 0.55]
COLUMNS = ["path", "turn_degrees", "apply", "file_version"]


def review() -> TurnReviewPage:
    """Four photos, of which two are checked, and one more that is not on the page."""
    rows = [
        [name, str(90 * turn), "yes" if sure > 0.8 else "no", f"v{turn}"]
        for turn, (name, sure) in enumerate(zip(NAMES, PROBABILITIES, strict=True), start=1)
    ]
    rows[3][1] = "90"
    rows.append(["left/out.jpg", "180", "no", "v9"])
    plates = np.zeros((5, 128, 128, 3), np.uint8)
    plates[:, :64, :, 0] = 220  # red above
    return TurnReviewPage(
        title="Which way is up in photos",
        date="2026-11-30",
        summary=["5 images."],
        measures=[Measure("Rotation accuracy", "96.0 %", "of the turns")],
        caveat="A caveat.",
        warning="",
        tables=[Table("By probability", ["turned from", "images"], [["80.0 %", 2]])],
        turned=[
            TurnedShown(Shown(name, f"photos/{i}.jpg", i), int(rows[i][1]) // 90, sure)
            for i, (name, sure) in enumerate(zip(NAMES, PROBABILITIES, strict=True))
        ],
        left_out=1,
        no_up=[Shown("sky.jpg", "photos/sky.jpg", 4)],
        num_no_up=3,
        plates=make_sprite(plates, 10**6),
        review=ReviewRows(COLUMNS, rows, 1, 2),
        command="quarterturn orient runs/x --apply orient.csv --write UPRIGHT",
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "orient.html"
    write_turn_review(path, review())
    return path


def opened(browser: Browser, page: Path, **window: int | bool) -> None:
    browser.open(page, **window)  # type: ignore[arg-type]
    browser.run(
        "URL.createObjectURL = blob => { window.saved = blob; return 'data:,' };"
        "window.box = number => document.querySelectorAll('.candidates input')[number]"
    )


def saved(browser: Browser) -> list[list[str]]:
    """The rows of the file that the page saves."""
    browser.run("document.getElementById('save').click()")
    numbers = browser.run("window.saved.arrayBuffer().then(b => [...new Uint8Array(b)])")
    text = bytes(numbers).decode(errors="surrogateescape")
    return list(csv.reader(io.StringIO(text, newline="")))


def checked(browser: Browser) -> list[bool]:
    answers: list[bool] = browser.run(
        "[...document.querySelectorAll('.candidates input')].map(each => each.checked)"
    )
    return answers


def test_nothing_is_fetched_and_only_its_own_script_runs(page: Path) -> None:
    assert_runs_only_its_own_script(page.read_text())


def test_what_is_not_shown_is_counted() -> None:
    text = render_turn_review(review())
    assert "The first 4 of 5 photos are shown" in text
    assert "The first 1 of 3 are shown" in text
    none = replace(review(), turned=[], no_up=[], warning="It cannot tell yet.")
    text = render_turn_review(none)
    assert '<div class="warning"><p>It cannot tell yet.</p></div>' in text
    assert "None stand out." in text
    assert 'type="checkbox"' not in text


def test_the_review_is_saved_as_it_was_checked(browser: Browser, page: Path) -> None:
    opened(browser, page)
    assert checked(browser) == [True, True, False, False]
    assert browser.run("document.getElementById('count').textContent") == "2 of 4 checked"
    rows = saved(browser)
    assert rows == [COLUMNS, *review().review.rows]  # names in full, odd bytes and commas too
    browser.run("box(1).closest('label').scrollIntoView({block: 'center'})")
    place = browser.run("(b => [b.left + 5, b.top + 5])(box(1).getBoundingClientRect())")
    browser.click(*place)
    picture = browser.run(
        "(b => [b.left + 9, b.top + 9])(document.querySelectorAll('.after')[2]"
        ".getBoundingClientRect())"
    )
    browser.click(*picture)
    assert checked(browser) == [True, False, True, False]
    assert [row[2] for row in saved(browser)] == ["apply", "yes", "no", "yes", "no", "no"]
    assert browser.run("document.getElementById('done').textContent") == "Saved as orient.csv."
    assert browser.errors == []


def test_keys_check_and_move_on(browser: Browser, page: Path) -> None:
    opened(browser, page)
    browser.run("box(2).focus()")
    browser.send("Input.dispatchKeyEvent", type="keyDown", key=" ", code="Space", text=" ")
    browser.send("Input.dispatchKeyEvent", type="keyUp", key=" ", code="Space")
    browser.settle()
    assert checked(browser) == [True, True, True, False]
    assert browser.run("box(3).tabIndex") == 0


def test_another_turn_is_saved_and_shown(browser: Browser, page: Path) -> None:
    opened(browser, page)
    browser.run("document.querySelectorAll('.further')[2].click()")  # from 270 to 90
    assert browser.run("document.querySelectorAll('.degrees')[2].textContent") == "turn 90°, by you"
    assert checked(browser)[2]
    assert saved(browser)[3][1:3] == ["90", "yes"]
    assert browser.run("document.querySelectorAll('.after .plate')[2].className") == (
        "plate turned-1"
    )


def test_a_probability_checks_all_above_it(browser: Browser, page: Path) -> None:
    opened(browser, page)
    browser.run(
        "const s = document.getElementById('threshold'); s.value = '0.7';"
        "s.dispatchEvent(new Event('change'))"
    )
    assert checked(browser) == [True, True, True, False]
    browser.run("document.getElementById('none').click()")
    assert checked(browser) == [False] * 4
    browser.run("document.getElementById('all').click()")
    assert browser.run("document.getElementById('count').textContent") == "4 of 4 checked"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_before_and_after_in_any_window(
    browser: Browser, page: Path, width: int, dark: bool
) -> None:
    opened(browser, page, width=width, height=800, dark=dark)
    assert browser.run("document.documentElement.scrollWidth") <= width
    browser.run("document.querySelector('.candidate').scrollIntoView({block: 'center'})")
    browser.settle()
    pixels = browser.pixels().astype(int)
    assert (pixels[5, 5].mean() < 60) == dark
    left, top, side = browser.run(
        "(b => [b.left, b.top, b.width])(document.querySelector('.before-after > .plate')"
        ".getBoundingClientRect())"
    )
    middle, quarter = int(side / 2), int(side / 4)
    x, y = int(left), int(top)
    assert pixels[y + quarter, x + middle, 0] > 180  # red above, as it is stored
    assert pixels[y + 3 * quarter, x + middle, 0] < 60
    left, top = browser.run(
        "(b => [b.left, b.top])(document.querySelector('.after .plate').getBoundingClientRect())"
    )
    x, y = int(left), int(top)
    assert pixels[y + middle, x + quarter, 0] > 180  # turned counter-clockwise: red on the left
    assert pixels[y + middle, x + 3 * quarter, 0] < 60
    assert browser.errors == []
