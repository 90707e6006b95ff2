"""What a probe of a run measured, as typed records; `quarterturn.runs.record_files` stores them.

Every score has a name of four parts, never a joined string: whose features (``origin``), which of
them (``part``), what read the classes off them (``classifier``) and how the test images were shown
(``view``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar, get_args

from quarterturn.metrics.classification import mean_and_spread

MeasureName = Literal[
    "top1",
    "balanced",
    "worst_class",
    "many",
    "medium",
    "few",
    "std_over_classes",
    "std_over_groups",
    "mean_ap",
]

SEVERAL_LABELS: tuple[str, ...] = ("mean_ap", "worst_class")
"""What a score has where images have several labels each: mean and least average precision."""

MEASURES: tuple[str, ...] = tuple(name for name in get_args(MeasureName) if name != "mean_ap")
"""Accuracies, and two standard deviations of them, that every other score has."""


Measured = TypeVar("Measured")


def measures_in(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """The measures that some metrics have."""
    return SEVERAL_LABELS if "mean_ap" in metrics else MEASURES


def first_measure(measures: Mapping[str, Measured]) -> Measured:
    """The most important measure of a score: top-1, or mean average precision."""
    return measures[measures_in(measures)[0]]


START = "start"
"""Origin of the features of the network that a training began with."""


@dataclass(frozen=True)
class Statistic:
    """A figure over repeats.

    Attributes:
        mean: None where there is no figure, such as the accuracy of a group without classes.
        spread: Standard deviation, with n - 1; None for a single repeat.
        values: One for each repeat; empty in files of the former form that did not keep them.
    """

    mean: float | None
    spread: float | None = None
    values: tuple[float | None, ...] = ()


@dataclass(frozen=True)
class ScoreName:
    """What a score is of.

    Attributes:
        origin: Whose features: ``trained``, ``untrained``, or `START`, of a run that began with
            weights.
        part: Which features: ``rotation``, ``invariant``, ``both``, ``whole``, or a layer.
        classifier: What was trained on them: ``knn-20``, ``linear``, ``few-shot-5`` ...
        view: How test images were shown: ``upright`` or ``turned``.
    """

    origin: str
    part: str
    classifier: str
    view: str

    @property
    def features(self) -> str:
        """``trained: invariant``."""
        return features_of(self.origin, self.part)

    @property
    def column(self) -> str:
        """``knn-20`` for upright test images, and ``knn-20 turned``."""
        return column_of(self.classifier, self.view)


@dataclass(frozen=True)
class Score:
    """How well a classifier did on one part of the features; the first four are its name.

    Attributes:
        origin: See `ScoreName`, as for the next three.
        part: See there.
        classifier: See there.
        view: See there.
        measures: `measures_in` the repeats; those of early versions lack the standard deviations.
        repeats: All metrics of each seed and draw, by
            `quarterturn.metrics.classification.classification_metrics`, or where images have
            several labels each by `quarterturn.metrics.label_sets.label_set_metrics`.
    """

    origin: str
    part: str
    classifier: str
    view: str
    measures: dict[str, Statistic]
    repeats: tuple[dict[str, Any], ...] = ()

    @property
    def name(self) -> ScoreName:
        """The four parts of its name."""
        return ScoreName(self.origin, self.part, self.classifier, self.view)


@dataclass(frozen=True)
class ProbeResult:
    """What a probe found, as it is stored in ``RUN/probes/``.

    Attributes:
        run: The run.
        epochs: Epochs that the run was to be trained for.
        epochs_done: Epochs that it had been trained for.
        data: DATA as the user wrote it.
        name: Its short name.
        test: In words, where the test images are from.
        weights: Fingerprint of the probed weights.
        protocol: All that scores must have in common to stand in one table.
        protocol_id: Its short hash.
        scores: The scores.
        test_images_learned_from: Test images that the run has been trained on; None if not known.
        test_images_learned_with_labels: Those of them whose label was read; None if not known.
        left_out: Words on classifiers that were asked for and could not be trained.
    """

    run: str
    epochs: int
    epochs_done: float
    data: str
    name: str
    test: str
    weights: str
    protocol: dict[str, Any]
    protocol_id: str
    scores: tuple[Score, ...]
    test_images_learned_from: int | None = 0
    test_images_learned_with_labels: int | None = None
    left_out: str = ""

    def score(self, origin: str, part: str, classifier: str, view: str = "upright") -> Score:
        """The score of that name.

        Raises:
            KeyError: There is none.
        """
        name = ScoreName(origin, part, classifier, view)
        for score in self.scores:
            if score.name == name:
                return score
        raise KeyError(name)

    @property
    def has_several_labels(self) -> bool:
        """Whether images have several labels each."""
        return any("mean_ap" in score.measures for score in self.scores)

    @property
    def names(self) -> list[ScoreName]:
        """The names of all scores, in their order."""
        return [score.name for score in self.scores]


def features_of(origin: str, part: str) -> str:
    """Whose features these are, and which, in words."""
    return f"{'pretrained, not adapted' if origin == START else origin}: {part}"


def column_of(classifier: str, view: str) -> str:
    """Heading of a column: the view is named where test images are not upright."""
    return classifier if view == "upright" else f"{classifier} {view}"


def few_shot_name(images_per_class: int) -> str:
    """Name of the classifier trained on K images of each class."""
    return f"few-shot-{images_per_class}"


def images_per_class(classifier: str) -> int:
    """K of a classifier named by `few_shot_name`."""
    return int(classifier.removeprefix(few_shot_name(0)[:-1]))


def statistic(values: Sequence[float | None]) -> Statistic:
    """Mean and spread of repeated figures; neither where one of them is missing."""
    return Statistic(**mean_and_spread(values), values=tuple(values))


def summarise(
    measured: Mapping[ScoreName, Sequence[dict[str, Any]]],
) -> tuple[Score, ...]:
    """Scores with mean and spread over their repeats.

    Args:
        measured: Name to `quarterturn.metrics.classification.classification_metrics`, one for
            each seed and draw.
    """
    return tuple(
        Score(
            **asdict(name),
            measures={
                m: statistic([metrics[m] for metrics in repeats]) for m in measures_in(repeats[0])
            },
            repeats=tuple(repeats),
        )
        for name, repeats in measured.items()
    )


def merged(earlier: Iterable[Score], later: Iterable[Score]) -> tuple[Score, ...]:
    """All scores; of two of one name the later one, in the earlier one's place."""
    by_name = {score.name: score for score in earlier}
    by_name.update((score.name, score) for score in later)
    return tuple(by_name.values())
