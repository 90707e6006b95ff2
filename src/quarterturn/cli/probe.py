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
    kind: Literal["all", "knn", "linear", "fewshot"] = "all"
    """Which classifiers; all is knn and linear. fewshot learns from K images of each class."""
    shots: Annotated[tuple[int, ...], tyro.conf.arg(metavar="K ...")] = (
        1, 2, 5, 10, 20, 50, 100, 200, 500,
    )  # fmt: skip
    """The K of fewshot; those count of which every class has so many training images."""
    draws: int = 5
    """How often fewshot draws the K images, for each seed."""
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
            train=self.train, test=self.test, kind=self.kind, shots=self.shots, draws=self.draws,
            layers=self.layers, grid=self.grid, untrained=self.untrained,
            long_tail=self.long_tail, long_tail_kind=self.long_tail_kind, limit=self.limit,
            seed=self.seed, seeds=self.seeds, many=self.many, few=self.few,
            device=self.device, workers=self.workers, download=self.download,
        )  # fmt: skip
