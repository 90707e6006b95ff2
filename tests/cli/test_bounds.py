"""Every option of every command, with numbers that no option can have."""

import math
import re
from dataclasses import MISSING, fields, replace
from importlib import import_module
from itertools import cycle
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quarterturn.cli.commands import COMMANDS, Command
from quarterturn.cli.flags import entries
from quarterturn.cli.parsing import parse
from quarterturn.config.options import field_docs
from quarterturn.config.validation import check_settings, field_types, is_allowed, stripped
from quarterturn.errors import ConfigError
from quarterturn.methods.configuration import Config
from quarterturn.methods.registry import METHODS
from quarterturn.presets import PRESETS, preset

NUMBERS = {int, float, int | None, float | None}
REQUIRED = {"out": Path("x.csv"), "format": "onnx"}


def needed_by(command: Command) -> dict[str, Any]:
    """What has no default."""
    return {f.name: REQUIRED[f.name] for f in fields(command.options) if f.default is MISSING}


def groups() -> list[Any]:
    """Every dataclass of options there is, with its defaults."""
    found = []
    for command in COMMANDS.values():
        found.append(command.options(**needed_by(command)))
    config = Config()
    found += [getattr(config, name) for name in field_types(Config)]
    return found + [options() for options in METHODS.values()]


def _method_of(command: Command, option: str) -> dict[str, str] | None:
    """The method to give so that a command has an option; None where it has none by that name."""
    if option in field_types(command.options):
        return {}
    trained = [m for m, o in METHODS.items() if o.command == command.function.rpartition(":")[2]]
    if command.training is None or not trained:
        return {}
    shared = Config().settings().keys() - field_types(type(Config().method))
    if option in shared or command.training.method is not None:
        known = shared | field_types(METHODS[command.training.method or trained[0]]).keys()
        return {} if option in known else None
    owners = [method for method in trained if option in field_types(METHODS[method])]
    return {"method": owners[0]} if owners else None


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


TUPLES = {
    f"{type(group).__name__}.{name}": (group, name)
    for group in groups()
    for name, kind in field_types(type(group)).items()
    if get_origin(stripped(kind)) is tuple
    or any(get_origin(each) is tuple for each in get_args(stripped(kind)))
}


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_no_number_of_several_is_impossible(value: float) -> None:
    assert len(TUPLES) > 5
    for group, name in TUPLES.values():
        length = len(getattr(group, name) or (0,))
        with pytest.raises(ConfigError, match=f"^--{name.replace('_', '-')} is "):
            check_settings(replace(group, **{name: (value,) * length}))


@pytest.mark.parametrize("value", ["3", None, [1], True, b"", {}, 1j])
def test_no_number_is_of_another_type(value: Any) -> None:
    for group, name in CASES.values():
        kind = field_types(type(group))[name]
        if value is None and type(None) in get_args(stripped(kind)):
            continue
        with pytest.raises(ConfigError, match=f"^--{name.replace('_', '-')} is "):
            check_settings(replace(group, **{name: value}))


CALLS = [
    (name, option, other)
    for name, command in COMMANDS.items()
    for entry in entries(command, Config() if command.training else None, any_method=True)
    for option in [entry.name]
    for other in [_method_of(command, option)]
    if stripped(entry.kind) in NUMBERS and other is not None
]


def test_functions_refuse_it_before_anything_else(tmp_path: Path) -> None:
    """Before they look for the data or the run, neither of which is there."""
    assert len(CALLS) > 100
    values = cycle([math.nan, -math.inf, 1e30, -7])
    for value, (name, option, keywords) in zip(values, CALLS, strict=False):
        command = COMMANDS[name]
        module, _, function = command.function.partition(":")
        places = [str(tmp_path / "nowhere")] * sum(not p.optional for p in command.positionals)
        needed = needed_by(command)
        with pytest.raises(ConfigError, match=f"^--{option.replace('_', '-')} is "):
            getattr(import_module(module), function)(
                *places, **needed, **keywords, **{option: value}
            )
    assert list(tmp_path.iterdir()) == []


WORDS = st.one_of(
    st.sampled_from(
        ["nan", "inf", "-inf", "1e30", "-1", "1e12", "0", "-0", "", "1_0", "0x10", "٣"]
    ),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=8),
)


@given(st.sampled_from(range(len(CALLS))), WORDS)
@settings(max_examples=15)
def test_any_words_become_a_call_or_are_refused(number: int, word: str) -> None:
    name, option, keywords = CALLS[number]
    words = [name, *["x"] * sum(not p.optional for p in COMMANDS[name].positionals)]
    words += [f"--{n}={value}" for n, value in keywords.items()]
    words.append(f"--{option.replace('_', '-')}={word}")
    words += [f"--{n}={value}" for n, value in needed_by(COMMANDS[name]).items()]
    try:
        call = parse(words)
    except ConfigError:
        return
    except SystemExit:
        return
    group = call.keywords.get("config", COMMANDS[name].options)
    value = group.settings()[option] if isinstance(group, Config) else call.keywords.get(option)
    assert value is None or isinstance(value, int | float)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_within_the_bounds(name: str) -> None:
    recipe = preset(name)
    recipe.check()
    for group in (getattr(recipe, each) for each in field_types(Config)):
        types = field_types(type(group))
        assert all(is_allowed(getattr(group, each), types[each]) for each in types)


@pytest.mark.parametrize("group", groups(), ids=lambda group: type(group).__name__)
def test_every_option_is_documented(group):
    assert field_types(type(group)).keys() <= field_docs(type(group)).keys() | {"method"}
