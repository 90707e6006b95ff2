"""What ``quarterturn probe`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from quarterturn.cli.arguments import Data, RunDirectory


@dataclass(frozen=True)
class Probe:
    """Read labels off a run's frozen features by simple classifiers, upright and turned."""

    run_directory: RunDirectory
    """The run."""
    data: Data
    """Labelled images: sub-folders are the labels, or they come with the data."""
    train: str | None = None
    """Other data to learn from, such as balanced or long-tailed labels of the same classes."""
    test: str | None = None
    """Other data to test on; by default a split of DATA, or a stratified 20 %."""
    kind: Literal["all", "knn", "linear", "nonlinear", "fewshot"] = "all"
    """Which classifiers, on features that are extracted once: all is knn and linear; fewshot learns
    from K images of each class."""
    shots: Annotated[tuple[int, ...] | None, tyro.conf.arg(metavar="K ...")] = None
    """The K of fewshot, by default 1, 2, 5, 10 and so on up to 500; those count of which every
    class has so many training images."""
    draws: int | None = None
    """How often fewshot draws the K images, for each seed; 5 by default."""
    preset: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """A protocol of the literature, whose classifiers are trained: imagenet-linear,
    imagenet-nonlinear, places205-linear, cifar10-multilayer, cifar10-convolutional or
    cifar10-semi-supervised. Interrupted, the same command goes on."""
    layers: Annotated[tuple[str, ...] | None, tyro.conf.arg(metavar="NAME ...")] = None
    """Layers of the backbone by name, or all; by default the last, by its halves."""
    grid: int = 1
    """Maps are averaged over a grid of so many squares a side."""
    untrained: bool = True
    """Probe the untrained backbone as well, which costs as much again."""
    long_tail: float | None = None
    """Cut the training part to a long tail: the rarest class keeps this fraction of the most
    frequent one's images."""
    long_tail_kind: Literal["exponential", "step"] = "exponential"
    """How the classes' sizes fall."""
    limit: int | None = None
    """Use at most this many images of each part."""
    seed: int = 0
    """First seed, of turns, held-out parts and draws."""
    seeds: int | None = None
    """How many seeds; mean and spread are over them. 3, or 1 for a preset that learns from random
    crops."""
    epochs: int | None = None
    """Of a preset's training, in place of its own; its schedule is scaled."""
    batch_size: int | None = None
    """Of a preset's training, in place of its own."""
    centre_crops: bool = False
    """Of a preset: learn from centre crops in place of random ones; the backbone runs once over
    each image, whatever the epochs."""
    test_crops: Literal[1, 10] | None = None
    """Of a preset: test on the centre crop, or on the mean over ten."""
    images_per_class: Annotated[tuple[int, ...] | None, tyro.conf.arg(metavar="INT ...")] = None
    """Of a preset: learn from the first so many images of each class."""
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
        from quarterturn.probing.probe import probe

        probe(
            self.run_directory,
            self.data,
            train=self.train,
            test=self.test,
            kind=self.kind,
            shots=self.shots,
            draws=self.draws,
            preset=self.preset,
            layers=self.layers,
            grid=self.grid,
            untrained=self.untrained,
            long_tail=self.long_tail,
            long_tail_kind=self.long_tail_kind,
            limit=self.limit,
            seed=self.seed,
            seeds=self.seeds,
            epochs=self.epochs,
            batch_size=self.batch_size,
            centre_crops=self.centre_crops,
            test_crops=self.test_crops,
            images_per_class=self.images_per_class,
            many=self.many,
            few=self.few,
            device=self.device,
            workers=self.workers,
            download=self.download,
        )
