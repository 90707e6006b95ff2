"""Every setting of a run, as frozen dataclasses without torch, so that ``--help`` answers at once.

The command line's flags, a run's ``config.json`` and the presets are all made of these classes.
The library's own constructors take plain keywords and do not need them.

Fractions of the training are written as fractions (``90 / 245``), so that ``--epochs`` scales a
whole schedule.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from quarterturn.errors import ConfigError

MethodName = Literal["decoupling", "rotnet", "instance", "classifier", "imported"]
Resampling = Literal["none", "balanced", "effective-number"]
LongTail = Literal["exponential", "step"]
Precision = Literal["auto", "32-true", "bf16-mixed"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DataConfig:
    """Which images, and how they are cropped."""

    limit: int | None = None
    """Use this many images, drawn once by a fixed seed; all by default."""
    long_tail: float | None = None
    """Cut the training images to a long tail: the rarest class keeps this fraction of the most
    frequent one's images. Reads labels."""
    long_tail_kind: LongTail = "exponential"
    """How the classes of a long tail thin out: from one to the next, or all of the second half at
    once."""
    holdout: float = 0.05
    """Fraction kept out of the training for diagnostics (at most 1,000 images), where the data
    has no val or test split of its own; 0 keeps none."""
    max_bad_fraction: float = 0.05
    """Stop when more than this fraction of the image files cannot be read."""
    verify: bool = False
    """Decode every file in full before the training starts, not only its header."""
    image_size: int = 128
    """Side of the square crops, in pixels."""
    crop_scale: tuple[float, float] = (0.2, 1.0)
    """A random crop covers between these fractions of an image's area."""
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """A random crop's width over height lies between these."""
    crop_padding: int = 0
    """Instead of random resized crops, pad the centre square by so many black pixels and crop it
    back at a random place, as is usual on CIFAR; 0 for random resized crops."""
    flip: bool = True
    """Mirror half of the crops, left to right."""
    eval_crop: float = 0.875
    """Side of the centre crop used in evaluation, as a fraction of an image's short side."""
    mean: tuple[float, float, float] = IMAGENET_MEAN
    """Red, green and blue mean, of values in [0, 1]."""
    std: tuple[float, float, float] = IMAGENET_STD
    """Red, green and blue standard deviation, of values in [0, 1]."""


@dataclass(frozen=True)
class ModelConfig:
    """The network."""

    backbone: str = "resnet18"
    """alexnet, resnet18, resnet50, resnet20, resnet32, nin, nin3, nin5, convnet, or timm:NAME."""
    embedding_dim: int = 128
    """Width of the normalised embedding that the instance loss compares."""


@dataclass(frozen=True)
class MethodConfig:
    """What is learned."""

    method: MethodName = "decoupling"
    """decoupling (both halves), rotnet (rotation alone) or instance (no turns). classifier is what
    finetune trains; imported is a backbone that was trained elsewhere by another method."""
    rotation_weight: float = 1.0
    """Weight of the rotation loss in the total."""
    invariance_weight: float = 1.0
    """Weight of the invariance loss in the total."""
    instance_weight: float = 1.0
    """Weight of the instance loss in the total."""
    instance_loss: Literal["nce", "infonce"] = "infonce"
    """The paper's nce with a constant normaliser, or the robust infonce."""
    noise: Literal["per-image", "shared"] = "shared"
    """Draw noise samples for each image (the paper's), or once a batch (one matrix product)."""
    num_noise: int = 4096
    """Noise samples for each image or batch (K)."""
    temperature: float = 0.2
    """Divides the similarities in the instance loss."""
    bank_momentum: float = 0.5
    """Share of its old value that a row of the memory bank keeps at an update."""
    upright: str = "none"
    """Probabilities that images look upright, which weight the rotation loss in the noise-aware
    phase: a file or run that `quarterturn upright` made, auto to make them first, or none."""
    gamma: float = 2.0
    """A turned copy weighs 1 - p_upright ** gamma in the noise-aware phase."""
    fold_preset: str | None = None
    """Recipe of the networks that --upright auto trains; by default the run's own, as rotnet."""
    fold_epochs: int | None = None
    """Their epochs; by default that recipe's, or the paper's 50/245 of the run's own."""


@dataclass(frozen=True)
class ClassifierConfig:
    """A classifier of labelled images, and how it treats classes of unequal size."""

    loss: Literal["cross-entropy", "ldam", "focal", "balanced-softmax", "logit-adjusted"] = (
        "cross-entropy"
    )
    """ldam (Cao et al. 2019) takes a cosine head and larger margins for rarer classes; focal (Lin
    et al. 2017); balanced-softmax (Ren et al. 2020); logit-adjusted (Menon et al. 2021)."""
    focal_gamma: float = 1.0
    """Exponent of the focal loss; 0 is cross-entropy."""
    adjustment: float = 1.0
    """Strength of the adjustment by class frequency in logit-adjusted; 1 is balanced-softmax."""
    post_hoc_adjustment: float = 0.0
    """Take so much of the log class frequencies off the logits after the training, in tests and
    predictions (Menon et al. 2021); 1 for a network trained by cross-entropy, 0 for none."""
    reweight: Literal["none", "always", "drw"] = "none"
    """Weigh classes by effective numbers: never, always, or late (deferred re-weighting)."""
    resample: Resampling = "none"
    """Draw the images of an epoch with replacement: all classes equally often, or by effective
    numbers."""
    trained: str = "whole"
    """What of the backbone is trained: whole, none, or the name of a layer, from which on it is."""
    leave_out_empty: bool = False
    """Go on although a class has no training image; it has no margin and no weight."""
    many: int = 100
    """Classes with more training images than this are counted as many."""
    few: int = 20
    """Classes with fewer training images than this are counted as few."""
    protocol: Literal["last-epoch", "paper"] = "last-epoch"
    """paper reports the best of the evaluated epochs as well, as older papers do: it is chosen on
    the test images, so it is too high."""


@dataclass(frozen=True)
class BalanceConfig:
    """Margins and late weights for classes of unequal size, wherever they are asked for."""

    max_margin: float = 0.5
    """LDAM's margin of the rarest class, on cosines."""
    scale: float = 30.0
    """Multiplies the cosines in LDAM."""
    beta: float = 0.9999
    """Of effective numbers: 0 weighs all classes alike, near 1 by the inverse of their images."""
    reweight_from: float = 160 / 200
    """Fraction of the epochs at which deferred weights begin."""
    reweight_from_epoch: int | None = None
    """That epoch by number, counted from 0, in place of the fraction."""

    def start(self, epochs: int) -> float:
        """Where deferred weights begin in a run of so many epochs, as a fraction of them."""
        if self.reweight_from_epoch is None:
            return self.reweight_from
        return self.reweight_from_epoch / epochs


@dataclass(frozen=True)
class ImbalanceConfig:
    """Imbalance handled without labels, each kind by its switch, by margins and late weights."""

    balance_turns: bool = False
    """The four turns, unequal by what looks upright in several of them, in the rotation loss; needs
    --upright."""
    balance_agnostic: bool = False
    """Images without an "up" against the others, in the rotation loss; needs --upright."""
    agnostic_threshold: float = 0.5
    """Agnostic score from which an image counts as having no "up"."""
    balance_semantic: bool = False
    """Kinds of images, by clusters of their embeddings, in the invariance and instance losses."""
    counts: Literal["clusters", "labels"] = "clusters"
    """What those kinds are; labels are read, and it is said so, where you ask for them."""
    num_clusters: int = 10
    """How many clusters."""
    cluster_every: int = 5
    """Epochs between one clustering and the next; there are none before the first."""

    @property
    def of_rotation(self) -> bool:
        """Whether the rotation loss is balanced, which takes cosines."""
        return self.balance_turns or self.balance_agnostic

    @property
    def reads_labels(self) -> bool:
        """Whether labels are counted."""
        return self.balance_semantic and self.counts == "labels"


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


@dataclass(frozen=True)
class RunConfig:
    """How long, how large, how often."""

    epochs: int = 100
    """Passes over the images; 0 keeps the untrained backbone, a baseline for probes."""
    batch_size: int = 128
    """Images in a batch, over all processes; each turned image counts as one."""
    accumulate: int = 1
    """Compute each batch in so many parts, one after the other, to save memory. The gradient is the
    whole batch's; batch norm sees one part at a time, and so does the first step's Z of nce."""
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


@dataclass(frozen=True)
class UprightConfig:
    """Cross-fitting of rotation networks, which tells the images that have an "up"."""

    folds: int = 5
    """Networks; each scores the images of its fold, which it has not seen."""
    validation: float = 0.1
    """Share of the other folds' images that stop a network early and scale its temperature, at
    most 5,000 of them."""
    patience: float = 0.25
    """Stop a network when its validation loss has not improved for this fraction of the epochs; 1
    trains to the end. The epoch of the least loss is used either way."""
    view_crops: Literal[1, 5] = 5
    """Views of each image that are averaged: the centre crop, or the corners' as well. All are
    mirrored too, where the training mirrors."""


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


@dataclass(frozen=True)
class Config:
    """All settings of a run; each command reads the groups that concern it."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    balance: BalanceConfig = field(default_factory=BalanceConfig)
    imbalance: ImbalanceConfig = field(default_factory=ImbalanceConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)
    upright: UprightConfig = field(default_factory=UprightConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Nested plain values, as written to ``config.json``."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, dict[str, Any]]) -> Config:
        """Inverse of `to_dict`, also after a trip through JSON.

        Raises:
            ConfigError: A group or setting that this version does not know.
        """
        groups: dict[str, Any] = {}
        hints = get_type_hints(cls)
        for group, settings in values.items():
            if group not in hints:
                raise ConfigError(f"unknown group of settings {group!r}; there are {list(hints)}")
            known = {f.name for f in dataclasses.fields(hints[group])}
            if unknown := sorted(set(settings) - known):
                raise ConfigError(
                    f"unknown settings {unknown} in group {group!r}: was this run made by "
                    "another version of quarterturn?"
                )
            groups[group] = hints[group](
                **{k: tuple(v) if isinstance(v, list) else v for k, v in settings.items()}
            )
        return cls(**groups)

    def with_settings(self, **settings: Any) -> Config:
        """A copy with some settings changed, each named without its group: ``epochs=3``.

        Raises:
            ConfigError: A setting that no group has.
        """
        by_group: dict[str, dict[str, Any]] = {}
        for name, value in settings.items():
            by_group.setdefault(self._group_of(name), {})[name] = value
        return dataclasses.replace(
            self,
            **{g: dataclasses.replace(getattr(self, g), **vals) for g, vals in by_group.items()},
        )

    def differences(self, other: Config) -> list[str]:
        """Settings in which two configurations differ, as ``epochs: 10 -> 20``."""
        mine, theirs = self.to_dict(), other.to_dict()
        return [
            f"{name}: {value} -> {theirs[group][name]}"
            for group, settings in mine.items()
            for name, value in settings.items()
            if value != theirs[group][name]
        ]

    def check(self) -> None:
        """Refuse values that cannot work, before any file is touched.

        Raises:
            ConfigError: Names the setting, what was found, and what is possible.
        """
        d, m, o, r = self.data, self.method, self.optimizer, self.run
        _require(r.epochs >= 0, "epochs", r.epochs, "0 (untrained) or more")
        _require(r.seed >= 0, "seed", r.seed, "0 or more")
        _require(r.batch_size >= 2, "batch-size", r.batch_size, "at least 2 images")
        _require(
            1 <= r.accumulate <= r.batch_size // 2,
            "accumulate", r.accumulate, f"1 to half of --batch-size {r.batch_size}",
        )  # fmt: skip
        _require(r.checkpoint_every >= 0, "checkpoint-every", r.checkpoint_every, "0 or more")
        _require(r.log_every >= 1, "log-every", r.log_every, "1 or more")
        _require(d.limit is None or d.limit >= 8, "limit", d.limit, "at least 8 images")
        _require(
            d.long_tail is None or 0 < d.long_tail <= 1,
            "long-tail", d.long_tail, "a fraction above 0, up to 1",
        )  # fmt: skip
        kinds = get_args(LongTail)
        _require(d.long_tail_kind in kinds, "long-tail-kind", d.long_tail_kind, " or ".join(kinds))
        _require(0 <= d.holdout < 1, "holdout", d.holdout, "a fraction from 0 to below 1")
        _require(0 <= d.max_bad_fraction <= 1, "max-bad-fraction", d.max_bad_fraction, "0 to 1")
        _require(d.image_size >= 8, "image-size", d.image_size, "at least 8 pixels")
        _require(0 < d.eval_crop <= 1, "eval-crop", d.eval_crop, "a fraction above 0, up to 1")
        low, high = d.crop_scale
        _require(0 < low <= high <= 1, "crop-scale", d.crop_scale, "0 < low <= high <= 1")
        low, high = d.crop_ratio
        _require(0 < low <= high, "crop-ratio", d.crop_ratio, "0 < low <= high")
        _require(
            0 <= d.crop_padding < d.image_size,
            "crop-padding", d.crop_padding, f"0 to below --image-size {d.image_size}",
        )  # fmt: skip
        _require(min(d.std) > 0, "std", d.std, "three positive numbers")
        _require(m.method != "imported", "method", m.method, "decoupling, rotnet or instance")
        _require(m.temperature > 0, "temperature", m.temperature, "a positive number")
        _require(m.num_noise >= 1, "num-noise", m.num_noise, "at least 1")
        _require(0 <= m.bank_momentum < 1, "bank-momentum", m.bank_momentum, "0 to below 1")
        _require(
            self.model.embedding_dim >= 1, "embedding-dim", self.model.embedding_dim, "1 or more"
        )
        u = self.upright
        _require(u.folds >= 2, "folds", u.folds, "2 or more")
        _require(
            0 < u.validation <= 0.5, "validation", u.validation, "a fraction above 0, up to 0.5"
        )
        _require(0 < u.patience <= 1, "patience", u.patience, "a fraction above 0, up to 1")
        _require(u.view_crops in (1, 5), "view-crops", u.view_crops, "1 or 5")
        _require(
            m.upright == "none" or m.method != "instance",
            "upright", m.upright, "none with --method instance, which has no rotation loss",
        )  # fmt: skip
        every = m.fold_epochs
        _require(every is None or every >= 1, "fold-epochs", every, "1 or more")
        c, b = self.classifier, self.balance
        _require(c.focal_gamma >= 0, "focal-gamma", c.focal_gamma, "0 or more")
        _require(c.adjustment > 0, "adjustment", c.adjustment, "a positive number")
        _require(
            c.post_hoc_adjustment >= 0, "post-hoc-adjustment", c.post_hoc_adjustment, "0 or more"
        )
        _require(0 <= c.few <= c.many + 1, "few", c.few, f"0 to one more than --many {c.many}")
        _require(b.max_margin >= 0, "max-margin", b.max_margin, "0 or more")
        _require(b.scale > 0, "scale", b.scale, "a positive number")
        _require(0 <= b.beta < 1, "beta", b.beta, "0 or more, below 1")
        _require(
            0 <= b.reweight_from <= 1, "reweight-from", b.reweight_from, "a fraction from 0 to 1"
        )
        _require(
            b.reweight_from_epoch is None or 0 <= b.reweight_from_epoch <= r.epochs,
            "reweight-from-epoch", b.reweight_from_epoch, f"0 to --epochs {r.epochs}",
        )  # fmt: skip
        i = self.imbalance
        _require(
            0 <= i.agnostic_threshold <= 1,
            "agnostic-threshold", i.agnostic_threshold, "a score from 0 to 1",
        )  # fmt: skip
        _require(i.num_clusters >= 2, "num-clusters", i.num_clusters, "2 or more")
        _require(i.cluster_every >= 1, "cluster-every", i.cluster_every, "1 or more")
        if i.of_rotation and m.method == "instance":
            raise ConfigError("--method instance has no rotation loss to balance")
        if i.of_rotation and m.upright == "none":
            raise ConfigError(
                "--balance-turns and --balance-agnostic need to know what has an up: give "
                "--upright auto, or what quarterturn upright has made"
            )
        if i.balance_semantic and m.method == "rotnet":
            raise ConfigError("--method rotnet has no invariance or instance loss to balance")
        _require(m.gamma > 0, "gamma", m.gamma, "a positive number")
        _require(
            0 <= o.noise_aware_from <= 1,
            "noise-aware-from", o.noise_aware_from, "a fraction from 0 to 1",
        )  # fmt: skip
        late = o.noise_aware_rate
        _require(late is None or late > 0, "noise-aware-rate", late, "a positive number")
        if late is not None and o.schedule == "step":
            raise ConfigError(
                f"--noise-aware-rate {late} is for a cosine schedule; a step schedule has "
                "--milestones and --factors for it"
            )
        every = r.diagnostics_every
        _require(every is None or every >= 1, "diagnostics-every", every, "1 or more")
        _require(o.weight_decay >= 0, "weight-decay", o.weight_decay, "0 or more")
        _require(0 <= o.momentum < 1, "momentum", o.momentum, "0 to below 1")
        _require(o.learning_rate > 0, "learning-rate", o.learning_rate, "a positive number")
        _require(0 <= o.warmup < 1, "warmup", o.warmup, "a fraction from 0 to below 1")
        _require(self.machine.workers >= 0, "workers", self.machine.workers, "0 or more")
        _require(
            list(o.milestones) == sorted(o.milestones) and all(0 < x < 1 for x in o.milestones),
            "milestones", o.milestones, "ascending fractions between 0 and 1",
        )  # fmt: skip
        _require(
            len(o.factors) == len(o.milestones) + 1,
            "factors", o.factors, f"one more than the {len(o.milestones)} milestones",
        )  # fmt: skip

    @classmethod
    def read(cls, path: Path) -> Config:
        """Read a run's ``config.json``; its ``config`` key holds the settings.

        Raises:
            ConfigError: The file is damaged, or of another version.
        """
        try:
            return cls.from_dict(json.loads(path.read_text())["config"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{path} cannot be read as a run's configuration: {error}") from error

    def _group_of(self, name: str) -> str:
        for group in dataclasses.fields(self):
            if any(f.name == name for f in dataclasses.fields(getattr(self, group.name))):
                return group.name
        raise ConfigError(f"unknown setting {name!r}")


def _require(holds: bool, name: str, found: object, expected: str) -> None:
    if not holds:
        raise ConfigError(f"--{name} is {found}; expected {expected}")
