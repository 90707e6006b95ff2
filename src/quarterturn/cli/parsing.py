"""From words to one call of a function.

The flags of a training depend on its words: the recipe that gives the defaults, on ``--preset`` or
else on DATA, and the method's own flags, on ``--method``. So these are looked for first.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import reduce
from importlib import import_module
from itertools import zip_longest
from operator import or_
from pathlib import Path
from typing import Annotated, Any

import tyro

from quarterturn.cli.commands import COMMANDS, Command
from quarterturn.cli.flags import POSITIONAL, dataclass_of, entries, flat
from quarterturn.config.options import flag_of
from quarterturn.config.time_budget import AUTO, NONE, both_given
from quarterturn.config.validation import field_types, flag
from quarterturn.errors import ConfigError
from quarterturn.methods.configuration import Config, unknown_setting
from quarterturn.presets import preset, preset_with_start, seen_as_by

DESCRIPTION = "Image representations without labels, learned by the quarter turn."


@dataclass(frozen=True)
class Call:
    """A function, and what it is called with.

    Attributes:
        function: As ``module:name``.
        arguments: By position.
        keywords: By name.
    """

    function: str
    arguments: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)

    def run(self) -> None:
        """Load the module and call the function."""
        module, _, name = self.function.partition(":")
        getattr(import_module(module), name)(*self.arguments, **self.keywords)


def parse(words: list[str]) -> Call:
    """Words to a call.

    Raises:
        ConfigError: Words that do not go together, or a preset, method or run that is not there.
        SystemExit: Help was asked for, or words are none that the command knows.
    """
    if not words or words[0] not in COMMANDS:
        return _parse_no_command(words)
    name, rest = words[0], words[1:]
    command = COMMANDS[name]
    everything = "--help-all" in rest
    rest = ["--help" if word == "--help-all" else word for word in rest]
    config = None if command.training is None else _defaults(command, rest)
    if config is not None:
        _check_flags(rest, command, config)
        _check_budget(rest)
    helps = any(word in ("-h", "--help") for word in rest)
    kind = dataclass_of(name, command, config, everything=everything or not helps)
    # Help is the same whatever else is there: tyro would leave out the words it has read.
    parsed = flat(tyro.cli(kind, prog=f"quarterturn {name}", args=["--help"] if helps else rest))
    positionals = tuple(parsed.pop(f"{POSITIONAL}{i}") for i in range(len(command.positionals)))
    if config is None:
        return Call(command.function, positionals, parsed)
    if "budget" in parsed and not _is_length_said(rest):
        parsed["budget"] = AUTO
    return _training_call(command, config, positionals, parsed)


def _check_budget(words: list[str]) -> None:
    """Refuse a time beside a number of epochs: later, one from the recipe looks like one given."""
    budget, epochs = _option(words, "--budget"), _option(words, "--epochs")
    if budget not in (None, NONE) and epochs is not None:
        raise both_given(str(budget), epochs)


def _is_length_said(words: list[str]) -> bool:
    """Whether the words say how long a training is, or leave no room to say it."""
    options = ("--budget", "--epochs", "--preset", "--resume")
    return any(_option(words, name) is not None for name in options)


def _training_call(
    command: Command, config: Config, positionals: tuple[Any, ...], parsed: dict[str, Any]
) -> Call:
    """The call of a training, or of the function that resumes one.

    Args:
        command: The command.
        config: The values of the settings before those that were given.
        positionals: DATA, or None.
        parsed: Options and settings by name.
    """
    assert command.training is not None
    resumed, moved = parsed.pop("resume"), parsed.pop("data")
    own = {field.name: parsed.pop(field.name) for field in fields(command.options)}
    parsed.pop("method", None)  # `config` has its options already
    config = config.with_settings(**parsed)
    if resumed is not None:
        _check_resume(command, positionals[0], own)
        passed_on = {name: own[name] for name in command.training.resume_options}
        keywords = {"config": config, "data": moved, **passed_on}
        return Call(command.training.resume, (resumed,), keywords)
    if moved is not None:
        raise ConfigError(
            "--data says where the images of a run are that is resumed, and there is no --resume: "
            "give DATA without --data"
        )
    if positionals[0] is None:
        expected = command.positionals[0].help.rstrip(".")
        raise ConfigError(f"expected DATA: {expected[0].lower()}{expected[1:]}")
    del own["preset"]  # likewise
    return Call(command.function, positionals, {"config": config, **own})


def _check_resume(command: Command, data: str | None, own: dict[str, Any]) -> None:
    """Refuse what a run that is resumed has already.

    Raises:
        ConfigError: DATA or options of the command are given.
    """
    assert command.training is not None
    kinds = field_types(command.options)
    defaults = {field.name: field.default for field in fields(command.options)}
    given = ["DATA"] if data is not None else []
    given += [
        flag(flag_of(kinds[name]).name or name)
        for name, value in own.items()
        if value != defaults[name] and name not in command.training.resume_options
    ]
    if given:
        raise ConfigError(
            f"--resume RUN takes {', '.join(given)} from the run: leave "
            f"{'it' if len(given) == 1 else 'them'} out"
            + ("; if the images have moved, give --data DATA" if data is not None else "")
        )


def _defaults(command: Command, words: list[str]) -> Config:
    """The values that settings have unless they are given, with the options of the method.

    They are those of the run that is resumed, or of the preset; with ``--from``, images are shown
    as those weights saw them.
    """
    training = command.training
    assert training is not None
    method = _option(words, "--method")
    if run := _run_config(words, "--resume"):
        return run.with_settings(method=method) if method else run  # another one is refused later
    start, name = _start_config(words), _option(words, "--preset")
    if name is None and training.method is None:
        name = preset_with_start(method, start)
    elif name is None and start is not None:
        name = training.preset_with_start
    config = preset(name or training.default_preset(_data(command, words) or ""))
    if start is not None:
        config = seen_as_by(start, config)
    method = training.method or method
    return config.with_settings(method=method) if method else config


def _data(command: Command, words: list[str]) -> str | None:
    """DATA among the words: what is left when the flags of every method are taken with values."""
    kind = dataclass_of("command", command, Config(), any_method=True)
    parsed: Any
    parsed, _ = tyro.cli(kind, args=words, add_help=False, return_unknown_args=True)
    data: str | None = getattr(parsed, f"{POSITIONAL}0")
    return data


def _check_flags(words: list[str], command: Command, config: Config) -> None:
    """Refuse a flag that only other methods have, naming them.

    Raises:
        ConfigError: There is one.
    """
    taken = {entry.name for entry in entries(command, config, any_method=False)}
    foreign = {entry.name for entry in entries(command, config, any_method=True)} - taken
    for word in words:
        name = word.removeprefix("--").partition("=")[0].replace("-", "_")
        if word.startswith("--") and (name := name.removeprefix("no_")) in foreign:
            raise unknown_setting(name, config.method)


def _parse_no_command(words: list[str]) -> Call:
    """``--help``, a script for completion, or no command's name: tyro answers, and exits."""
    completes = bool(words) and words[0].startswith("--tyro-")
    kinds: Any = []
    for name, command in COMMANDS.items():
        kind = command.options  # of whose flags the list of commands shows nothing
        if completes:
            config = Config() if command.training else None
            kind = dataclass_of(name, command, config, any_method=True)
        about = (command.options.__doc__ or "").partition("\n")[0]
        kinds.append(Annotated[kind, tyro.conf.subcommand(name, description=about)])
    union: Any = reduce(or_, kinds)
    tyro.cli(union, prog="quarterturn", description=DESCRIPTION, args=words)
    raise SystemExit(2)


def _option(words: list[str], name: str) -> str | None:
    """The value of an option, before the words are parsed."""
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        if word == name:
            return following
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return None


def _start_config(words: list[str]) -> Config | None:
    """The configuration of the weights that a training is to begin with.

    None from scratch, and where there are no such weights: the command itself says so.
    """
    if (run := _run_config(words, "--from")) is not None:
        return run
    backbone = _option(words, "--backbone")
    start = _option(words, "--from") or ("--pretrained" in words and backbone)
    if not start or not (start.startswith("timm:") or Path(start).is_file()):
        return None
    # Only here: to read them takes torch.
    found: Config = import_module("quarterturn.weights.start").start_config(start, backbone)
    return found


def _run_config(words: list[str], name: str) -> Config | None:
    """The configuration of the run that an option names, or of the first of its seeds.

    None where there is none to be read: the command itself says so.
    """
    if not (words_of_path := _option(words, name)):
        return None
    path = Path(words_of_path)
    files = [path / "config.json", *path.glob("seed-*[0-9]/config.json")]
    configs = [Config.read(file) for file in files if file.is_file()]
    return min(configs, key=lambda config: config.run.seed, default=None)
