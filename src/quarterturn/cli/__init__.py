"""The command line: words in, one function of the library called.

One file a command says what it takes. Nothing heavy is imported here, so that ``--help`` answers at
once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Annotated

import tyro

from quarterturn.cli.compare import Compare
from quarterturn.cli.demo import Demo
from quarterturn.cli.embed import Embed
from quarterturn.cli.export import Export
from quarterturn.cli.finetune import ClassifierSettings, Finetune
from quarterturn.cli.groups import groups_of, run_config
from quarterturn.cli.import_ import Import
from quarterturn.cli.neighbors import Neighbors
from quarterturn.cli.orient import Orient
from quarterturn.cli.predict import Predict
from quarterturn.cli.pretrain import PretextConfig, Pretrain
from quarterturn.cli.probe import Probe
from quarterturn.cli.terminal import narrated
from quarterturn.cli.upright import RotNetConfig, Upright
from quarterturn.config import Config
from quarterturn.errors import QuarterturnError
from quarterturn.presets import (
    default_classifier_preset,
    default_preset,
    default_rotnet_preset,
    seen_as_by,
)
from quarterturn.presets import preset as preset_named

Command = (
    Demo
    | Pretrain
    | Upright
    | Orient
    | Finetune
    | Predict
    | Probe
    | Embed
    | Neighbors
    | Compare
    | Export
    | Import
)


DEFAULT_PRESETS = {
    "pretrain": default_preset,
    "upright": default_rotnet_preset,
    "finetune": default_classifier_preset,
}
"""What names a preset by DATA, for each command that takes one."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 2 for an error the user can put right."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        print(f"quarterturn {version('quarterturn')}")
        return 0
    try:
        with narrated():
            parse(words).run()
    except QuarterturnError as error:
        print(f"quarterturn: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read the output, such as head, has enough; what is left goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno is None:  # not from the operating system: a defect of ours
            raise
        print(f"quarterturn: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        resumable = words[:1] in (["pretrain"], ["upright"], ["finetune"])
        hint = f"; {words[0]} --resume RUN goes on" if resumable else ""
        if words[:1] == ["probe"]:
            hint = "; the same command goes on with a training"
        print(f"quarterturn: interrupted{hint}", file=sys.stderr)
        return 130
    return 0


def parse(words: list[str]) -> Command:
    """Words to a command with its options.

    The options of ``pretrain``, ``upright`` and ``finetune`` have the values of the preset, or of
    the run to resume, unless they are given. Which preset depends on DATA, so the words may be read
    twice.
    """
    default = DEFAULT_PRESETS.get(words[0] if words else "")
    name = _option(words, "--preset") if default else None
    run, start = _run_config(words, "--resume"), _run_config(words, "--from")

    def defaults(data: str) -> Config:
        config = preset_named(name or (default or default_preset)(data))
        return seen_as_by(start, config) if start else config

    command = _parse(words, run or defaults(""))
    if isinstance(command, Pretrain | Upright | Finetune) and command.data and not (name or run):
        command = _parse(words, defaults(command.data))
    return command


def _parse(words: list[str], config: Config) -> Command:
    pretrain = Pretrain(settings=groups_of(config, PretextConfig))
    upright = Upright(config=groups_of(config, RotNetConfig))
    finetune = Finetune(settings=groups_of(config, ClassifierSettings))
    return tyro.cli(
        Annotated[Demo, tyro.conf.subcommand("demo")]
        | Annotated[Pretrain, tyro.conf.subcommand("pretrain", default=pretrain)]
        | Annotated[Upright, tyro.conf.subcommand("upright", default=upright)]
        | Annotated[Orient, tyro.conf.subcommand("orient")]
        | Annotated[Finetune, tyro.conf.subcommand("finetune", default=finetune)]
        | Annotated[Predict, tyro.conf.subcommand("predict")]
        | Annotated[Probe, tyro.conf.subcommand("probe")]
        | Annotated[Embed, tyro.conf.subcommand("embed")]
        | Annotated[Neighbors, tyro.conf.subcommand("neighbors")]
        | Annotated[Compare, tyro.conf.subcommand("compare")]
        | Annotated[Export, tyro.conf.subcommand("export")]
        | Annotated[Import, tyro.conf.subcommand("import")],
        prog="quarterturn",
        description="Image representations without labels, learned by the quarter turn.",
        args=words,
    )


def _option(words: list[str], name: str) -> str | None:
    """The value of an option, before the words are parsed."""
    for word, following in zip_longest(words, words[1:], fillvalue=""):
        if word == name:
            return following
        if word.startswith(f"{name}="):
            return word.removeprefix(f"{name}=")
    return None


def _run_config(words: list[str], name: str) -> Config | None:
    """The configuration of the run that an option names; None where there is none to be read."""
    path = _option(words, name)
    return run_config(Path(path)) if path else None
