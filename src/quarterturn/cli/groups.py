"""Groups of settings that a command takes, out of a whole configuration and back."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

from quarterturn.config import Config

Groups = TypeVar("Groups")


def groups_of(config: Config, kind: type[Groups]) -> Groups:
    """Those of a whole configuration that a dataclass of groups has, by their names."""
    return kind(**{f.name: getattr(config, f.name) for f in fields(kind)})  # type: ignore[arg-type]


def whole(groups: Any, **others: Any) -> Config:
    """The whole configuration: these groups, some others, and the rest by default."""
    return Config(**{f.name: getattr(groups, f.name) for f in fields(groups)}, **others)
