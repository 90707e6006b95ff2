"""How a setting that cannot work is refused."""

from __future__ import annotations

from quarterturn.errors import ConfigError


def require(holds: bool, name: str, found: object, expected: str) -> None:
    """Refuse a setting by its name on the command line, saying what is possible.

    Raises:
        ConfigError: It does not hold.
    """
    if not holds:
        raise ConfigError(f"--{name} is {found}; expected {expected}")
