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

from quarterturn.cli.commands import COMMANDS, SHOW_CONFIG, Command
from quarterturn.cli.config_file import ConfigFile, read_config_file, written
from quarterturn.cli.flags import CONFIG, POSITIONAL, dataclass_of, entries, flat
from quarterturn.config.options import flag_of
from quarterturn.config.time_budget import AUTO, NONE, both_given
from quarterturn.config.validation import field_types, flag, unknown
from quarterturn.errors import ConfigError
from quarterturn.methods.configuration import Config, unknown_setting
from quarterturn.presets import preset, preset_with_start, seen_as_by

RESUMING = ("resume", "data")
"""Options of a training that no file holds."""

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
    if words and words[0] == SHOW_CONFIG and words[1:] and not words[1].startswith("-"):
        if words[1] not in COMMANDS:
            raise unknown("command", words[1], list(COMMANDS))
        return _config_call(words[1], words[2:])
    if not words or words[0] not in COMMANDS:
        return _parse_no_command(words)
    command = COMMANDS[words[0]]
    positionals, parsed, config = _parsed(words[0], words[1:])
    if config is None:
        return Call(command.function, positionals, parsed)
    return _training_call(command, config, positionals, parsed)


def _config_call(name: str, words: list[str]) -> Call:
    """The call that prints what a command would be called with, as a file for ``--config``."""
    command = COMMANDS[name]
    _, parsed, config = _parsed(name, words, needs_words=False)
    if config is not None:
        parsed = {field: value for field, value in parsed.items() if field not in RESUMING}
        config, parsed = _settings(command, config, parsed)
    text = written(name, command, config, parsed)
    return Call("quarterturn.cli.config_file:show_config", (text,))


def _parsed(
    name: str, words: list[str], *, needs_words: bool = True
) -> tuple[tuple[Any, ...], dict[str, Any], Config | None]:
    """Positional words, options and settings by name, and the values of settings before these.

    Args:
        name: Of the command.
        words: What follows it.
        needs_words: As for `quarterturn.cli.flags.dataclass_of`.
    """
    command = COMMANDS[name]
    everything = "--help-all" in words
    words = ["--help" if word == "--help-all" else word for word in words]
    file = ConfigFile()
    if path := _option(words, "--config"):
        file = read_config_file(Path(path), name, command)
    config = None if command.training is None else _defaults(command, words, file)
    if config is not None:
        _check_flags(words, command, config)
        _check_budget(words)
    helps = any(word in ("-h", "--help") for word in words)
    kind = dataclass_of(
        name,
        command,
        config,
        everything=everything or not helps,
        own=file.options,
        needs_words=needs_words,
    )
    # Help is the same whatever else is there: tyro would leave out the words it has read.
    parsed = flat(tyro.cli(kind, prog=f"quarterturn {name}", args=["--help"] if helps else words))
    del parsed[CONFIG]
    positionals = tuple(parsed.pop(f"{POSITIONAL}{i}") for i in range(len(command.positionals)))
    if config is not None and "budget" in parsed:
        parsed["budget"] = _budget(words, file.words(command), parsed["budget"])
    return positionals, parsed, config


def _check_budget(words: list[str]) -> None:
    """Refuse a time beside a number of epochs: later, one from the recipe looks like one given."""
    budget, epochs = _option(words, "--budget"), _option(words, "--epochs")
    if budget not in (None, NONE) and epochs is not None:
        raise both_given(str(budget), epochs)


def _budget(words: list[str], of_file: list[str], budget: str | None) -> str | None:
    """The time that a training may take: what is asked for last, or the default where nothing is.

    Args:
        words: Of the command line.
        of_file: Of the file of ``--config``.
        budget: As it was parsed, the file's included.
    """
    if _option(words, "--epochs") is not None and _option(words, "--budget") is None:
        return None
    options = ("--budget", "--epochs", "--preset", "--resume")
    said = any(_option([*of_file, *words], name) is not None for name in options)
    return budget if said else AUTO


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
    config, own = _settings(command, config, parsed)
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


def _settings(
    command: Command, config: Config, parsed: dict[str, Any]
) -> tuple[Config, dict[str, Any]]:
    """A configuration with the settings that were given, and the command's own options."""
    own = {field.name: parsed[field.name] for field in fields(command.options)}
    settings = {name: value for name, value in parsed.items() if name not in own}
    settings.pop("method", None)  # `config` has its options already
    return config.with_settings(**settings), own


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


def _defaults(command: Command, given: list[str], file: ConfigFile) -> Config:
    """The values that settings have unless they are given, with the options of the method.

    They are those of the run that is resumed, or of the preset, and after it of the file of
    ``--config``; with ``--from``, images are shown as those weights saw them.
    """
    training = command.training
    assert training is not None
    if _option(given, "--resume") is not None and file.path is not None:
        raise ConfigError("--resume RUN takes its settings from the run: leave --config out")
    if run := _run_config(given, "--resume"):
        method = _option(given, "--method")
        return run.with_settings(method=method) if method else run  # another one is refused later
    words = [*file.words(command), *given]
    method = _option(words, "--method")
    start, name = _start_config(words), _option(words, "--preset")
    if name is None and training.method is None:
        name = preset_with_start(method, start)
    elif name is None and start is not None and training.preset_with_start is not None:
        name = training.preset_with_start(start)
    config = preset(name or training.default_preset(_data(command, given) or ""))
    if start is not None:
        config = seen_as_by(start, config)
    if file.path is not None:
        config = file.applied(command, config)
        given_preset = _option(given, "--preset")
        if given_preset not in (None, file.options.get("preset")) and file.has_all(command, config):
            raise ConfigError(
                f"{file.path} has every setting, so --preset {given_preset} would change none: "
                "leave one of them out"
            )
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
    """The value of an option where it is given last, before the words are parsed."""
    found = None
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        if word == name:
            found = following
        elif word.startswith(f"{name}="):
            found = word.removeprefix(f"{name}=")
    return found


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
