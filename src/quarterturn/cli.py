"""The command line: words in, one function of ``quarterturn.commands`` called.

Nothing heavy is imported here, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Literal

import tyro

from quarterturn.config import Config
from quarterturn.errors import QuarterturnError
from quarterturn.presets import default_preset
from quarterturn.presets import preset as preset_named

DATA_WORDS = (
    "A folder of images, a .csv manifest, a .npz file, cifar10:ROOT, cifar100:ROOT, or digits"
)

Data = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="DATA")]
MaybeData = Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="DATA")]
RunDirectory = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
MaybeRun = Annotated[Path | None, tyro.conf.arg(metavar="RUN")]


@dataclass(frozen=True)
class Demo:
    """Train every method on digits, or on your own folder, and lay the figures side by side."""

    data: Annotated[Data, tyro.conf.arg(metavar="DATA", help=f"{DATA_WORDS}.")] = "digits"
    out: MaybeRun = None
    """Run directory; runs/<data>-demo-<n> by default."""
    limit: int | None = None
    """Images to use; 1,000 photos by default."""
    seed: int = 0
    """Weights, order, crops and noise follow from it."""
    overwrite: bool = False
    """Delete an earlier run at --out."""

    def run(self) -> None:
        """Call the command."""
        from quarterturn.commands.demo import demo

        demo(
            self.data,
            out=self.out, limit=self.limit, seed=self.seed, overwrite=self.overwrite,
        )  # fmt: skip


@dataclass(frozen=True)
class Pretrain:
    """Learn a representation from unlabelled images: DATA, or --resume RUN."""

    data: Annotated[MaybeData, tyro.conf.arg(metavar="DATA", help=f"{DATA_WORDS}.")] = None
    out: MaybeRun = None
    """Run directory; runs/<data>-<n> by default."""
    preset: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """digits, folder, imagenet-alexnet, cifar10-nin, cifar10-resnet18 or cifar10-lt-resnet18; the
    defaults shown here are the preset's."""
    resume: MaybeRun = None
    """Go on with this run; other settings than the run's are refused."""
    overwrite: bool = False
    """Delete an earlier run at --out."""
    config: tyro.conf.OmitArgPrefixes[Config] = field(default_factory=Config)

    def run(self) -> None:
        """Call the command."""
        from quarterturn.commands.pretrain import pretrain, resume
        from quarterturn.errors import ConfigError

        if self.resume is not None:
            if self.data is not None or self.out is not None or self.preset is not None:
                raise ConfigError("--resume RUN takes DATA, --out and --preset from the run")
            resume(self.resume, config=self.config)
        elif self.data is None:
            raise ConfigError(f"expected DATA: {DATA_WORDS[0].lower()}{DATA_WORDS[1:]}")
        else:
            pretrain(self.data, out=self.out, config=self.config, overwrite=self.overwrite)


@dataclass(frozen=True)
class Probe:
    """Read labels off a run's frozen features by simple classifiers, upright and turned."""

    run_directory: RunDirectory
    """The run."""
    data: Data
    """Labelled images: sub-folders are the labels, or they come with the data."""
    test: str | None = None
    """Other data to test on; by default a split of DATA, or a stratified 20 %."""
    kind: Literal["all", "knn", "linear"] = "all"
    """Which classifiers."""
    layers: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="NAME ...")] = None
    """Layers of the backbone by name, or all; by default the last, by its halves."""
    grid: int = 1
    """Maps are averaged over a grid of so many squares a side."""
    limit: int | None = None
    """Use at most this many images of each part."""
    seed: int = 0
    """First seed, of turns and held-out parts."""
    seeds: int = 3
    """How many seeds; mean and spread are over them."""
    many: int = 100
    """Classes with more training images than this are counted as many."""
    few: int = 20
    """Classes with fewer training images than this are counted as few."""
    device: str = "auto"
    """auto, cpu, cuda ..."""
    workers: int = 2
    """Processes that decode files."""
    download: bool = False
    """Fetch a named data set that is not there; nothing is downloaded without it."""

    def run(self) -> None:
        """Call the command."""
        from quarterturn.commands.probe import probe

        probe(
            self.run_directory, self.data,
            test=self.test, kind=self.kind, layers=self.layers, grid=self.grid, limit=self.limit,
            seed=self.seed, seeds=self.seeds, many=self.many, few=self.few,
            device=self.device, workers=self.workers, download=self.download,
        )  # fmt: skip


@dataclass(frozen=True)
class Compare:
    """Lay runs side by side by their probes; runs that differ only in seed as mean and spread."""

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN ...")]
    """Runs that have been probed."""
    measure: Literal["top1", "balanced", "worst_class", "many", "medium", "few"] = "top1"
    """What the tables show; the file holds all."""
    mixed: bool = False
    """Show a table for each protocol of any run, instead of those that all runs share."""
    out: Path | None = None
    """A .json file for the figures; comparison-<n>.json beside the first run by default."""
    overwrite: bool = False
    """Replace an existing file."""

    def run(self) -> None:
        """Call the command."""
        from quarterturn.commands.compare import compare

        compare(
            self.runs,
            measure=self.measure, mixed=self.mixed, out=self.out, overwrite=self.overwrite,
        )  # fmt: skip


@dataclass(frozen=True)
class Embed:
    """Write the features of every image to a file."""

    run_directory: RunDirectory
    """The run."""
    out: Path
    """A file ending in .npz or .csv."""
    data: MaybeData = None
    """Images; by default all of the run's DATA."""
    half: Literal["invariant", "rotation", "both"] | None = None
    """Part of the features; the invariant half by default."""
    layer: str | None = None
    """A named layer in place of the last; maps are averaged over their area."""
    overwrite: bool = False
    """Replace an existing file."""
    device: str = "auto"
    """auto, cpu, cuda ..."""
    workers: int = 2
    """Processes that decode files."""

    def run(self) -> None:
        """Call the command."""
        from quarterturn.commands.embed import embed

        embed(
            self.run_directory, self.data,
            out=self.out, half=self.half, layer=self.layer, overwrite=self.overwrite,
            device=self.device, workers=self.workers,
        )  # fmt: skip


@dataclass(frozen=True)
class Neighbors:
    """Find the images of a collection that are most like one image."""

    run_directory: RunDirectory
    """The run."""
    image: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="IMAGE")]
    """An image file, or the name of an image in the collection."""
    data: str | None = None
    """The collection to search; by default all of the run's DATA."""
    k: int = 10
    """How many neighbours."""
    half: Literal["invariant", "rotation", "both"] | None = None
    """Part of the features; the invariant half by default."""
    layer: str | None = None
    """A named layer in place of the last; maps are averaged over their area."""
    out: Path | None = None
    """A contact sheet ending in .png; RUN/figures/neighbors-<image>.png by default."""
    overwrite: bool = False
    """Replace existing files at --out."""
    device: str = "auto"
    """auto, cpu, cuda ..."""
    workers: int = 2
    """Processes that decode files."""

    def run(self) -> None:
        """Call the command."""
        from quarterturn.commands.neighbors import neighbors

        neighbors(
            self.run_directory, self.image,
            data=self.data, k=self.k, half=self.half, layer=self.layer,
            out=self.out, overwrite=self.overwrite, device=self.device, workers=self.workers,
        )  # fmt: skip


Command = Demo | Pretrain | Probe | Embed | Neighbors | Compare


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
        hint = "; pretrain --resume RUN goes on" if "pretrain" in words[:1] else ""
        print(f"quarterturn: interrupted{hint}", file=sys.stderr)
        return 130
    return 0


def parse(words: list[str]) -> Command:
    """Words to a command with its options.

    The options of ``pretrain`` have the values of its preset, or of the run to resume, unless they
    are given. Which preset depends on DATA, so the words may be read twice.
    """
    name = _option(words, "--preset")
    run = _option(words, "--resume")
    base = Config.read(Path(run) / "config.json") if run and _has_config(run) else None
    command = _parse(words, base or preset_named(name or "folder"))
    if isinstance(command, Pretrain) and command.data and not name and not run:
        command = _parse(words, preset_named(default_preset(command.data)))
    return command


def _parse(words: list[str], config: Config) -> Command:
    return tyro.cli(
        Annotated[Demo, tyro.conf.subcommand("demo")]
        | Annotated[Pretrain, tyro.conf.subcommand("pretrain", default=Pretrain(config=config))]
        | Annotated[Probe, tyro.conf.subcommand("probe")]
        | Annotated[Embed, tyro.conf.subcommand("embed")]
        | Annotated[Neighbors, tyro.conf.subcommand("neighbors")]
        | Annotated[Compare, tyro.conf.subcommand("compare")],
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


if __name__ == "__main__":
    sys.exit(main())
