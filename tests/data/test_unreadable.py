import pytest

from quarterturn.data.unreadable import check_unreadable, list_unreadable
from quarterturn.errors import DataError


def failures(n: int) -> dict[str, str]:
    return {f"{i}.png": f"reason {i}" for i in range(n)}


def test_only_more_than_the_limit_are_refused():
    check_unreadable({}, 0, 0.0)
    check_unreadable(failures(5), 95, 0.05)
    with pytest.raises(DataError) as caught:
        check_unreadable(failures(6), 94, 0.05)
    assert str(caught.value).splitlines() == [
        "6 of 100 image files cannot be read (6.0%; the limit --max-bad-fraction is 5.0%):",
        *(f"  {i}.png: reason {i}" for i in range(6)),
        "mend or remove them, or leave them out with a higher --max-bad-fraction; trainings "
        "decode every file before they begin with --verify",
    ]


def test_long_lists_are_cut():
    lines = list_unreadable(failures(7), max_listed=3)
    assert lines == [*(f"  {i}.png: reason {i}" for i in range(3)), "  ... and 4 more"]
