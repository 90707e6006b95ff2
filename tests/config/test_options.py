from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from quarterturn.config.bounds import Count
from quarterturn.config.options import (
    COMMON,
    Flag,
    field_docs,
    flag_of,
    take_options,
    take_options_and_settings,
)
from quarterturn.config.validation import field_types
from quarterturn.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Base:
    """What commands share."""

    overwrite: bool = False
    """Replace
    files."""
    seed: int = 0
    """Of the base."""


@dataclass(frozen=True, kw_only=True)
class Options(Base):
    """Of one command."""

    out: Annotated[Path, COMMON]
    """The file."""
    k: Annotated[Count, Flag(name="number", metavar="K")] = 10
    """How many."""
    seed: int = 1
    """Of the command."""


def test_docs_of_fields_are_the_nearest_in_one_line():
    assert field_docs(Options) == {
        "overwrite": "Replace files.",
        "seed": "Of the command.",
        "out": "The file.",
        "k": "How many.",
    }


def test_flags_of_fields():
    flags = {name: flag_of(kind) for name, kind in field_types(Options).items()}
    assert flags["out"] == Flag(common=True)
    assert flags["k"] == Flag("number", "K")
    assert flags["seed"] == Flag()


def test_keywords_become_options():
    assert take_options(Options, None, {"out": "x", "k": 3}) == Options(out=Path("x"), k=3)


def test_keywords_come_before_the_options_given():
    given = Options(out=Path("x"), k=3)
    assert take_options(Options, given, {}) == given
    assert take_options(Options, given, {"k": 4}) == Options(out=Path("x"), k=4)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "^--out is missing: The file.$"),
        ({"out": "x", "k": 0}, "^--k is 0; expected 1 or more$"),
        ({"out": "x", "overwrit": True}, "^unknown option 'overwrit'; did you mean 'overwrite'"),
    ],
)
def test_what_is_no_option_is_refused(fields, words):
    with pytest.raises(ConfigError, match=words):
        take_options(Options, None, fields)


def test_settings_of_a_run_are_told_from_options():
    fields = {"out": "x", "epochs": 3, "k": 2}
    options, settings = take_options_and_settings(Options, None, fields, ["epochs", "limit"])
    assert options == Options(out=Path("x"), k=2)
    assert settings == {"epochs": 3}
    with pytest.raises(ConfigError, match="'epoch'; did you mean 'epochs'"):
        take_options_and_settings(Options, None, {"epoch": 3}, ["epochs", "limit"])
