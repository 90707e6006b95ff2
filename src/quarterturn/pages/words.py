"""What figures, parts and words of a page mean, each in a plain sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from quarterturn.pages.tables import Table, number, percent
from quarterturn.runs.records import ClassifierResult, ProbeResult


@dataclass(frozen=True)
class Measure:
    """A figure of merit as the page shows it.

    Attributes:
        name: What is measured.
        value: The figure, formatted.
        meaning: One sentence for whoever has not met it before.
        part: ``rotation`` or ``invariant`` where it speaks of that half; it is coloured so.
    """

    name: str
    value: str
    meaning: str
    part: str = ""


PARTS = {
    "rotation": "rotation half",
    "invariant": "invariant half",
    "both": "both halves",
    "whole": "whole feature",
}
"""How a part of the features is called on the page."""

BARS = (
    "The bars are the probabilities that the image looks upright as it is stored, and after a "
    "turn by 90°, 180° and 270°, counter-clockwise. The coloured bar is the image as it is stored "
    "or, if it is probably stored turned, the turn that brings it upright."
)
"""How to read what stands beneath each image of an upright run."""


def rotation_measures(diagnostics: dict[str, Any]) -> list[Measure]:
    """How well a network knows which way up held-out images are; empty where it was not asked.

    Args:
        diagnostics: A ``diagnostics`` line of metrics.jsonl.
    """
    accuracy = diagnostics.get("rotation_accuracy")
    if accuracy is None:
        return []
    meaning = (
        "How often the network predicts the quarter turn of a held-out image, shown in all four; "
        "guessing gives 25\u00a0%."
    )
    return [Measure("Rotation accuracy", percent(accuracy), meaning, "rotation")]


def feature_measures(diagnostics: dict[str, Any], embedding_dim: int) -> list[Measure]:
    """What the training did to the features; what was not measured is left out.

    Args:
        diagnostics: A ``diagnostics`` line of metrics.jsonl.
        embedding_dim: E, the most directions that the embeddings can use.
    """
    known = [
        (
            "leakage_fresh_head",
            percent,
            "Leakage, new head",
            "invariant",
            "How often a new classifier, trained only for this, still reads the turn off the "
            "invariant half; at 25\u00a0% nothing of the turn is left in it.",
        ),
        (
            "leakage_same_head",
            percent,
            "Leakage, same head",
            "invariant",
            "The paper's milder test: the network's own rotation classifier, applied to the "
            "invariant half; at 25\u00a0% it finds nothing.",
        ),
        (
            "spread",
            number,
            "Spread",
            "",
            "How far apart the embeddings of different images lie: 0 when all have become one "
            "(collapse), 1 when they are spread evenly.",
        ),
        (
            "effective_rank",
            lambda rank: f"{rank:.1f} of {embedding_dim}",
            "Effective rank",
            "",
            "How many independent directions the embeddings use.",
        ),
    ]
    return [
        Measure(name, show(diagnostics[key]), meaning, part)
        for key, show, name, part, meaning in known
        if diagnostics.get(key) is not None
    ]


def probe_measures(result: ProbeResult) -> list[Measure]:
    """The headline of a probe: its first classifier on the part that is meant for use."""
    trained = [score for score in result.scores if score.origin == "trained"]
    parts = [score.part for score in trained]
    part = next((part for part in ("invariant", "whole", "both") if part in parts), None)
    found = [score for score in trained if score.part == part]
    if not found:
        return []
    how = {
        "upright": "Share of upright test images whose class is right",
        "turned": "The same for test images shown after a random quarter turn",
    }
    return [
        Measure(
            f"{score.classifier}, {score.view}",
            "-" if score.measures["top1"].mean is None else percent(score.measures["top1"].mean),
            f"{how[score.view]}, by the {PARTS[score.part]}, on {result.name}.",
            score.part if score.part == "invariant" else "",
        )
        for score in found
        if score.classifier == found[0].classifier
    ]


def classifier_measures(result: ClassifierResult) -> list[Measure]:
    """The figures of a classifier's test."""
    figures = result.figures
    measures = [
        Measure(
            "Accuracy",
            percent(figures["top1"]),
            f"Share of the {figures['n']:,} test images whose class is right.",
        ),
        Measure(
            "Balanced accuracy",
            percent(figures["balanced"]),
            "Mean of the classes' accuracies: rare classes count as much as frequent ones.",
        ),
        Measure(
            "Worst class",
            percent(figures["worst_class"]),
            f"The lowest accuracy of a class: that of {figures['worst_class_name']}.",
        ),
    ]
    if (error := figures.get("calibration_error")) is not None:
        meaning = "Mean gap between how sure the classifier is and how often it is right."
        measures.append(Measure("Calibration error", percent(error), meaning))
    return measures


def upright_measures(scores: dict[str, Any]) -> list[Measure]:
    """The figures of a collection that an upright run has scored.

    Args:
        scores: Of `quarterturn.orientation.upright_tables.collection_scores`.
    """
    turned = scores["turn_to_upright"]
    by_turn = ", ".join(f"{count:,} after {degrees}°" for degrees, count in turned.items())
    return [
        Measure(
            "No clear up",
            percent(scores["agnostic_share"]),
            f"Images whose turned copies look as upright as they do: a score of "
            f"{scores['threshold']} or more.",
        ),
        Measure(
            "Mean score",
            number(scores["agnostic"]),
            "From 0, the rotation of every copy is sure, to 1, each copy may be turned in any way.",
        ),
        Measure(
            "Mean half-turn score",
            number(scores["half_turn"]),
            "Above 0 where images look more upright after a half turn than after a quarter turn.",
        ),
        Measure(
            "Probably stored turned",
            f"{sum(turned.values()):,}",
            f"Images that a turn, counter-clockwise, would bring upright: {by_turn}.",
        ),
    ]


def out_of_fold_measures(in_use: dict[str, Any]) -> list[Measure]:
    """How far the networks of an upright run can be trusted.

    Args:
        in_use: Of `quarterturn.orientation.upright_tables.measure_variant`, out of fold.
    """
    return [
        Measure(
            "Rotation accuracy",
            percent(in_use["rotation_accuracy"]),
            "How often the quarter turn of a copy is predicted by a network that has not seen the "
            "image; guessing gives 25\u00a0%.",
            "rotation",
        ),
        Measure(
            "Calibration error",
            percent(in_use["calibration_error"]),
            "Mean gap between how sure the networks are and how often they are right.",
        ),
    ]


_TERMS = [
    (
        r"knn-\d+|knn",
        "kNN",
        "Each test image takes the class that prevails among its k nearest training images by "
        "cosine; nothing is trained, so it shows how well the features sort as they are.",
    ),
    (
        r"few-shot",
        "few-shot",
        "A linear classifier trained on K labelled images of each class.",
    ),
    (
        r"linear",
        "linear",
        "A linear classifier is trained on the frozen features; it shows what someone with labels "
        "could read off them.",
    ),
    (
        r"turned",
        "turned",
        "Test images are shown after a random number of quarter turns, to classifiers that were "
        "trained on upright images only unless their row says otherwise.",
    ),
    (
        r"finds itself",
        "finds itself",
        "How often a turned test image is nearest to its own upright view, among those of all test "
        "images; it needs no labels.",
    ),
    (
        r"rotation accuracy|rotation$",
        "rotation accuracy",
        "How often the quarter turn of an image is predicted; guessing gives 25\u00a0%.",
    ),
    (
        r".*\binvariant",
        "invariant half",
        "The second half of a feature, trained to stay the same however the image is turned: it "
        "says what is in the picture and not which way is up.",
    ),
    (
        r".*\brotation half|.*: rotation",
        "rotation half",
        "The first half of a feature, trained to know which way the image is turned.",
    ),
    (r".*\bpixels", "raw pixels", "The image itself as the feature: what training has to beat."),
    (
        r".*\buntrained",
        "untrained",
        "The network with random weights: what the architecture itself is worth.",
    ),
    (
        r".*\bsupervised",
        "supervised",
        "The same network trained with the labels: what one may hope for at best.",
    ),
    (r"top-1", "top-1", "Share of the test images whose class is right."),
    (r"balanced", "balanced", "Mean of the classes' accuracies: every class counts the same."),
    (r"worst class", "worst class", "The lowest accuracy of a class."),
    (r"sd classes", "sd classes", "Standard deviation of the accuracy over the classes."),
    (r"sd groups", "sd groups", "Standard deviation of the accuracy over many, medium and few."),
    (r"many$", "many", "Classes with many training images; the note says how many."),
    (r"medium$", "medium", "Classes with neither many nor few training images."),
    (r"few$", "few", "Classes with few training images; the note says how few."),
    (
        r"calibration error",
        "calibration error",
        "Predictions are sorted into 15 bins by confidence; the error is the gap between the "
        "confidence and the share that is right, averaged over the predictions.",
    ),
    (
        r"leakage",
        "leakage",
        "What is still known of the turn in the half of the features that should ignore it; 25 is "
        "chance.",
    ),
    (r"spread", "spread", "How far apart embeddings lie: 0 is a collapse, 1 is even."),
    (
        r"effective rank",
        "effective rank",
        "How many independent directions the embeddings use.",
    ),
    (
        r"nll",
        "nll",
        "Negative log-likelihood: the mean of minus the logarithm of the true turn's probability. "
        "It punishes confident mistakes; less is better.",
    ),
    (
        r"(mean )?no clear up|mean score",
        "no clear up",
        "Turned copies of the image look upright too, as those of a texture, a satellite picture "
        "or a ball. The score is the entropy of what is predicted for the four copies, as a share "
        "of the greatest one possible.",
    ),
    (
        r"(mean )?half-turn",
        "half-turn score",
        "High for what is nearly the same upside down: stripes, chequers, an 8.",
    ),
    (
        r"probably turned|probably stored turned|upright after",
        "probably stored turned",
        "A turned copy probably looks upright, and the image as it is stored does not. It is a "
        "guess: look before you turn.",
    ),
    (
        r"in fold",
        "in fold",
        "Scored by a network that was trained on the image itself: surer and more often right than "
        "it would be on a new one.",
    ),
    (
        r".*out of fold",
        "out of fold",
        "The images are split in folds, exact copies together. Each fold is scored by a network "
        "that was trained on the others, so that nothing is known by heart.",
    ),
    (
        r"stopped early",
        "stopped early",
        "The network is taken from the epoch at which it predicted the rotation of validation "
        "images best, not from the last one.",
    ),
    (
        r"temperature",
        "temperature",
        "A number that the networks' outputs are divided by, so that they are as sure as they are "
        "right on validation images.",
    ),
]
"""Expression for the beginning of a heading, the word as the glossary has it, its meaning."""


def meaning_of(text: str) -> str | None:
    """The meaning of a heading, or of the name of a row; None for everyday words."""
    return next((meaning for _, meaning in _found([text])), None)


def glossary(tables: Iterable[Table], measures: Sequence[Measure] = ()) -> list[tuple[str, str]]:
    """The words that a reader of the tables will meet, each with its meaning.

    Args:
        tables: Those on the page: headings and the first cell of each row count.
        measures: Figures that explain themselves, whose words are left out.
    """
    texts = [
        text
        for table in tables
        for text in [*table.columns, *(str(row[0]) for row in table.rows if row)]
    ]
    explained = {measure.name.lower() for measure in measures}
    return [(word, meaning) for word, meaning in _found(texts) if word not in explained]


def _found(texts: Sequence[str]) -> Iterable[tuple[str, str]]:
    lowered = [text.lower() for text in texts]
    for expression, word, meaning in _TERMS:
        if any(re.match(expression, text) for text in lowered):
            yield word, meaning
