"""How a setting that cannot work is refused."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin, get_type_hints

from quarterturn.errors import ConfigError


def require(holds: bool, name: str, found: object, expected: str) -> None:
    """Refuse a setting by its name on the command line, saying what is possible.

    Raises:
        ConfigError: It does not hold.
    """
    if not holds:
        raise ConfigError(f"--{name} is {found}; expected {expected}")


def require_choices(settings: Any) -> None:
    """Refuse a group's settings that are none of the values their types list.

    The command line knows no others; from Python any word can come, and a misspelt one would pass
    for whatever is not asked about.

    Args:
        settings: A dataclass, such as `quarterturn.config.RunConfig`.

    Raises:
        ConfigError: As of `require`.
    """
    for name, kind in get_type_hints(type(settings)).items():
        if get_origin(kind) is Literal:
            found, choices = getattr(settings, name), get_args(kind)
            *others, last = map(str, choices)
            require(
                found in choices, name.replace("_", "-"), found, f"{', '.join(others)} or {last}"
            )
