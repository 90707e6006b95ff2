"""What ``quarterturn upright`` takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import tyro

from quarterturn.cli.arguments import DATA_WORDS, MaybeData, MaybeRun
from quarterturn.cli.groups import whole
from quarterturn.config import (
    DataConfig,
    MachineConfig,
    MethodConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    UprightConfig,
)
from quarterturn.errors import ConfigError


@dataclass(frozen=True)
class RotNetConfig:
    """The settings of rotation networks on folds: all but a method's."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)
    upright: UprightConfig = field(default_factory=UprightConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)


@dataclass(frozen=True)
class Upright:
    """Tell which images have an "up", by networks that have not seen them: DATA or --resume RUN."""

    data: Annotated[MaybeData, tyro.conf.arg(metavar="DATA", help=f"{DATA_WORDS}.")] = None
    out: MaybeRun = None
    """Run directory; runs/<data>-upright-<n> by default."""
    preset: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """The networks' recipe: folder-rotnet, digits, imagenet-rotnet, or another of pretrain's; the
    defaults shown here are the preset's."""
    resume: MaybeRun = None
    """Go on with this run, fold by fold; other settings than the run's are refused."""
    format: Literal["npz", "dat"] = "npz"
    """dat writes the original's text file as well: one probability a line, line 4*i + k."""
    overwrite: bool = False
    """Delete an earlier run at --out."""
    config: tyro.conf.OmitArgPrefixes[RotNetConfig] = field(default_factory=RotNetConfig)

    def run(self) -> None:
        """Call the command."""
        from quarterturn.orientation.upright import resume_upright, upright

        config = whole(self.config, self.resume, method=MethodConfig(method="rotnet"))
        if self.resume is not None:
            if self.data is not None or self.out is not None or self.preset is not None:
                raise ConfigError("--resume RUN takes DATA, --out and --preset from the run")
            resume_upright(self.resume, config=config, format=self.format)
        elif self.data is None:
            raise ConfigError(f"expected DATA: {DATA_WORDS[0].lower()}{DATA_WORDS[1:]}")
        else:
            upright(
                self.data,
                out=self.out,
                config=config,
                format=self.format,
                overwrite=self.overwrite,
            )
