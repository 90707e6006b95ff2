"""What ``quarterturn finetune`` takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, TypeVar

import tyro

from quarterturn.cli.arguments import DATA_WORDS, MaybeData, MaybeRun
from quarterturn.cli.groups import whole
from quarterturn.config import (
    BalanceConfig,
    ClassifierConfig,
    Config,
    DataConfig,
    MachineConfig,
    MethodConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
)
from quarterturn.errors import ConfigError

Setting = TypeVar("Setting")

Hidden = tyro.conf.Suppress[tyro.conf.Fixed[Setting]]
"""A setting that means nothing here, and is not offered."""


@dataclass(frozen=True)
class LabelledDataConfig(DataConfig):
    """Which images, and how they are cropped."""

    limit: int | None = DataConfig.limit
    """Use this many images of each split, those to learn from and those to test on, drawn once by a
    fixed seed; all by default."""
    long_tail: float | None = DataConfig.long_tail
    """Cut the training images, and not those to test on, to a long tail: the rarest class keeps
    this fraction of the most frequent one's images."""
    holdout: float = DataConfig.holdout
    """Fraction of each class held out by --seed to be tested on, where the data has no val or test
    split of its own; above 0 then."""


@dataclass(frozen=True)
class ClassifierModelConfig(ModelConfig):
    """The network."""

    embedding_dim: Hidden[int] = ModelConfig.embedding_dim


@dataclass(frozen=True)
class ClassifierOptimizerConfig(OptimizerConfig):
    """The optimizer, and the learning rate over time."""

    noise_aware_from: Hidden[float] = OptimizerConfig.noise_aware_from
    noise_aware_rate: Hidden[float | None] = OptimizerConfig.noise_aware_rate


@dataclass(frozen=True)
class ClassifierRunConfig(RunConfig):
    """How long, how large, how often."""

    epochs: int = RunConfig.epochs
    """Passes over the images; 0 trains nothing, and tests what there is."""
    batch_size: int = RunConfig.batch_size
    """Images in a batch, over all processes."""
    accumulate: int = RunConfig.accumulate
    """Compute each batch in so many parts, one after the other, to save memory. The gradient is the
    whole batch's, class weights included; batch norm sees one part at a time."""
    diagnostics: bool = RunConfig.diagnostics
    """Test as the training goes, not after its last epoch alone."""
    diagnostics_every: int | None = RunConfig.diagnostics_every
    """Epochs between tests; a tenth of the epochs by default. The last always has one."""


@dataclass(frozen=True)
class ClassifierSettings:
    """The settings of a training with labels: all but those of a pretext task."""

    data: LabelledDataConfig = field(default_factory=LabelledDataConfig)
    model: ClassifierModelConfig = field(default_factory=ClassifierModelConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    balance: BalanceConfig = field(default_factory=BalanceConfig)
    optimizer: ClassifierOptimizerConfig = field(default_factory=ClassifierOptimizerConfig)
    run: ClassifierRunConfig = field(default_factory=ClassifierRunConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)


@dataclass(frozen=True)
class Finetune:
    """Learn a classifier from labelled images, from a run's backbone or from scratch."""

    data: Annotated[MaybeData, tyro.conf.arg(metavar="DATA", help=f"{DATA_WORDS}, labelled.")] = (
        None
    )
    start: Annotated[MaybeRun, tyro.conf.arg(name="from")] = None
    """Begin with the backbone of this run, and see images as it did; from scratch without."""
    out: MaybeRun = None
    """Run directory; runs/<data>-finetune-<n> by default."""
    preset: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """digits-classifier, folder-classifier, cifar10-classifier or cifar10-lt-ldam; the defaults
    shown here are the preset's."""
    seeds: int = 1
    """How many trainings, from --seed on, each in a folder seed-<n> of the run directory; the table
    then has their mean and spread."""
    resume: MaybeRun = None
    """Go on with this run, or with all seeds in this directory; other settings than the run's are
    refused."""
    overwrite: bool = False
    """Delete earlier runs at --out, those of other seeds as well."""
    settings: tyro.conf.OmitArgPrefixes[ClassifierSettings] = field(
        default_factory=ClassifierSettings
    )

    @property
    def config(self) -> Config:
        """The whole configuration."""
        return whole(self.settings, self.resume, method=MethodConfig(method="classifier"))

    def run(self) -> None:
        """Call the command."""
        from quarterturn.classifying.finetune import finetune, resume_finetune

        if self.resume is not None:
            if any(given is not None for given in (self.data, self.start, self.out, self.preset)):
                raise ConfigError("--resume RUN takes DATA, --from, --out, --preset from the run")
            if self.seeds != 1:
                raise ConfigError("--resume RUN goes on with the seeds that RUN has; no --seeds")
            resume_finetune(self.resume, config=self.config)
        elif self.data is None:
            raise ConfigError(f"expected DATA: {DATA_WORDS[0].lower()}{DATA_WORDS[1:]}, labelled")
        else:
            finetune(
                self.data,
                start=self.start,
                out=self.out,
                config=self.config,
                seeds=self.seeds,
                overwrite=self.overwrite,
            )
