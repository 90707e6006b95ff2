"""What each figure of merit means, in one plain sentence."""

from __future__ import annotations

from dataclasses import dataclass

from quarterturn.report.tables import number, percent


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


METHODS = {
    "decoupling": (
        "rotation feature decoupling",
        "one half of each feature learns which way an image is turned, the other half learns to "
        "ignore the turn and to tell images apart",
    ),
    "rotnet": ("rotation prediction (RotNet)", "the features learn which way an image is turned"),
    "instance": (
        "instance discrimination",
        "the features learn to tell images apart; nothing is turned",
    ),
}
"""What is learned, by method: a name, and a sentence's end."""

PARTS = {
    "rotation": "rotation half",
    "invariant": "invariant half",
    "both": "both halves",
    "whole": "whole feature",
}
"""How a part of the features is called on the page."""


def measures(values: dict[str, float], embedding_dim: int) -> list[Measure]:
    """The last diagnostics, each with its meaning; those that were not measured are left out.

    Args:
        values: A ``diagnostics`` line of metrics.jsonl.
        embedding_dim: E, the most directions that the embeddings can use.
    """
    known = [
        (
            "rotation_accuracy", percent, "Rotation accuracy", "rotation",
            "How often the network names the quarter turn of a held-out image, each shown in all "
            "four; guessing gives 25 %.",
        ),
        (
            "leakage_fresh_head", percent, "Turn left in the invariant half", "invariant",
            "How often a new classifier, trained for just this, still reads the turn off the "
            "invariant half; at 25 % nothing of the turn is left in it.",
        ),
        (
            "leakage_same_head", percent, "Turn left, by the same head", "invariant",
            "The paper's milder test: the network's own rotation classifier, applied to the "
            "invariant half; at 25 % it finds nothing.",
        ),
        (
            "spread", number, "Spread", "",
            "How far apart the embeddings of different images lie: 0 when all have become one "
            "(collapse), 1 when they are spread evenly.",
        ),
        (
            "effective_rank", lambda rank: f"{rank:.1f} of {embedding_dim}", "Effective rank", "",
            "How many independent directions the embeddings make use of.",
        ),
    ]  # fmt: skip
    return [
        Measure(name, show(values[key]), meaning, part)
        for key, show, name, part, meaning in known
        if values.get(key) is not None
    ]


def glossary(*, decoupled: bool, has_tables: bool) -> list[tuple[str, str]]:
    """The words that a reader of this page will meet, each with one sentence."""
    words = []
    if decoupled:
        words += [
            (
                "rotation half",
                "The first half of a feature; it is trained to know which way the image is turned, "
                "so it changes when the image turns.",
            ),
            (
                "invariant half",
                "The second half of a feature; it is trained to stay the same however the image is "
                "turned, so it says what is in the picture and not which way is up.",
            ),
        ]
    else:
        words.append(
            ("whole feature", "All the numbers that the network gives for an image, undivided.")
        )
    words.append(
        (
            "turned",
            "The image, taken upright while learning a classifier, is shown to it after a random "
            "number of quarter turns; the classifier was never told that this would happen.",
        )
        if has_tables
        else ("turned", "Shown after a number of quarter turns, counter-clockwise.")
    )
    if has_tables:
        words += [
            (
                "kNN",
                "Each test image takes the class that prevails among its k nearest training images "
                "by cosine; nothing is trained, so it shows how well the features sort as they "
                "are.",
            ),
            (
                "linear",
                "A linear classifier is trained on the frozen features; it shows what a user with "
                "labels could read off them.",
            ),
        ]
    words.append(
        (
            "cosine",
            "How alike two features are: 1 when they point the same way, 0 when they have nothing "
            "in common.",
        )
    )
    return words
