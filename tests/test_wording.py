import pytest

from quarterturn.wording import counted


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 epochs"), (1, "1 epoch"), (2, "2 epochs"), (1200, "1,200 epochs")]
)
def test_nouns_agree_with_their_numbers(number: int, words: str) -> None:
    assert counted(number, "epoch") == words
