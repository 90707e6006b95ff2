"""The words that a page uses, each with its meaning in a plain sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from quarterturn.pages.measures import Measure
from quarterturn.pages.tables import Table

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
        r".*\bnot adapted",
        "pretrained, not adapted",
        "The network that the training began with, as it was: what adapting it has to beat.",
    ),
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
    (
        r"ap$|map$",
        "average precision",
        "How well the scores of a class put the images that have it before those that have not: "
        "100\u00a0% where all of them come first, the prevalence for guesses; mAP is the mean over "
        "the classes.",
    ),
    (
        r"prevalence",
        "prevalence",
        "Share of the test images that have the class.",
    ),
    (r"balanced", "balanced", "Mean of the classes' accuracies: every class counts the same."),
    (r"worst class", "worst class", "The lowest accuracy, or average precision, of a class."),
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
