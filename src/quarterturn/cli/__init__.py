"""The command line: words in, one function of ``quarterturn.commands`` called.

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
from quarterturn.cli.import_ import Import
from quarterturn.cli.neighbors import Neighbors
from quarterturn.cli.orient import Orient
from quarterturn.cli.pretrain import Pretrain
from quarterturn.cli.probe import Probe
from quarterturn.cli.upright import RotNetConfig, Upright
from quarterturn.config import Config
from quarterturn.errors import QuarterturnError
from quarterturn.presets import default_preset, default_rotnet_preset
from quarterturn.presets import preset as preset_named

Command = Demo | Pretrain | Upright | Orient | Probe | Embed | Neighbors | Compare | Export | Import


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 2 for an error the user can put right."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:
        print(f"quarterturn {version('quarterturn')}")
        return 0
    try:
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
        resumable = words[:1] in (["pretrain"], ["upright"])
        hint = f"; {words[0]} --resume RUN goes on" if resumable else ""
        print(f"quarterturn: interrupted{hint}", file=sys.stderr)
        return 130
    return 0


def parse(words: list[str]) -> Command:
    """Words to a command with its options.

    The options of ``pretrain`` and ``upright`` have the values of the preset, or of the run to
    resume, unless they are given. Which preset depends on DATA, so the words may be read twice.
    """
    name = _option(words, "--preset")
    run = _option(words, "--resume")
    base = Config.read(Path(run) / "config.json") if run and _has_config(run) else None
    presets = {"pretrain": default_preset, "upright": default_rotnet_preset}
    default = presets.get(words[0]) if words else None
    command = _parse(words, base or preset_named(name or (default or default_preset)("")))
    if isinstance(command, Pretrain | Upright) and default and command.data and not (name or run):
        command = _parse(words, preset_named(default(command.data)))
    return command


def _parse(words: list[str], config: Config) -> Command:
    of_folds = RotNetConfig.of(config)
    return tyro.cli(
        Annotated[Demo, tyro.conf.subcommand("demo")]
        | Annotated[Pretrain, tyro.conf.subcommand("pretrain", default=Pretrain(config=config))]
        | Annotated[Upright, tyro.conf.subcommand("upright", default=Upright(config=of_folds))]
        | Annotated[Orient, tyro.conf.subcommand("orient")]
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


def _has_config(run: str) -> bool:
    return (Path(run) / "config.json").is_file()
