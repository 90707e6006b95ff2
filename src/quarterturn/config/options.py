"""Dataclasses of options: how the command line shows a field, and how keywords become options.

A command has one such dataclass, and the string below each field is both its ``--help`` and its
entry in the reference. The Python function takes the dataclass, or its fields as keywords.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, TypeVar, get_origin

from quarterturn.config.validation import check_settings, converted, field_types, flag, unknown
from quarterturn.errors import ConfigError

Options = TypeVar("Options")


@dataclass(frozen=True)
class Flag:
    """How the command line shows a field: metadata of its type, beside its bounds.

    Attributes:
        name: Of the flag, without dashes, where it is not the field's.
        metavar: What stands for the value in ``--help``.
        common: Whether ``--help`` shows it; if not, ``--help-all`` does.
    """

    name: str | None = None
    metavar: str | None = None
    common: bool = False


COMMON = Flag(common=True)
"""An option that most people want."""


def flag_of(kind: Any) -> Flag:
    """How a field of this type is shown."""
    metadata = kind.__metadata__ if get_origin(kind) is Annotated else ()
    return next((entry for entry in metadata if isinstance(entry, Flag)), Flag())


def field_docs(kind: type) -> dict[str, str]:
    """What is written below each field of a dataclass, in one line; bases included."""
    found: dict[str, str] = {}
    for base in reversed(inspect.getmro(kind)[:-1]):
        found |= _docs_in(base)
    return found


@cache
def _docs_in(kind: type) -> dict[str, str]:
    """Those of the fields that a class itself declares."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for entry, below in pairwise(body.body):
        match entry, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = " ".join(text.split())
    return found


def take_options(
    kind: type[Options], options: Options | None, fields: Mapping[str, Any]
) -> Options:
    """The options that a command was called with, checked.

    Args:
        kind: The command's dataclass.
        options: One that the caller has made, or None for the defaults.
        fields: Keywords; they come before the values of ``options``.

    Raises:
        ConfigError: As of `take_options_and_settings`.
    """
    return take_options_and_settings(kind, options, fields, ())[0]


def take_options_and_settings(
    kind: type[Options],
    options: Options | None,
    given: Mapping[str, Any],
    settings: Collection[str],
) -> tuple[Options, dict[str, Any]]:
    """What a training was called with: its options, checked, and the settings of its run.

    Args:
        kind: The command's dataclass.
        options: One that the caller has made, or None for the defaults.
        given: Keywords: fields of the dataclass, which come before its own values, and settings.
        settings: Names that are no field of the dataclass, but settings of the run that the command
            makes.

    Returns:
        The options, and the settings that are among the keywords.

    Raises:
        ConfigError: A keyword that is neither, with the closest name there is; a value that cannot
            work; or a field without default that is missing.
    """
    types = field_types(kind)
    for name in given:
        if name not in types and name not in settings:
            raise unknown("option", name, [*types, *settings])
    own = {name: converted(given[name], types[name]) for name in given if name in types}
    if options is None:
        for field in fields(kind):  # type: ignore[arg-type]
            if field.default is MISSING and field.name not in own:
                raise ConfigError(f"{flag(field.name)} is missing: {field_docs(kind)[field.name]}")
        options = kind(**own)
    else:
        options = replace(options, **own)  # type: ignore[type-var]
    check_settings(options)
    return options, {name: value for name, value in given.items() if name not in types}
