"""Groups of settings that a command takes, out of a whole configuration and back."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from quarterturn.config import Config

Groups = TypeVar("Groups")


def groups_of(config: Config, kind: type[Groups]) -> Groups:
    """Those of a whole configuration that a dataclass of groups has, by their names.

    A command may have words of its own for a group: a subclass of it.
    """
    groups = get_type_hints(kind)
    return kind(**{name: group(**vars(getattr(config, name))) for name, group in groups.items()})


def whole(groups: Any, resumed: Path | None = None, **others: Any) -> Config:
    """The whole configuration: these groups, and the rest as a run that is resumed has it.

    Args:
        groups: A dataclass of groups of settings.
        resumed: The run; None to begin a new one, with the rest by default.
        **others: Groups of a new run that are neither among these nor as by default.
    """
    rest = None if resumed is None else run_config(resumed)
    rest = rest or replace(Config(), **others)
    kinds = get_type_hints(Config)
    shown = {f.name: kinds[f.name](**vars(getattr(groups, f.name))) for f in fields(groups)}
    return replace(rest, **shown)


def run_config(path: Path) -> Config | None:
    """The settings of a run, or of the first of several seeds; None where there is no run."""
    files = [path / "config.json", *path.glob("seed-*/config.json")]
    configs = [Config.read(file) for file in files if file.is_file()]
    return min(configs, key=lambda config: config.run.seed, default=None)
