"""What each figure of merit means, in one plain sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from quarterturn.pages.tables import Table, number, percent


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


def measures(values: dict[str, float], embedding_dim: int) -> list[Measure]:
    """The last diagnostics, each with its meaning; those that were not measured are left out.

    Args:
        values: A ``diagnostics`` line of metrics.jsonl.
        embedding_dim: E, the most directions that the embeddings can use.
    """
    known = [
        (
            "rotation_accuracy",
            percent,
            "Rotation accuracy",
            "rotation",
            "How often the network names the quarter turn of a held-out image, each shown in all "
            "four; guessing gives 25\u00a0%.",
        ),
        (
            "leakage_fresh_head",
            percent,
            "Leakage, new head",
            "invariant",
            "How often a new classifier, trained for just this, still reads the turn off the "
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
            "How many independent directions the embeddings make use of.",
        ),
    ]
    return [
        Measure(name, show(values[key]), meaning, part)
        for key, show, name, part, meaning in known
        if values.get(key) is not None
    ]


def glossary(*, decoupled: bool, tables: Sequence[Table]) -> list[tuple[str, str]]:
    """The words that a reader of the page will meet, each with its meaning.

    Args:
        decoupled: Whether the features have two halves.
        tables: Those on the page; a word that only tables use is explained where one does.
    """
    columns = " ".join(c for table in tables for c in table.columns).lower()
    rows = " ".join(str(row[0]) for table in tables for row in table.rows if row).lower()
    tells_turned = "turned" in columns and ("knn" in columns or "linear" in columns)
    halves, whole, turned, probed = _FEATURES[:2], _FEATURES[2], _TURNED[0], _TURNED[1]
    words = [*(halves if decoupled else [whole]), probed if tells_turned else turned]
    words += [word for sought, word in _IN_COLUMNS if sought in columns]
    words += [word for sought, word in _IN_ROWS if sought in rows]
    return [*words, _COSINE]


_FEATURES = [
    (
        "rotation half",
        "The first half of a feature; it is trained to know which way the image is turned, so it "
        "changes when the image turns.",
    ),
    (
        "invariant half",
        "The second half of a feature; it is trained to stay the same however the image is turned, "
        "so it says what is in the picture and not which way is up.",
    ),
    ("whole feature", "All the numbers that the network gives for an image, undivided."),
]
_TURNED = [
    ("turned", "Shown after a number of quarter turns, counter-clockwise."),
    (
        "turned",
        "Test images are shown after a random number of quarter turns, to classifiers that have "
        "learned from upright images alone unless their row says otherwise.",
    ),
]
_IN_COLUMNS = [
    (
        "knn",
        (
            "kNN",
            "Each test image takes the class that prevails among its k nearest training images by "
            "cosine; nothing is trained, so it shows how well the features sort as they are.",
        ),
    ),
    (
        "linear",
        (
            "linear",
            "A linear classifier is trained on the frozen features; it shows what someone with "
            "labels could read off them.",
        ),
    ),
    (
        "itself",
        (
            "finds itself",
            "How often a turned test image is nearest to its own upright view, among those of all "
            "test images; it needs no labels.",
        ),
    ),
    (
        "rotation",
        (
            "rotation",
            "How often the turn of a test image is told; guessing gives 25\u00a0%.",
        ),
    ),
]
_IN_ROWS = [
    ("pixels", ("raw pixels", "The image itself as the feature: what any training has to beat.")),
    (
        "untrained",
        ("untrained backbone", "The network with random weights: what its mere shape is worth."),
    ),
    (
        "supervised",
        ("supervised", "The same network trained with the labels: what one may hope for at best."),
    ),
]
_COSINE = (
    "cosine",
    "How alike two features are: 1 when they point the same way, 0 when they have nothing in "
    "common.",
)
