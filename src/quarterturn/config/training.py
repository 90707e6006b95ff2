"""The network, how it is trained, and on what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from quarterturn.config.require import require
from quarterturn.errors import ConfigError

Precision = Literal["auto", "32-true", "bf16-mixed"]


@dataclass(frozen=True)
class ModelConfig:
    """The network."""

    backbone: str = "resnet18"
    """alexnet, resnet18, resnet50, resnet20, resnet32, nin, nin3, nin5, convnet, or timm:NAME."""
    embedding_dim: int = 128
    """Width of the normalised embedding that the instance loss compares."""

    def check(self) -> None:
        """Refuse values that cannot work; see `Config.check`."""
        require(self.embedding_dim >= 1, "embedding-dim", self.embedding_dim, "1 or more")


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer, and the learning rate over time."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    """sgd has momentum, by default Nesterov's."""
    learning_rate: float = 0.05
    """Base learning rate; the schedule multiplies it."""
    momentum: float = 0.9
    """Momentum of sgd."""
    nesterov: bool = True
    """Nesterov's form of the momentum."""
    weight_decay: float = 5e-4
    """Weight decay, on every parameter."""
    schedule: Literal["cosine", "step"] = "cosine"
    """cosine falls to zero over the run; step follows milestones and factors."""
    warmup: float = 0.0
    """Fraction of the epochs over which a cosine schedule rises linearly first."""
    milestones: tuple[float, ...] = ()
    """Where a step schedule changes, as ascending fractions of the epochs."""
    factors: tuple[float, ...] = (1.0,)
    """A step schedule's multiples of the learning rate; one more than there are milestones."""
    noise_aware_from: float = 210 / 245
    """Fraction of the epochs at which the noise-aware phase begins; see --upright."""
    noise_aware_rate: float | None = None
    """Where set, a cosine schedule reaches zero at that phase, and falls in it once more from this
    multiple of the learning rate; else it runs on. A step schedule has milestones for it."""

    def check(self) -> None:
        """Refuse values that cannot work; see `Config.check`."""
        require(
            0 <= self.noise_aware_from <= 1,
            "noise-aware-from",
            self.noise_aware_from,
            "a fraction from 0 to 1",
        )
        late = self.noise_aware_rate
        require(late is None or late > 0, "noise-aware-rate", late, "a positive number")
        if late is not None and self.schedule == "step":
            raise ConfigError(
                f"--noise-aware-rate {late} is for a cosine schedule; a step schedule has "
                "--milestones and --factors for it"
            )
        require(self.weight_decay >= 0, "weight-decay", self.weight_decay, "0 or more")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "0 to below 1")
        require(self.learning_rate > 0, "learning-rate", self.learning_rate, "a positive number")
        require(0 <= self.warmup < 1, "warmup", self.warmup, "a fraction from 0 to below 1")
        require(
            list(self.milestones) == sorted(self.milestones)
            and all(0 < x < 1 for x in self.milestones),
            "milestones",
            self.milestones,
            "ascending fractions between 0 and 1",
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

    epochs: int = 100
    """Passes over the images; 0 keeps the untrained backbone, a baseline for probes."""
    batch_size: int = 128
    """Images in a batch, over all processes; each turned image counts as one."""
    accumulate: int = 1
    """Compute each batch in so many parts, one after the other, to save memory. The gradient is the
    whole batch's, class weights included; batch norm sees one part at a time, and so does the first
    step's Z of nce."""
    seed: int = 0
    """Weights, order, crops and noise follow from it."""
    precision: Precision = "auto"
    """auto takes bf16-mixed where the hardware computes in bfloat16, else 32-true."""
    checkpoint_every: int = 1000
    """Steps between checkpoints within an epoch; 0 writes them at the ends of epochs alone."""
    log_every: int = 20
    """Steps averaged in a line of metrics.jsonl."""
    diagnostics: bool = True
    """Measure rotation accuracy, leakage and spread on held-out images as the training goes."""
    diagnostics_every: int | None = None
    """Epochs between diagnostics; a tenth of the epochs by default. The last always has them."""

    def check(self) -> None:
        """Refuse values that cannot work; see `Config.check`."""
        require(self.epochs >= 0, "epochs", self.epochs, "0 (untrained) or more")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        require(self.batch_size >= 2, "batch-size", self.batch_size, "at least 2 images")
        require(
            1 <= self.accumulate <= self.batch_size // 2,
            "accumulate",
            self.accumulate,
            f"1 to half of --batch-size {self.batch_size}",
        )
        require(self.checkpoint_every >= 0, "checkpoint-every", self.checkpoint_every, "0 or more")
        require(self.log_every >= 1, "log-every", self.log_every, "1 or more")
        every = self.diagnostics_every
        require(every is None or every >= 1, "diagnostics-every", every, "1 or more")


@dataclass(frozen=True)
class MachineConfig:
    """What the training runs on. A resumed run may change these; all others it must keep."""

    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps ..."""
    workers: int = 2
    """Processes that decode image files; the result does not depend on it."""
    compile: bool = False
    """Compile the network by torch.compile: a minute or two at the start (a processor needs a C++
    compiler), then quicker steps. Figures differ from those without by rounding, and may after an
    interruption."""
    tensorboard: bool = False
    """Write the metrics for TensorBoard as well (extra: tensorboard)."""
    download: bool = False
    """Fetch a named data set that is not there; nothing is downloaded without it."""

    def check(self) -> None:
        """Refuse values that cannot work; see `Config.check`."""
        require(self.workers >= 0, "workers", self.workers, "0 or more")
