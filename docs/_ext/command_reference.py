"""``{commands}``: what every command takes, from the command line's own table.

The flags and their help are those that ``--help-all`` shows; a command that is added to the table
needs no line here.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

from quarterturn.cli.commands import COMMANDS, Command
from quarterturn.cli.flags import Entry, entries
from quarterturn.config.options import flag_of
from quarterturn.config.validation import expected, flag, stripped
from quarterturn.methods.registry import METHODS
from quarterturn.presets import preset

METAVARS = {int: "INT", float: "FLOAT", str: "STR"}


class Commands(SphinxDirective):
    """A section for each command, in the order of ``quarterturn --help``."""

    def run(self) -> list[nodes.Node]:
        """The parsed documentation."""
        lines: list[str] = []
        for name, command in COMMANDS.items():
            # Sphinx's options are written in reStructuredText, and this directive in Markdown.
            fence = ["```{eval-rst}", *command_lines(name, command), "```"]
            lines += [f"## {name}", "", *fence, ""]
        section = nodes.section()
        section.document = self.state.document
        nested_parse_with_titles(self.state, StringList(lines, self.env.docname), section)
        return section.children


def command_lines(name: str, command: Command) -> Iterator[str]:
    """What a command does and takes, in reStructuredText."""
    words = " ".join(f"[{p.metavar}]" if p.optional else p.metavar for p in command.positionals)
    yield from ["::", "", f"    quarterturn {name} {words} [options]", ""]
    yield from [
        escaped(" ".join((inspect.getdoc(command.options) or "").split("\n\n")[0].split())),
        "",
    ]
    for positional in command.positionals:
        default = f" Default: {positional.default}." if positional.default else ""
        yield from [f"{escaped(positional.metavar)}", f"   {escaped(positional.help)}{default}", ""]
    yield from [f".. program:: quarterturn {name}", ""]
    if command.training is None:
        sections = {"": list(entries(command, None, any_method=False))}
    else:
        recipe = command.training.default_preset("PHOTOS")
        yield from [
            f"Defaults are those of the preset ``{recipe}``, which a folder of images gets.",
            "",
        ]
        sections = training_sections(name, command, recipe)
    for title, options in sections.items():
        if title:
            yield from [f".. rubric:: {title.replace('_', ' ').capitalize()}", ""]
        for entry in options:
            yield from option_lines(entry)


def training_sections(name: str, command: Command, recipe: str) -> dict[str, list[Entry]]:
    """The options of a command that trains by section, those of its other methods last."""
    config = preset(recipe)
    if command.training is not None and command.training.method is not None:
        config = config.with_settings(method=command.training.method)
    sections: dict[str, list[Entry]] = {}
    for entry in entries(command, config, any_method=False):
        sections.setdefault(entry.section, []).append(entry)
    for method, options in METHODS.items():
        if options.command == name and method != config.method.name:
            found = entries(command, config.with_settings(method=method), any_method=False)
            own = [e for e in found if e.section == "method" and e.name != "method"]
            if own:
                sections[f"method {method}"] = own
    return sections


def option_lines(entry: Entry) -> Iterator[str]:
    """One option with its help, its default and what it may be."""
    name = flag(flag_of(entry.kind).name or entry.name)
    kind = stripped(entry.kind)
    if kind is bool:
        signature = f"{name}, {name.replace('--', '--no-', 1)}"
    else:
        signature = f"{name} {flag_of(entry.kind).metavar or value_words(kind)}"
    yield from [f".. option:: {signature}", ""]
    notes = []
    if entry.default is not None and isinstance(entry.default, bool | int | float | str | tuple):
        notes.append(f"Default: {value_shown(entry.default)}.")
    numbers = expected(entry.kind)
    if kind is not bool and not is_choice(kind) and numbers not in ("a word", "a path", "words"):
        notes.append(f"Allowed: {numbers}.")
    yield from [f"   {escaped(' '.join([entry.help, *notes]))}", ""]


def value_words(kind: Any) -> str:
    """What stands for a value: ``{a,b}``, ``INT``, ``FLOAT FLOAT``."""
    alternatives = [each for each in get_args(kind) or (kind,) if each is not NoneType]
    if get_origin(kind) in (Literal, tuple):
        alternatives = [kind]
    only = stripped(alternatives[0])
    if get_origin(only) is Literal:
        return "{" + ",".join(map(str, get_args(only))) + "}"
    if get_origin(only) is tuple:
        elements = [stripped(each) for each in get_args(only) if each is not ...]
        dots = " ..." if ... in get_args(only) else ""
        return " ".join(value_words(each) for each in elements) + dots
    return METAVARS.get(only, "PATH")


def is_choice(kind: Any) -> bool:
    """Whether a type lists its values."""
    return any(get_origin(each) is Literal for each in [kind, *get_args(kind)])


def value_shown(value: Any) -> str:
    """A default as it is typed."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return (
            " ".join(f"{each:.4g}" if isinstance(each, float) else str(each) for each in value)
            or "none"
        )
    return str(value)


def escaped(text: str) -> str:
    """Plain text in reStructuredText, in which only backquotes and flags are code."""
    parts = re.split(r"(`+[^`]+`+|(?<!\S)--[a-z][a-z-]*)", text)
    return "".join(
        f"``{part.strip('`')}``"
        if part.startswith(("`", "--"))
        else re.sub(r"([\\*_|])", r"\\\1", part)
        for part in parts
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
