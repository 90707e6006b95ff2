"""What ``quarterturn probe`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from quarterturn.config.bounds import BatchSize, Bounds, Count, CountOrZero, Repetitions, Seed
from quarterturn.config.options import COMMON, Flag
from quarterturn.config.shared import (
    ClassSizeOptions,
    ComputeOptions,
    DownloadOptions,
    RunFileOptions,
    SampleOptions,
)
from quarterturn.config.validation import require
from quarterturn.errors import ConfigError
from quarterturn.presets.svm import SVM_PROTOCOLS


@dataclass(frozen=True, kw_only=True)
class ProbeOptions(
    SampleOptions, RunFileOptions, ClassSizeOptions, ComputeOptions, DownloadOptions
):
    """Read labels off a run's frozen features by simple classifiers, upright and turned."""

    kind: Annotated[Literal["all", "knn", "linear", "nonlinear", "fewshot"], COMMON] = "all"
    """Which classifiers, on features that are extracted once: all is knn and linear; fewshot learns
    from K images of each class."""
    preset: Annotated[str | None, Flag(metavar="NAME", common=True)] = None
    """A protocol of the literature, whose classifiers are trained: imagenet-linear,
    imagenet-nonlinear, places205-linear, cifar10-multilayer, cifar10-convolutional or
    cifar10-semi-supervised; interrupted, it is resumed by the same command. voc07-svm and
    voc07-svm-lowshot are for images with several labels each."""
    protocol: Literal["training-folds", "paper"] = "training-folds"
    """By what voc07-svm-lowshot chooses a cost; paper chooses it on the test images as older code
    does, so the figures are too high."""
    train: Annotated[str | None, Flag(metavar="DATA")] = None
    """Other data to learn from, such as balanced or long-tailed labels of the same classes; the
    test part stays that of DATA, or all of it where it has none."""
    test: Annotated[str | None, Flag(metavar="DATA", common=True)] = None
    """Other data to test on; by default a split of DATA, or a stratified 20 % held out by each
    seed."""
    layers: Annotated[tuple[str, ...] | None, Flag(metavar="NAME ...", common=True)] = None
    """Layers of the backbone by name, or all; by default the last, by its halves."""
    grid: Annotated[int, Bounds(at_least=1, at_most=256)] = 1
    """Average-pool maps to a GRID x GRID grid."""
    shots: Annotated[tuple[Count, ...] | None, Flag(metavar="K ...", common=True)] = None
    """The K of fewshot, by default 1, 2, 5, 10 and so on up to 500; those count of which every
    class has K training images."""
    draws: Repetitions | None = None
    """How often fewshot draws the K images, for each seed; 5 by default."""
    untrained: Annotated[bool, COMMON] = True
    """Probe the untrained backbone too, or the weights that the run began with, which training has
    to beat; it costs as much again."""
    seed: Annotated[Seed, COMMON] = 0
    """First seed, of turns, held-out parts and draws, and of what a training draws."""
    seeds: Annotated[Repetitions | None, COMMON] = None
    """Number of seeds; mean and spread are over them. 3, or 1 for a preset that learns from random
    crops."""
    epochs: CountOrZero | None = None
    """Of a preset's training, in place of its own; its schedule is scaled."""
    batch_size: BatchSize | None = None
    """Of a preset's training, in place of its own."""
    centre_crops: bool = False
    """Of a preset: learn from centre crops in place of random ones; the backbone runs once over
    each image, whatever the epochs."""
    test_crops: Literal[1, 10] | None = None
    """Of a preset: test on the centre crop, or on the mean over ten."""
    images_per_class: Annotated[tuple[Count, ...] | None, Flag(metavar="N ...")] = None
    """Of a preset: learn from the first N images of each class."""
    evaluate_only: bool = False
    """Test classifiers again that an earlier probe by the same preset has trained, without training
    any: on the test images of the same DATA, or on other DATA with the same names of classes (its
    test split, or all of it)."""

    def check(self) -> None:
        """Refuse values that do not go together; see `quarterturn.config.validation`."""
        super().check()
        if self.kind != "fewshot" and (self.shots is not None or self.draws is not None):
            raise ConfigError("--shots and --draws are only for --kind fewshot")
        require(self.shots != (), "shots", "empty", "one K or more")
        if self.preset is not None and self.kind != "all":
            raise ConfigError(f"give --kind {self.kind} or --preset {self.preset}, not both")
        if self.protocol == "paper" and self.preset not in SVM_PROTOCOLS:
            raise ConfigError(f"--protocol paper is for --preset {' and '.join(SVM_PROTOCOLS)}")
        is_fitted = self.preset is None and self.kind != "nonlinear"
        if self.protocol_settings and (is_fitted or self.preset in SVM_PROTOCOLS):
            flags = ", ".join(_FLAGS[name] for name in self.protocol_settings)
            if is_fitted:
                raise ConfigError(f"only for a --preset, and none is given: {flags}")
            raise ConfigError(f"not for --preset {self.preset}, whose settings are fixed: {flags}")
        if self.evaluate_only and (is_fitted or self.preset in SVM_PROTOCOLS):
            which = f"--kind {self.kind}" if is_fitted else f"--preset {self.preset}"
            raise ConfigError(
                "--evaluate-only is for the trained classifiers of a --preset or of --kind "
                f"nonlinear; those of {which} are fitted anew each time: leave it out"
            )
        if self.grid != 1 and not is_fitted:
            raise ConfigError(
                f"--grid {self.grid} is for classifiers that are fitted; leave it out"
            )

    @property
    def takes_several_labels(self) -> bool:
        """Whether images may have several labels each."""
        if self.preset is not None:
            return self.preset in SVM_PROTOCOLS
        return self.kind in ("all", "linear")

    @property
    def protocol_settings(self) -> dict[str, object]:
        """Settings of a protocol that are given in place of its own, by their names there."""
        given = {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "augment": False if self.centre_crops else None,
            "test_crops": self.test_crops,
            "images_per_class": self.images_per_class,
        }
        return {name: value for name, value in given.items() if value is not None}

    @property
    def training_settings(self) -> dict[str, object]:
        """Those of the `protocol_settings` that a trained classifier was trained by."""
        chosen_anew = ("test_crops", "images_per_class")
        return {k: v for k, v in self.protocol_settings.items() if k not in chosen_anew}


_FLAGS = {
    "epochs": "--epochs",
    "batch_size": "--batch-size",
    "augment": "--centre-crops",
    "test_crops": "--test-crops",
    "images_per_class": "--images-per-class",
}
