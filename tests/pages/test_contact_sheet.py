import io

import numpy as np
import pytest
from PIL import Image

from quarterturn.pages.contact_sheet import BARS_INCHES, SheetPicture, draw_sheet, with_label

BLUE = (42, 108, 168)  # of frames and of marked bars
RED = (255, 0, 0)


def sheet(pictures):
    return np.array(Image.open(io.BytesIO(draw_sheet(pictures))).convert("RGB")).astype(int)


def near(pixels, colour):
    """(H, W) whether a pixel is about of that colour."""
    return np.abs(pixels - colour).max(axis=2) < 12


def picture(**more):
    return SheetPicture(Image.new("RGB", (8, 8), RED), "words", **more)


@pytest.mark.parametrize("number", [1, 6, 7])
def test_six_pictures_in_a_row(number):
    pixels = near(sheet([picture() for _ in range(number)]), RED)
    # A picture's pixels make one run across each line and each column that they lie on.
    line = pixels[int(np.argmax(pixels.any(axis=1))) + 5].astype(int)
    column = pixels[:, int(np.argmax(pixels.any(axis=0))) + 5].astype(int)
    assert np.count_nonzero(np.diff(line) == 1) == min(number, 6)
    assert np.count_nonzero(np.diff(column, prepend=0) == 1) == -(-number // 6)


def test_bars_show_the_shares_and_colour_the_marked_one():
    shares = [0.2, 1.0, 0.5, 0.75]
    heights = []
    for marked in range(4):
        pixels = sheet([picture(shares=shares, marked=marked)])
        heights.append(near(pixels, BLUE).any(axis=1).sum())
    whole = 0.8 * BARS_INCHES * 200  # dots an inch
    assert np.array(heights) / whole == pytest.approx(shares, abs=0.06)


def test_only_a_framed_picture_has_a_frame():
    assert near(sheet([picture(framed=True)]), BLUE).any()
    assert not near(sheet([picture()]), BLUE).any()


def test_a_sheet_without_bars_leaves_no_room_for_them():
    assert len(sheet([picture()])) < len(sheet([picture(shares=[0.5] * 4)]))


def test_labels_are_cut_and_odd_bytes_are_shown():
    assert with_label("0.9", None) == "0.9"
    assert with_label("0.9", "cat") == "0.9\ncat"
    assert with_label("0.9", "x" * 14) == "0.9\n" + "x" * 14
    assert with_label("0.9", "x" * 15) == "0.9\n" + "x" * 13 + "\N{HORIZONTAL ELLIPSIS}"
    assert with_label("0.9", "caf\udce9") == "0.9\ncaf\\udce9"


def test_what_looks_like_mathematics_is_text():
    mathematical, plain = (SheetPicture(Image.new("RGB", (8, 8)), c) for c in ("$\\frac$", "x"))
    assert sheet([mathematical]).shape == sheet([plain]).shape
