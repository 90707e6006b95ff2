"""Figures of merit as a page shows them, each with its meaning in a plain sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from quarterturn.pages.tables import number, percent
from quarterturn.runs.classifier_results import ClassifierResult
from quarterturn.runs.detection_records import DetectionResult
from quarterturn.runs.records import ProbeResult


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
    "with-start": "invariant half with the start's feature",
}
"""How a part of the features is called on the page."""


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
    measure = "mean_ap" if result.has_several_labels else "top1"
    how = {
        "upright": "Mean over the classes of the average precision on upright test images",
        "turned": "The same for test images shown after a random quarter turn",
    }
    how = (
        how
        if result.has_several_labels
        else {
            "upright": "Share of upright test images whose class is right",
            "turned": "The same for test images shown after a random quarter turn",
        }
    )
    return [
        Measure(
            f"{score.classifier}, {score.view}",
            _percent(score.measures[measure].mean),
            f"{how[score.view]}, by the {PARTS[score.part]}, on {result.name}.",
            score.part if score.part == "invariant" else "",
        )
        for score in found
        if score.classifier == found[0].classifier
    ]


def classifier_measures(result: ClassifierResult) -> list[Measure]:
    """The figures of a classifier's test."""
    figures = result.figures
    if "mean_ap" in figures:
        worst = figures["worst_class_name"]
        chance = figures["prevalence"].get(worst, 0.0)
        return [
            Measure(
                "mAP",
                _percent(figures["mean_ap"]),
                f"Mean over the classes of the average precision on {figures['n']:,} test images: "
                "1 where every image with the class has a higher score than every one without.",
            ),
            Measure(
                "Worst class",
                _percent(figures["worst_class"]),
                f"The lowest average precision of a class, that of {worst}; guessing gives "
                f"{percent(chance)}.",
            ),
        ]
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


def detection_measures(result: DetectionResult) -> list[Measure]:
    """The figures of a detector's test."""
    return [
        Measure(
            "mean AP, 11 points",
            percent(result.mean_ap_11_point),
            f"Mean over {len(result.classes)} classes of the average precision at an IoU above "
            f"{result.iou:g}, by the rule of VOC2007: the best precisions at 11 recalls.",
        ),
        Measure(
            "mean AP, area",
            percent(result.mean_ap_area),
            "The same by the rule since VOC2010: the area under the envelope of the curve.",
        ),
    ]


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


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else percent(fraction)
