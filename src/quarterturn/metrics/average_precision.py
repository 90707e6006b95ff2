"""Average precision: one class against the rest, by the rules of the literature.

Shapes: n examples; m of them positive.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

Rule = Literal["step", "envelope", "11-point"]

NUM_LEVELS = 11
"""Recall levels 0, 0.1, ..., 1 of the rule ``11-point``."""


class Curve(NamedTuple):
    """A precision-recall curve, from the highest score down, one point per score.

    Attributes:
        true_positives: Positives among the examples of this score or a higher one.
        predicted: All examples of this score or a higher one.
        positives: m.
    """

    true_positives: NDArray[np.int64]
    predicted: NDArray[np.int64]
    positives: int

    @property
    def recall(self) -> NDArray[np.float64]:
        """Share of the positives found at each point."""
        return self.true_positives / self.positives

    @property
    def precision(self) -> NDArray[np.float64]:
        """Share of the predicted that are positive at each point."""
        return self.true_positives / self.predicted


def average_precision(
    scores: ArrayLike,
    labels: ArrayLike,
    ignored: ArrayLike | None = None,
    rule: Rule = "step",
) -> float:
    """Average precision of one class: how well its scores put positives before negatives.

    A constant score gets the prevalence m / n: the level of chance to compare with. Of examples
    with equal scores the negatives count first, so that a mixed tie never helps.

    Args:
        scores: (n,) the higher, the more probably positive.
        labels: (n,) booleans, or 1 for positives and 0 or -1 for negatives.
        ignored: (n,) booleans; examples that count neither way, such as those that VOC marks
            "difficult". Their scores and labels may be anything.
        rule: How the precision-recall curve becomes one number. ``step``: the sum over the curve of
            precision times the step of recall, as scikit-learn's ``average_precision_score``
            (classification by fine-tuning on VOC2007). ``envelope``: the same under the envelope,
            the largest precision at this recall or a higher one (VOC since 2010, and linear SVMs on
            VOC2007). ``11-point``: the mean of the envelope at the recalls 0, 0.1, ..., 1 (VOC
            until 2009; Everingham et al., IJCV 2010).

    Raises:
        ValueError: Shapes differ, a score is NaN, a label is something else, the rule is not known,
            or there are no positives, for which average precision is not defined.
    """
    values, targets = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if values.ndim != 1 or values.shape != targets.shape:
        raise ValueError(
            f"scores and labels must be (n,) alike, found {values.shape} and {targets.shape}"
        )
    if ignored is not None:
        mask = np.asarray(ignored)
        if mask.shape != values.shape or mask.dtype != bool:
            raise ValueError(
                f"ignored must be {values.shape} booleans, found {mask.shape} of {mask.dtype}"
            )
        values, targets = values[~mask], targets[~mask]
    if not np.isin(targets, (-1, 0, 1)).all():
        found = np.setdiff1d(targets, (-1, 0, 1)).tolist()[:5]
        raise ValueError(f"labels must be booleans, or 1, 0 and -1; found {found}")
    return area(precision_recall(values, targets == 1), rule)


def precision_recall(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> Curve:
    """The precision-recall curve of scores, each of which is a threshold.

    Args:
        scores: (n,) scores.
        positive: (n,) whether each is a positive.

    Raises:
        ValueError: A score is NaN, or there are no positives.
    """
    if not positive.any():
        raise ValueError(
            f"average precision needs a positive; there are none among {len(positive)} examples"
        )
    return detection_curve(scores, positive, int(positive.sum()))


def detection_curve(
    scores: NDArray[np.float64], positive: NDArray[np.bool_], positives: int
) -> Curve:
    """`precision_recall`, where some positives have no score since nothing detected them.

    Args:
        scores: (n,) scores.
        positive: (n,) whether each is a positive.
        positives: m, at least as many as are among the n.

    Raises:
        ValueError: A score is NaN.
    """
    if np.isnan(scores).any():
        raise ValueError(f"{np.isnan(scores).sum()} of {len(scores)} scores are NaN")
    order = np.lexsort((positive, -scores))  # descending; negatives first among equals
    sorted_scores, hits = scores[order], positive[order]
    # Equal scores of positives are one threshold, and so one point; a negative is a point anyway,
    # but adds nothing to the area.
    ends = np.ones(len(order), dtype=bool)
    ends[:-1] = (sorted_scores[1:] != sorted_scores[:-1]) | (hits[1:] != hits[:-1])
    predicted = np.flatnonzero(ends) + 1
    return Curve(np.cumsum(hits, dtype=np.int64)[ends], predicted, positives)


def area(curve: Curve, rule: Rule) -> float:
    """The area under a precision-recall curve by a rule of `average_precision`.

    Raises:
        ValueError: The rule is not known.
    """
    if rule not in get_args(Rule):
        raise ValueError(f"rule is {rule!r}; expected one of {', '.join(get_args(Rule))}")
    precision: NDArray[Any] = curve.precision
    if rule == "step":
        return float(np.sum(precision * np.diff(curve.recall, prepend=0)))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if rule == "envelope":
        return float(np.sum(envelope * np.diff(curve.recall, prepend=0)))
    # In whole numbers: 3 of 10 positives do reach a recall of 0.3, which floats may deny.
    levels = np.arange(NUM_LEVELS) * curve.positives
    first = np.searchsorted(curve.true_positives * (NUM_LEVELS - 1), levels)
    return float(np.append(envelope, 0)[first].mean())
