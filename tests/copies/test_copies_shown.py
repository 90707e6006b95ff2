from __future__ import annotations

from pathlib import Path

import pytest

from quarterturn.copies.copies_shown import copy_words, varied
from quarterturn.copies.duplicate_groups import Copy
from quarterturn.pages.page import href_to


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("/data/photos/a b.jpg", "../../data/photos/a%20b.jpg"),
        ("/runs/a/x#1?.jpg", "x%231%3F.jpg"),
        ("/runs/a/\udcff.jpg", "%FF.jpg"),
    ],
)
def test_links_are_relative_and_quoted(file: str, expected: str) -> None:
    assert href_to(Path(file), Path("/runs/a")) == expected


def test_the_first_groups_show_every_kind_of_copy() -> None:
    kinds = ["exact", "exact", "exact", "near", "turned", "mirrored", "near"]
    groups = [[Copy(2 * i), Copy(2 * i + 1, kind)] for i, kind in enumerate(kinds)]
    order = [group[1].kind for group in varied(groups)]
    assert order == ["turned", "mirrored", "near", "exact", "near", "exact", "exact"]


def test_a_copy_in_words() -> None:
    assert copy_words(Copy(0)) == ""
    assert copy_words(Copy(1, "turned", 90, 0.987)) == "turned 90°, 0.99"
    assert copy_words(Copy(1, "exact")) == "exact, 1.00"
