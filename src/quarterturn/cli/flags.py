"""From options and groups of settings to the flags of a command, for tyro.

Tyro makes flags of dataclasses. One is made here for each call: fields, types and help are those of
the options, the defaults those of the recipe, and sections of ``--help`` have plain names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, get_origin

import tyro

from quarterturn.cli.commands import Command, Positional
from quarterturn.config.entry_points import BACKBONES_GROUP, names_from
from quarterturn.config.options import COMMON, Flag, field_docs, flag_of
from quarterturn.config.validation import field_types, stripped
from quarterturn.errors import ConfigError
from quarterturn.methods.configuration import Config
from quarterturn.methods.registry import METHODS

SECTIONS = {
    "data": "images",
    "model": "network",
    "method": "method",
    "run": "training",
    "learning_curve": "training",
    "optimizer": "optimizer",
    "machine": "machine",
    "noise_aware": "noise_aware_phase",
    "upright": "folds",
    "imbalance": "long_tail",
    "balance": "long_tail",
}
"""Groups of a configuration to sections of ``--help``: groups of research last."""

_OPTIONAL = {int | None: "INT", float | None: "FLOAT", str | None: "STR"}
"""Tyro would say that ``None`` can be given too; leaving the option out is the way here."""

CONFIG = "config_file"
"""The field of the file that options are taken from."""

POSITIONAL = "positional_"
"""What the names of fields begin with that are known by their place."""


@dataclass(frozen=True)
class Entry:
    """One field of the dataclass that tyro reads.

    Attributes:
        name: Of the field.
        kind: Its type, with metadata.
        default: Its default, or `dataclasses.MISSING`.
        help: What it is.
        section: Of ``--help``; empty for the command's own options.
    """

    name: str
    kind: Any
    default: Any
    help: str
    section: str = ""

    @property
    def annotation(self) -> Any:
        """Its type for tyro."""
        shown = flag_of(self.kind)
        return Annotated[
            self.kind,
            tyro.conf.arg(
                name=shown.name,
                metavar=shown.metavar or _OPTIONAL.get(stripped(self.kind)),
                help=self.help,
                help_behavior_hint="" if self.default is None else None,
            ),
        ]


def entries(
    command: Command,
    config: Config | None,
    *,
    any_method: bool,
    own: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Entry]:
    """All flags of a command.

    Args:
        command: The command.
        config: The values that the settings of a training have unless they are given; None for a
            command that has none.
        any_method: Those of every method, not only of the configuration's.
        own: Values of the command's own options that stand for their defaults.
    """
    docs = field_docs(command.options)
    defaults = {f.name: f.default for f in dataclasses.fields(command.options)} | dict(own)
    for name, kind in _own_first(command.options).items():
        shown = kind if defaults[name] is not None else _or_none(kind)
        yield Entry(name, shown, defaults[name], docs[name])
    yield Entry(
        CONFIG,
        Annotated[Path | None, Flag(name="config", metavar="FILE")],
        None,
        "Take options from a YAML file, as quarterturn config prints one, or from a run's "
        "config.json; those that are given here come first.",
    )
    if config is None or command.training is None:
        return
    yield Entry(
        "resume",
        Annotated[Path | None, Flag(metavar="RUN", common=True)],
        None,
        "Resume this run; it keeps its settings, and others are refused.",
    )
    yield Entry(
        "data",
        Annotated[str | None, Flag(metavar="DATA")],
        None,
        "With --resume: where the run's images are now, if they have moved.",
    )
    of_the_command = {*field_types(command.options), CONFIG, "resume", "data"}
    for group_name in command.options.groups:  # type: ignore[attr-defined]
        group, section = getattr(config, group_name), SECTIONS[group_name]
        if group_name == "method" and command.training.method is None:
            yield Entry(
                "method", Annotated[str, COMMON], group.name, method_help(command), "method"
            )
        groups = [group]
        if group_name == "method" and any_method:
            groups += [options() for options in METHODS.values()]
        seen: set[str] = set()
        for group in groups:
            docs = field_docs(type(group))
            for name, kind in _own_first(type(group)).items():
                if group_name == "method" and name in of_the_command:
                    if group is config.method:
                        raise ConfigError(
                            f"the method {group.name} has an option {name!r}, which is one of this "
                            "command too: its package has to call it something else"
                        )
                elif name not in seen:
                    help = docs[name] + (_backbones_of_packages() if name == "backbone" else "")
                    yield Entry(name, kind, getattr(group, name), help, section)
                seen.add(name)


def method_help(command: Command) -> str:
    """The methods that a command trains, each with its title."""
    _, _, function = command.function.partition(":")
    found = [
        f"{name} ({options.title})"
        for name, options in METHODS.items()
        if options.command == function
    ]
    return f"{', '.join(found)}; each has options of its own."


def _backbones_of_packages() -> str:
    """The backbones that other packages bring, as the end of a help."""
    names = names_from(BACKBONES_GROUP)
    return f" From other packages: {', '.join(names)}." if names else ""


def dataclass_of(
    name: str,
    command: Command,
    config: Config | None,
    *,
    everything: bool = True,
    any_method: bool = False,
    own: Mapping[str, Any] = MappingProxyType({}),
    needs_words: bool = True,
) -> type:
    """The dataclass of which tyro makes a command's flags.

    Args:
        name: Of the command.
        command: The command.
        config: As for `entries`.
        everything: All flags, or only those that most people want.
        any_method: As for `entries`.
        own: As for `entries`.
        needs_words: Whether what has no default has to be there.
    """
    if not needs_words:
        missing = {f.name: None for f in dataclasses.fields(command.options) if is_required(f)}
        own = missing | dict(own)
    every = entries(command, config, any_method=any_method, own=own)
    shown = [entry for entry in every if everything or flag_of(entry.kind).common]
    sections: dict[str, list[Entry]] = {}
    for entry in shown:
        sections.setdefault(entry.section, []).append(entry)
    optional = command.training is not None or not needs_words  # a training may be resumed
    members = [_positional(i, p, optional) for i, p in enumerate(command.positionals)]
    members += [_field(entry) for entry in sections.pop("", [])]
    for section in dict.fromkeys(SECTIONS.values()):
        if section in sections:
            made = make_dataclass(section, map(_field, sections[section]), kw_only=True)
            made.__doc__ = ""
            flattened = Annotated[made, tyro.conf.OmitArgPrefixes]  # type: ignore[valid-type]
            members.append((section, flattened, field(default_factory=made)))
    whole = make_dataclass(name, members, kw_only=True)
    whole.__doc__ = _description(command, everything)
    return whole


def flat(parsed: Any) -> dict[str, Any]:
    """The fields of what tyro has parsed, without sections."""
    found: dict[str, Any] = {}
    for name, value in vars(parsed).items():
        found |= vars(value) if dataclasses.is_dataclass(value) else {name: value}
    return found


def is_required(option: dataclasses.Field[Any]) -> bool:
    """Whether an option has no default."""
    return option.default is option.default_factory is dataclasses.MISSING


def _or_none(kind: Any) -> Any:
    """A type that allows None too, with the same metadata."""
    if get_origin(kind) is not Annotated:
        return kind | None
    return Annotated[kind.__origin__ | None, *kind.__metadata__]


def _description(command: Command, everything: bool) -> str:
    (first, *_) = (command.options.__doc__ or "").split("\n\n")
    more = "" if everything else " The options below are the usual ones; --help-all lists all."
    return first + more


def _own_first(kind: type) -> Mapping[str, Any]:
    """The fields of a dataclass, those of its bases after its own."""
    types = field_types(kind)
    ordered = (name for base in kind.__mro__ for name in vars(base).get("__annotations__", ()))
    return {name: types[name] for name in dict.fromkeys(ordered) if name in types}


def _field(entry: Entry) -> tuple[str, Any, Any]:
    default = entry.default
    return (
        entry.name,
        entry.annotation,
        field() if default is dataclasses.MISSING else field(default=default),
    )


def _positional(number: int, word: Positional, optional: bool) -> tuple[str, Any, Any]:
    kind: Any = tuple[str, ...] if word.several else str
    optional = optional or word.optional
    if optional and word.default is None:
        kind = kind | None
    default = field(default=word.default) if optional else field()
    annotation = tyro.conf.Positional[
        Annotated[
            kind,
            tyro.conf.arg(
                metavar=word.metavar,
                help=word.help,
                help_behavior_hint="" if optional and word.default is None else None,
            ),
        ]
    ]
    return f"{POSITIONAL}{number}", annotation, default
