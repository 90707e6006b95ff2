"""What ``quarterturn pretrain`` takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import tyro

from quarterturn.cli.arguments import DATA_WORDS, MaybeData, MaybeRun
from quarterturn.cli.groups import whole
from quarterturn.config import (
    BalanceConfig,
    Config,
    DataConfig,
    ImbalanceConfig,
    MachineConfig,
    MethodConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    UprightConfig,
)
from quarterturn.errors import ConfigError


@dataclass(frozen=True)
class PretextConfig:
    """The settings of a training without labels: all but a classifier's."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    imbalance: ImbalanceConfig = field(default_factory=ImbalanceConfig)
    balance: BalanceConfig = field(default_factory=BalanceConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)
    upright: UprightConfig = field(default_factory=UprightConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)


@dataclass(frozen=True)
class Pretrain:
    """Learn a representation from unlabelled images: DATA, or --resume RUN."""

    data: Annotated[MaybeData, tyro.conf.arg(metavar="DATA", help=f"{DATA_WORDS}.")] = None
    out: MaybeRun = None
    """Run directory; runs/<data>-<n> by default."""
    preset: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """digits, folder, imagenet-alexnet, cifar10-nin, cifar10-resnet18 or cifar10-lt-resnet18, or a
    recipe of upright's; the defaults shown here are the preset's."""
    resume: MaybeRun = None
    """Go on with this run; other settings than the run's are refused."""
    overwrite: bool = False
    """Delete an earlier run at --out."""
    settings: tyro.conf.OmitArgPrefixes[PretextConfig] = field(default_factory=PretextConfig)

    @property
    def config(self) -> Config:
        """The whole configuration."""
        return whole(self.settings, self.resume)

    def run(self) -> None:
        """Call the command."""
        from quarterturn.pretraining.pretrain import pretrain, resume

        if self.resume is not None:
            if self.data is not None or self.out is not None or self.preset is not None:
                raise ConfigError("--resume RUN takes DATA, --out and --preset from the run")
            resume(self.resume, config=self.config)
        elif self.data is None:
            raise ConfigError(f"expected DATA: {DATA_WORDS[0].lower()}{DATA_WORDS[1:]}")
        else:
            pretrain(self.data, out=self.out, config=self.config, overwrite=self.overwrite)
