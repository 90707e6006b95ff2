"""The one check of values: a setting's type says what it may be, and a message says so by its flag.

A dataclass of settings annotates its fields (`quarterturn.config.bounds`); rules that involve
several of them are in its own ``check``.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Collection
from dataclasses import fields
from difflib import get_close_matches
from functools import reduce
from operator import or_
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from quarterturn.config.bounds import LARGEST, Bounds
from quarterturn.errors import ConfigError


def check_settings(settings: Any) -> None:
    """Refuse a dataclass one of whose fields holds what its type does not allow.

    From Python any value can come, and a misspelt word would pass for whatever is not asked about.

    Args:
        settings: A dataclass, such as `quarterturn.config.RunConfig`. Its ``check`` method, where
            it has one, is called last, so it can rely on each value being possible on its own.

    Raises:
        ConfigError: ``--learning-rate is -1; expected a positive number``.
    """
    for name, kind in field_types(type(settings)).items():
        value = getattr(settings, name)
        if not is_allowed(value, kind):
            raise ConfigError(why_refused(name, value, kind))
    if hasattr(settings, "check"):
        settings.check()


def require(holds: bool, name: str, found: object, expected: str) -> None:
    """Refuse a setting by its name on the command line, saying what is possible.

    Raises:
        ConfigError: It does not hold.
    """
    if not holds:
        raise ConfigError(f"{flag(name)} is {found}; expected {expected}")


def why_refused(name: str, value: object, kind: Any) -> str:
    """Why a setting cannot have a value that its type does not allow, and what it can have.

    Args:
        name: Of the setting.
        value: The value.
        kind: The type, perhaps ``Annotated``.
    """
    words, shown = expected(kind), value
    kinds = [_parts(each)[0] for each in _alternatives(_parts(kind)[0])]
    if isinstance(value, (int, float)) and LARGEST < abs(value) < math.inf:
        bounded = any(word in words for word in (" to ", "below ", "or less"))
        words += "" if bounded else f", at most {LARGEST:,}"
    elif isinstance(value, str) and all(each in (int, float, bool, NoneType) for each in kinds):
        shown = repr(value)  # the word '3' would pass for the number
    elif isinstance(value, float) and int in kinds and "whole number" not in words:
        words = f"a whole number, {words}"
    return f"{flag(name)} is {shown}; expected {words}"


def flag(name: str) -> str:
    """A setting's name on the command line: ``--batch-size`` of ``batch_size``."""
    return "--" + name.replace("_", "-")


def unknown(what: str, name: str, known: Collection[str], hint: str = "") -> ConfigError:
    """The error for a name that nobody knows, with the closest that somebody does.

    Args:
        what: What the name should have been: ``setting``, ``preset``.
        name: As it was given.
        known: All names there are; they are listed where none is close.
        hint: Another sentence for the message.
    """
    close = get_close_matches(name, known, n=1)
    advice = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
    return ConfigError(f"unknown {what} {name!r}; {advice}" + (f" {hint}" if hint else ""))


def field_types(kind: Any) -> dict[str, Any]:
    """The fields of a dataclass with their types, `Bounds` and other metadata included."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def converted(value: Any, kind: Any) -> Any:
    """A value in the form that its type asks for, where that takes no guess.

    JSON knows no tuples, NumPy has numbers of its own, and a path may be given as words, or DATA
    as a path. What fits nowhere is returned as it is, for `check_settings` to refuse.
    """
    kind, _ = _parts(kind)
    options = [option for option in _alternatives(kind) if option is not NoneType]
    if value is None or len(options) != 1:
        return value
    kind, _ = _parts(options[0])
    if get_origin(kind) is tuple and isinstance(value, (list, tuple)):
        elements = _elements(kind, value)
        fits = len(elements) == len(value)
        return tuple(map(converted, value, elements)) if fits else tuple(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is str and isinstance(value, Path):
        return str(value)  # DATA may be a path
    if kind is int and isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    if kind is float and isinstance(value, numbers.Real) and not isinstance(value, bool):
        return float(value)
    return value


def is_allowed(value: Any, kind: Any, outer: Bounds | None = None) -> bool:
    """Whether a value is of a type, and within its bounds.

    Args:
        value: Any value.
        kind: A type, perhaps ``Annotated``.
        outer: Bounds of a union that the type is a part of.
    """
    kind, bounds = _parts(kind)
    bounds = bounds or outer
    alternatives = _alternatives(kind)
    if len(alternatives) > 1:
        return any(is_allowed(value, alternative, bounds) for alternative in alternatives)
    origin = get_origin(kind)
    if kind is Any:
        return True
    if origin is Literal:
        return any(value == word and type(value) is type(word) for word in get_args(kind))
    if origin is tuple:
        return (
            isinstance(value, tuple)
            and len(value) == len(elements := _elements(kind, value))
            and all(map(is_allowed, value, elements))
        )
    if kind in (int, float):
        if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
            return False
        return (bounds or Bounds()).contain(value)
    return isinstance(value, kind)


def expected(kind: Any) -> str:
    """What a type allows, in words."""
    kind, bounds = _parts(kind)
    alternatives = [each for each in _alternatives(kind) if each is not NoneType]
    if len(alternatives) > 1:
        return " or ".join(map(expected, alternatives))
    kind, inner = _parts(alternatives[0])
    bounds = bounds or inner
    if get_origin(kind) is Literal:
        *others, last = map(str, get_args(kind))
        return f"{', '.join(others)} or {last}" if others else last
    if get_origin(kind) is tuple:
        elements = [each for each in get_args(kind) if each is not ...]
        element, inner = _parts(elements[0])
        number = "" if ... in get_args(kind) else f"{len(elements)} "
        is_word = get_origin(element) is Literal
        noun = f"words out of {expected(element)}" if is_word else _PLURALS.get(element, "values")
        return f"{number}{noun}" + (f", each {inner}" if inner else "")
    if bounds is not None:
        return "a positive number" if str(bounds) == "positive" else str(bounds)
    return _NOUNS.get(kind, getattr(kind, "__name__", str(kind)))


_NOUNS = {
    int: "a whole number",
    float: "a finite number",
    str: "a word",
    bool: "true or false",
    Path: "a path",
}
_PLURALS = {int: "whole numbers", float: "numbers", str: "words"}


def _parts(kind: Any) -> tuple[Any, Bounds | None]:
    """A type without its metadata, and its bounds."""
    bounds = None
    while get_origin(kind) is Annotated:
        bounds = next((m for m in kind.__metadata__ if isinstance(m, Bounds)), bounds)
        kind = kind.__origin__
    return kind, bounds


def stripped(kind: Any) -> Any:
    """A type without the metadata of itself and of its alternatives: ``int | None``."""
    alternatives = [_parts(each)[0] for each in _alternatives(_parts(kind)[0])]
    return reduce(or_, alternatives)


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _elements(kind: Any, value: Collection[Any]) -> tuple[Any, ...]:
    """The type of each place of a tuple."""
    elements = get_args(kind)
    return elements[:1] * len(value) if elements[1:] == (...,) else elements
