import json
import sys
from importlib import import_module
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def result_tables():
    sys.path.insert(0, str(DOCS))
    yield import_module("result_tables")
    sys.path.remove(str(DOCS))


def test_results_page_equals_its_records(result_tables):
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    assert result_tables.rendered(page) == page, "run: make results"


@pytest.mark.parametrize(
    ("value", "plain", "decimals", "shown"),
    [
        (0.98, False, None, "98.0"),
        (0.95, True, 3, "0.950"),
        (2.0, True, None, "2.0"),
        (1281167, False, None, "1,281,167"),
        (None, False, None, "-"),
        ("not run", True, 3, "not run"),
        ({"mean": 0.954, "spread": 0.016}, False, None, "95.4 ± 1.6"),
        ({"upright": 0.311, "turned": 0.2}, False, None, "31.1 / 20.0"),
        ({"median": 1.041, "lowest": 0.976, "highest": 2}, False, None, "1.041 (0.976 to 2)"),
    ],
)
def test_cell_is_shown_by_its_kind(result_tables, value, plain, decimals, shown):
    assert result_tables.format_cell(value, plain, decimals) == shown


def test_unknown_cell_is_refused(result_tables):
    with pytest.raises(ValueError, match="no cell of a table"):
        result_tables.format_cell({"average": 0.5})


RECORD = {
    "format": 1,
    "title": "Two methods",
    "date": "2026-11-22",
    "machine": "one core",
    "command": ["quarterturn demo"],
    "n": "one seed",
    "tables": [
        {"columns": ["method", "kNN"], "rows": [["a", 0.5], ["b", "not run"]], "bold": ["a"]}
    ],
}
PAGE = "Before.\n\n<!-- record: two -->\nold\n<!-- end of record -->\n\nAfter.\n"


@pytest.fixture
def records(tmp_path):
    (tmp_path / "two.json").write_text(json.dumps(RECORD))
    return tmp_path


def test_record_replaces_its_block_only(result_tables, records):
    assert result_tables.rendered(PAGE, records) == (
        "Before.\n\n<!-- record: two -->\n\n```bash\nquarterturn demo\n```\n\n"
        "*Two methods. 2026-11-22; one core; one seed.*\n\n"
        "| method | kNN |\n| --- | ---: |\n| **a** | 50.0 |\n| b | not run |\n\n"
        "<!-- end of record -->\n\nAfter.\n"
    )


def test_record_that_the_page_lacks_is_refused(result_tables, records):
    with pytest.raises(ValueError, match="does not show two"):
        result_tables.rendered("No block.\n", records)


def test_record_shown_twice_is_refused(result_tables, records):
    with pytest.raises(ValueError, match="more than once"):
        result_tables.rendered(PAGE + PAGE, records)


def test_record_of_another_format_is_refused(result_tables, records):
    (records / "two.json").write_text(json.dumps(RECORD | {"format": 2}))
    with pytest.raises(ValueError, match="format 2"):
        result_tables.rendered(PAGE, records)
