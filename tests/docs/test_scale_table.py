import sys
from importlib import import_module
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def scale_table():
    sys.path.insert(0, str(DOCS))
    yield import_module("scale_table")
    sys.path.remove(str(DOCS))


def test_page_has_what_is_calculated(scale_table):
    page = (DOCS / "scale.md").read_text(encoding="utf-8")
    assert scale_table.rendered(page) == page, "run: make results"


@pytest.mark.parametrize(
    ("processes", "megabytes"),
    [(1, 0.0), (2, 2 * 0.5 * 44.8 + 256 * 520 / 1e6), (8, 2 * 7 / 8 * 44.8 + 7 * 256 * 520 / 1e6)],
)
def test_bytes_moved(scale_table, processes, megabytes):
    assert scale_table.moved_bytes(processes) / 1e6 == pytest.approx(megabytes)


@pytest.mark.parametrize(
    ("seconds", "words"), [(78.1, "1 min"), (5000, "1.4 h"), (500000, "5.8 days")]
)
def test_times_in_words(scale_table, seconds, words):
    assert scale_table.duration(seconds) == words
