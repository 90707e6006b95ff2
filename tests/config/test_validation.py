import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest

from quarterturn.config.bounds import Bounds, Count, Fraction, Positive
from quarterturn.config.validation import check_settings, converted, field_types, unknown
from quarterturn.errors import ConfigError


@dataclass(frozen=True)
class Example:
    """A field of each kind."""

    rate: Positive = 0.1
    epochs: Count = 3
    share: Fraction | None = None
    free: float = 0.0
    kind: Literal["knn", "linear"] = "knn"
    crops: Literal[1, 10] = 1
    pair: tuple[Positive, Positive] = (1.0, 2.0)
    shots: tuple[Count, ...] = ()
    layers: tuple[str, ...] | None = None
    flip: bool = True
    name: str = "x"
    out: Path | None = None
    limit: Annotated[int, Bounds(at_least=8)] | None = None


REFUSED = {
    "rate": {-1: "a positive number", "0.1": "a positive number", None: "a positive number"},
    "epochs": {0: "1 or more", 1.5: "a whole number, 1 or more", True: "1 or more"},
    "share": {1.5: "from 0 to 1"},
    "free": {math.nan: "a finite number", math.inf: "a finite number"},
    "kind": {"svm": "knn or linear", None: "knn or linear"},
    "crops": {5: "1 or 10", True: "1 or 10"},
    "pair": {(1.0,): "2 numbers, each positive", (0.0, 1.0): "2 numbers, each positive"},
    "shots": {(0,): "whole numbers, each 1 or more", 3: "whole numbers, each 1 or more"},
    "layers": {("a", 3): "words", "conv1": "words"},
    "flip": {1: "true or false"},
    "name": {3: "a word"},
    "out": {3: "a path"},
    "limit": {7: "8 or more"},
}
CASES = [(name, *case) for name, cases in REFUSED.items() for case in cases.items()]


def test_every_kind_of_field_has_a_case():
    assert REFUSED.keys() == {field.name for field in fields(Example)}
    check_settings(Example())


@pytest.mark.parametrize(("name", "value", "expected"), CASES)
def test_a_wrong_value_is_refused_by_its_flag(name, value, expected):
    with pytest.raises(ConfigError) as caught:
        check_settings(Example(**{name: value}))
    shown = "'0.1'" if value == "0.1" else value  # the word, which would pass for the number
    assert str(caught.value) == f"--{name} is {shown}; expected {expected}"


def test_a_number_too_large_names_the_limit():
    with pytest.raises(
        ConfigError, match=r"^--rate is 1e\+30; expected a .* number, at most 1,000,000,000$"
    ):
        check_settings(Example(rate=1e30))


@pytest.mark.parametrize(
    ("name", "given", "stored"),
    [
        ("pair", [1, 2], (1.0, 2.0)),
        ("pair", [1, 2, 3], (1, 2, 3)),  # refused by the check, and not cut short here
        ("shots", [1, 2], (1, 2)),
        ("shots", np.array([1, 2]), None),
        ("layers", ["conv1"], ("conv1",)),
        ("out", "runs/x", Path("runs/x")),
        ("name", Path("runs/x"), "runs/x"),
        ("epochs", np.int64(3), 3),
        ("rate", 1, 1.0),
        ("rate", True, True),
        ("epochs", 2.5, 2.5),
        ("share", None, None),
        ("name", "x", "x"),
    ],
)
def test_values_are_converted_where_no_guess_is_needed(name, given, stored):
    found = converted(given, field_types(Example)[name])
    if stored is None and given is not None:
        assert found is given
    else:
        assert found == stored
        assert type(found) is type(stored)


def test_rules_over_several_fields_are_checked_last():
    @dataclass(frozen=True)
    class Pair:
        low: float = 0.0
        high: float = 1.0

        def check(self) -> None:
            if self.low > self.high:
                raise ConfigError("--low is above --high")

    with pytest.raises(ConfigError, match=r"^--low is above --high$"):
        check_settings(Pair(low=2.0))
    with pytest.raises(ConfigError, match=r"^--high is nan"):
        check_settings(Pair(low=2.0, high=math.nan))


def test_an_unknown_name_suggests_the_closest():
    known = ["learning_rate", "epochs"]
    close = unknown("setting", "learing_rate", known)
    assert str(close) == "unknown setting 'learing_rate'; did you mean 'learning_rate'?"
    none = unknown("setting", "zzz", known, "Hint.")
    assert str(none) == "unknown setting 'zzz'; there are learning_rate, epochs Hint."
