"""The network, how it is trained, and on what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from quarterturn.config.bounds import (
    BatchSize,
    Bounds,
    Count,
    CountOrZero,
    Fraction,
    FractionBelowOne,
    Positive,
    PositiveFraction,
    PositiveOrZero,
    Seed,
)
from quarterturn.config.options import COMMON, Flag
from quarterturn.config.shared import ComputeOptions, DownloadOptions
from quarterturn.config.validation import require
from quarterturn.errors import ConfigError

Precision = Literal["auto", "32-true", "bf16-mixed"]


SMALL_IMAGE = 96
"""Side in pixels below which networks are made for small images: a ResNet's stem keeps the
resolution."""


@dataclass(frozen=True)
class ModelConfig:
    """The network."""

    backbone: Annotated[str, COMMON] = "resnet18"
    """alexnet, alexnet-folded, alexnet-pool5, resnet18, resnet50, resnet20, resnet32, nin, nin3,
    nin5, convnet, or timm:NAME."""
    trained: Annotated[str, COMMON] = "whole"
    """Part of the backbone to train: whole, none, or all from a layer on, by the layer's name."""
    frozen_statistics: bool = False
    """Normalise by the means and variances that batch norm has kept, in training too; else by those
    of each batch, which the kept ones follow."""


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer, and the learning rate over time."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """sgd has momentum, by default Nesterov's."""
    learning_rate: Annotated[Positive, COMMON] = 0.05
    """Base learning rate; the schedule multiplies it."""
    momentum: FractionBelowOne = 0.9
    """Momentum of sgd."""
    nesterov: bool = True
    """Nesterov's form of the momentum."""
    weight_decay: PositiveOrZero = 5e-4
    """Weight decay, on every parameter."""
    bias_rate: Positive = 1.0
    """Biases learn at this multiple of the learning rate."""
    decay_biases: bool = True
    """Weight decay on biases too."""
    clip_gradient: PositiveOrZero = 0.0
    """Scale the gradient of all parameters down to this length where it is longer; 0 for none."""
    rate_in_momentum: bool = False
    """sgd keeps its momentum in units of the step, as Caffe does: where the learning rate drops,
    what was gathered before keeps its size. Torch's momentum drops with the rate."""
    schedule: Literal["cosine", "step"] = "cosine"
    """cosine falls to zero over the run; step follows milestones and factors."""
    warmup: FractionBelowOne = 0.0
    """Fraction of the epochs over which a cosine schedule rises linearly first."""
    warmup_steps: CountOrZero = 0
    """Multiply the learning rate by 1/N, 2/N and so on over the first N steps."""
    restarts: tuple[Annotated[int, Bounds(at_least=1)], ...] = ()
    """Epochs, counted from 0, at which the schedule begins again: learning rate, warm-up,
    noise-aware phase and deferred weights have all of theirs between one and the next."""
    layer_decay: PositiveFraction = 1.0
    """Each stage of the backbone (of timm's networks: each block) learns at this multiple of the
    rate of the next, and the heads at the full rate; 1 for one rate everywhere."""
    milestones: tuple[Annotated[float, Bounds(above=0, below=1)], ...] = ()
    """Where a step schedule changes, as ascending fractions of the epochs."""
    factors: tuple[PositiveOrZero, ...] = (1.0,)
    """A step schedule's multiples of the learning rate; one more than there are milestones."""
    noise_aware_from: Fraction = 210 / 245
    """Fraction of the epochs at which the noise-aware phase begins; see --upright."""
    noise_aware_rate: Positive | None = None
    """Where set, a cosine schedule reaches zero at that phase, and falls in it once more from this
    multiple of the learning rate; else it runs on. A step schedule has milestones for it."""

    def check(self) -> None:
        """Refuse values that do not go together; see `quarterturn.config.validation`."""
        if self.noise_aware_rate is not None and self.schedule == "step":
            raise ConfigError(
                f"--noise-aware-rate {self.noise_aware_rate} is for a cosine schedule; a step "
                "schedule has --milestones and --factors for it"
            )
        require(
            list(self.milestones) == sorted(self.milestones),
            "milestones",
            self.milestones,
            "ascending fractions between 0 and 1",
        )
        require(
            list(self.restarts) == sorted(set(self.restarts)),
            "restarts",
            self.restarts,
            "ascending epochs",
        )
        require(
            len(self.factors) == len(self.milestones) + 1,
            "factors",
            self.factors,
            f"one more than the {len(self.milestones)} milestones",
        )


@dataclass(frozen=True)
class RunConfig:
    """How long, how large, how often."""

    epochs: Annotated[CountOrZero, COMMON] = 100
    """Passes over the images; 0 trains nothing, for the untrained backbone as a baseline."""
    batch_size: Annotated[BatchSize, COMMON] = 128
    """Images in a batch, over all processes; an image in its four turns counts as one."""
    accumulate: Count = 1
    """Compute each batch in N parts, one after the other, to save memory. The gradient is the whole
    batch's, class weights included; batch norm sees one part at a time, and so does the first
    step's Z of nce."""
    sync_batch_norm: bool = False
    """Over several GPUs, let batch norm take its statistics over the whole batch, where each
    process takes its own share. Costs an exchange in every layer."""
    seed: Annotated[Seed, COMMON] = 0
    """Weights, order, crops and noise follow from it."""
    precision: Precision = "auto"
    """auto takes bf16-mixed where the hardware computes in bfloat16, else 32-true."""
    checkpoint_every: CountOrZero = 1000
    """Steps between checkpoints within an epoch; 0 writes them only at the ends of epochs."""
    log_every: Count = 20
    """Steps averaged in a line of metrics.jsonl."""
    diagnostics: bool = True
    """Measure on held-out images as the training goes: rotation accuracy, leakage and spread, or a
    classifier's accuracy, whose last epoch is tested either way."""
    diagnostics_every: Count | None = None
    """Epochs between these measurements; a tenth of the epochs by default."""

    def check(self) -> None:
        """Refuse values that do not go together; see `quarterturn.config.validation`."""
        require(
            self.accumulate <= self.batch_size // 2,
            "accumulate",
            self.accumulate,
            f"1 to half of --batch-size {self.batch_size}",
        )


@dataclass(frozen=True)
class LearningCurveConfig:
    """Quick probes as a pretraining goes; they change nothing of it."""

    probe_every: Count | None = None
    """Every N epochs, and after the last, classify labelled images by their 20 nearest neighbours:
    quick, on the way, and no probe's result. Images of a training split only."""
    probe_data: Annotated[str | None, Flag(metavar="LABELLED")] = None
    """DATA with the labelled images for --probe-every; by default what is trained on."""

    def check(self) -> None:
        """Refuse values that do not go together; see `quarterturn.config.validation`."""
        if self.probe_data is not None and self.probe_every is None:
            raise ConfigError(
                f"--probe-data is {self.probe_data}; give --probe-every N too, or leave it out"
            )


@dataclass(frozen=True)
class MachineConfig(ComputeOptions, DownloadOptions):
    """What the training runs on. A resumed run may change these; all others it must keep."""

    compile: bool = False
    """Compile the network by torch.compile: a minute or two at the start (a processor needs a C++
    compiler), then quicker steps. Figures differ from those without by rounding, and may after an
    interruption."""
    logger: Literal["none", "tensorboard", "wandb"] = "none"
    """Pass the lines of metrics.jsonl on to TensorBoard (RUN/tensorboard) or Weights & Biases; each
    is an extra of that name."""
    profile: bool = False
    """Measure where the time of the steps goes: RUN/profile.json, and RUN/profile-trace.json of ten
    steps for chrome://tracing."""

    def check(self) -> None:
        """Refuse values that do not go together; see `quarterturn.config.validation`."""
        require(not (self.profile and self.compile), "profile", True, "false with --compile")
