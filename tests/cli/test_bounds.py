"""Every option of every command, with numbers that no option can have."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quarterturn.cli.commands import COMMANDS
from quarterturn.cli.flags import entries
from quarterturn.config.options import field_docs
from quarterturn.config.validation import check_settings, field_types, stripped
from quarterturn.errors import ConfigError
from quarterturn.methods.configuration import Config
from quarterturn.methods.registry import METHODS

NUMBERS = {int, float, int | None, float | None}
REQUIRED = {"out": Path("x.csv"), "format": "onnx"}


def groups() -> list[Any]:
    """Every dataclass of options there is, with its defaults."""
    found = []
    for command in COMMANDS.values():
        needed = {n: v for n, v in REQUIRED.items() if n in field_types(command.options)}
        found.append(command.options(**needed))
    config = Config()
    found += [getattr(config, name) for name in field_types(Config)]
    return found + [options() for options in METHODS.values()]


CASES = {
    f"{type(group).__name__}.{name}": (group, name)
    for group in groups()
    for name, kind in field_types(type(group)).items()
    if stripped(kind) in NUMBERS
}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30, 10**30, -1, -0.5])
def test_no_option_takes_an_impossible_number(value):
    for group, name in CASES.values():
        flag = f"--{name.replace('_', '-')}"
        with pytest.raises(ConfigError, match=f"^{flag} is {re.escape(str(value))}; expected "):
            check_settings(replace(group, **{name: value}))


def test_every_number_among_the_flags_is_tried():
    tried = {name for _, name in CASES.values()}
    for command in COMMANDS.values():
        for entry in entries(command, Config() if command.training else None, any_method=True):
            assert stripped(entry.kind) not in NUMBERS or entry.name in tried
    assert len(CASES) > 60


@pytest.mark.parametrize("group", groups(), ids=lambda group: type(group).__name__)
def test_every_option_is_documented(group):
    assert field_types(type(group)).keys() <= field_docs(type(group)).keys() | {"method"}
