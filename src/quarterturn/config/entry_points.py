"""Methods, backbones and presets of other packages, by the entry points that these declare.

A package names them in its ``pyproject.toml``, in the groups ``quarterturn.methods``,
``quarterturn.backbones`` and ``quarterturn.presets``.
"""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Callable, Collection
from functools import cache
from importlib.metadata import EntryPoint
from typing import Any

from quarterturn.errors import ConfigError

METHODS_GROUP = "quarterturn.methods"
BACKBONES_GROUP = "quarterturn.backbones"
PRESETS_GROUP = "quarterturn.presets"


def loaded_from(
    group: str, own: Collection[str], explain: Callable[[str, Any], str | None]
) -> dict[str, Any]:
    """What other packages add to a table, loaded, by name.

    A package that is broken must not keep others from being used: what it adds is left out, with a
    warning that names it.

    Args:
        group: Of entry points.
        own: Names of ours, which nobody can take.
        explain: A name and what was loaded for it to why it cannot be used, or None if it can.
    """
    found: dict[str, Any] = {}
    for entry in _new_entries(group, own):
        try:
            loaded = entry.load()
            reason = explain(entry.name, loaded)
        except Exception as error:  # whatever the other package does wrong
            reason = _words(error)
        if reason is None:
            found[entry.name] = loaded
        else:
            _warn(entry, reason)
    return found


def callables_from(group: str, own: Collection[str]) -> dict[str, Callable[..., Any]]:
    """Functions that other packages add to a table, by name; each is loaded when it is called.

    Args:
        group: Of entry points.
        own: Names of ours, which nobody can take.
    """
    return {entry.name: _Later(entry) for entry in _new_entries(group, own)}


def names_from(group: str) -> list[str]:
    """Names that other packages declare in a group; nothing is loaded."""
    return sorted(_entry_points(group).names)


def packages_of(method: str, backbone: str) -> dict[str, str]:
    """Versions of the other packages that a method and a backbone are from, by package."""
    named = ((METHODS_GROUP, method), (BACKBONES_GROUP, backbone))
    return {
        entry.dist.name: entry.dist.version
        for group, name in named
        for entry in _entry_points(group).select(name=name)
        if entry.dist is not None
    }


class _Later:
    """A function of another package, loaded when it is called.

    Args:
        entry: Where it is.
    """

    def __init__(self, entry: EntryPoint) -> None:
        self.entry = entry

    def __call__(self, *arguments: Any) -> Any:
        """Call it.

        Raises:
            ConfigError: It cannot be loaded.
        """
        try:
            function = self.entry.load()
        except Exception as error:
            raise ConfigError(
                f"{self.entry.name!r} of {_package(self.entry)} cannot be loaded: {_words(error)}"
            ) from error
        return function(*arguments)


@cache
def _entry_points(group: str) -> importlib.metadata.EntryPoints:
    """Those of all packages."""
    return importlib.metadata.entry_points(group=group)


def _new_entries(group: str, own: Collection[str]) -> list[EntryPoint]:
    """Those of a group whose names are free."""
    found: dict[str, EntryPoint] = {}
    for entry in _entry_points(group):
        if entry.name in own or entry.name in found:
            _warn(entry, "the name is taken")
        else:
            found[entry.name] = entry
    return list(found.values())


def _warn(entry: EntryPoint, reason: str) -> None:
    words = f"{entry.name!r} of {_package(entry)} ({entry.group}) is left out: {reason}"
    warnings.warn(words, stacklevel=3)


def _package(entry: EntryPoint) -> str:
    return "a package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
