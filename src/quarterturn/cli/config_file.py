"""Options of a command from a YAML file, and such a file from the options of a command.

A file holds the groups of settings of a run's ``config.json``, by the same names, and under
``options`` what the command takes besides; any of it may be left out. A ``config.json`` is read
too, since JSON is YAML.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from quarterturn.cli.commands import Command
from quarterturn.cli.flags import is_required
from quarterturn.config.options import field_docs, flag_of
from quarterturn.config.validation import (
    converted,
    field_types,
    is_allowed,
    unknown,
    why_refused,
)
from quarterturn.errors import ConfigError
from quarterturn.methods.configuration import FORMAT, Config

WIDTH = 100
"""Of a line of a file that is written, in characters."""
DOCUMENT_END = "\n..."
"""What YAML ends a value with that stands by itself."""
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)\Z")
"""Numbers that YAML 1.2 knows and 1.1, which PyYAML reads, takes for words: 1e-3."""


@dataclass(frozen=True)
class ConfigFile:
    """What a file says, for one command.

    Attributes:
        path: Of the file; None for no file.
        options: The command's own options, by the names of their fields.
        groups: Groups of settings.
        format: Of the settings; see `quarterturn.methods.configuration.FORMAT`.
    """

    path: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def words(self, command: Command) -> list[str]:
        """Those of its options as words which decide what other flags there are."""
        kinds = field_types(command.options)
        found = {
            flag_of(kinds[name]).name or name: value
            for name, value in self.options.items()
            if value is not None and value is not False
        }
        method = self.groups.get("method") or {}
        found |= {"method": method["name"]} if method.get("name") else {}
        epochs = (self.groups.get("run") or {}).get("epochs")
        found |= {"epochs": epochs} if epochs is not None else {}
        return [
            f"--{name}" if value is True else f"--{name}={value}" for name, value in found.items()
        ]

    def has_all(self, command: Command, config: Config) -> bool:
        """Whether it leaves no setting of a command to a preset.

        Args:
            command: The command.
            config: What `applied` has found.
        """
        values = config.to_dict()
        groups: tuple[str, ...] = command.options.groups  # type: ignore[attr-defined]
        return all(set(values[name]) <= set(self.groups.get(name, ())) for name in groups)

    def applied(self, command: Command, config: Config) -> Config:
        """A configuration with the file's settings in place of its own.

        Raises:
            ConfigError: A setting that is none, or that the command does not take.
        """
        assert command.training is not None
        try:
            changed = config.with_groups(self.groups, self.format)
            changed.check_values()
        except ConfigError as error:
            raise ConfigError(f"{self.path}: {error}") from error
        taken: tuple[str, ...] = command.options.groups  # type: ignore[attr-defined]
        for name in self.groups:
            if name not in taken and getattr(changed, name) != getattr(config, name):
                raise ConfigError(
                    f"{self.path} has settings of {name}, which this command does not take; "
                    f"expected {', '.join(taken)}"
                )
        method = command.training.method
        if method is not None and "method" in self.groups and changed.method.name != method:
            raise ConfigError(
                f"{self.path} is of the method {changed.method.name}, and this command trains "
                f"{method}"
            )
        return changed


def read_config_file(path: Path, name: str, command: Command) -> ConfigFile:
    """Read what a file says for a command.

    Args:
        path: A file that `written` has made, or a part of one; or a run's ``config.json``.
        name: Of the command.
        command: The command.

    Raises:
        ConfigError: The file is not there, no YAML, or of another command; an option that the
            command does not have.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found = yaml.load(text, Loader=_Loader)
    except FileNotFoundError as error:
        raise ConfigError(f"--config is {path}; no such file") from error
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    found = {} if found is None else found
    if not isinstance(found, dict):
        raise ConfigError(f"{path} holds {type(found).__name__}; expected names with values")
    if isinstance(found.get("config"), dict):  # a run's config.json
        return _checked(ConfigFile(path, {}, found["config"], found.get("format", 1)), command)
    of_command = found.pop("command", name)
    if of_command != name:
        raise ConfigError(f"{path} is for quarterturn {of_command}, not {name}")
    options = found.pop("options", None) or {}
    format = found.pop("format", FORMAT)
    kinds = field_types(command.options)
    named = {
        (flag_of(kind).name or field).replace("-", "_"): field for field, kind in kinds.items()
    }
    if not isinstance(options, dict):
        raise ConfigError(f"{path}: options is {options!r}; expected names with values")
    for option in options:
        if option not in named:
            raise ConfigError(f"{path}: {unknown('option', str(option), list(named))}")
    required = {field.name for field in fields(command.options) if is_required(field)}
    own = {
        named[option]: converted(value, kinds[named[option]])
        for option, value in options.items()
        if value is not None or named[option] not in required
    }
    for option, value in own.items():
        if not is_allowed(value, kinds[option]):
            name = _name(option, kinds[option])
            raise ConfigError(f"{path}: {why_refused(name, value, kinds[option])}")
    return _checked(ConfigFile(path, own, found, format), command)


def _checked(file: ConfigFile, command: Command) -> ConfigFile:
    """Refuse groups of settings that are none, or that are for a command without any."""
    for name, settings in file.groups.items():
        if command.training is None:
            raise ConfigError(
                f"{file.path} has {name!r}; this command trains nothing, so expected only options"
            )
        if not isinstance(settings, Mapping):
            raise ConfigError(f"{file.path}: {name} is {settings!r}; expected names with values")
    return file


def written(name: str, command: Command, config: Config | None, own: Mapping[str, Any]) -> str:
    """A file of all options of a command with their values, each below what it is.

    Args:
        name: Of the command.
        command: The command.
        config: The settings of a command that trains.
        own: Its own options, by the names of their fields.
    """
    lines = [f"command: {name}"]
    kinds = field_types(command.options)
    docs = field_docs(command.options)
    lines += ["", "options:" if own else "options: {}"]
    for field_name, kind in kinds.items():
        if field_name in own:
            lines += _entry(_name(field_name, kind), own[field_name], docs[field_name])
    if config is not None:
        lines.append(f"\nformat: {FORMAT}")
        for group_name in command.options.groups:  # type: ignore[attr-defined]
            group, values = getattr(config, group_name), config.to_dict()[group_name]
            docs = field_docs(type(group))
            lines += ["", f"{group_name}:"]
            for setting, value in values.items():
                lines += _entry(setting, value, docs.get(setting, "Of the method."))
    return "\n".join(lines) + "\n"


def _name(field: str, kind: Any) -> str:
    """An option's name in a file: that of its flag."""
    return (flag_of(kind).name or field).replace("-", "_")


def show_config(text: str) -> None:
    """Print a file of settings."""
    print(text, end="")


def _entry(name: str, value: Any, about: str) -> Iterator[str]:
    yield from textwrap.wrap(about, WIDTH, initial_indent="  # ", subsequent_indent="  # ")
    shown = yaml.safe_dump(_plain(value), default_flow_style=True, width=10**6)
    yield f"  {name}: {shown.partition(DOCUMENT_END)[0].strip()}"


def _plain(value: Any) -> Any:
    """Without what YAML has no word for."""
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    return value


class _Loader(yaml.SafeLoader):
    """A safe loader that knows numbers as people write them; names are words, and none is twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen = set[str]()
        for key, _ in node.value:
            reason = None
            if key.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"):
                reason = "names are words"
            elif key.value in seen:
                reason = f"{key.value!r} is there twice"
            if reason is not None:
                raise yaml.constructor.ConstructorError(None, None, reason, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", NUMBER, list("-+.0123456789"))
