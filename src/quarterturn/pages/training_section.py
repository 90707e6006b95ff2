"""The last part of a page: how the network was trained, folded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from quarterturn.pages.images_section import SUMMARY
from quarterturn.pages.learning_curve import learning_curve
from quarterturn.pages.measures import feature_measures
from quarterturn.pages.page import TrainingSection
from quarterturn.pages.tables import Cell, Table, number
from quarterturn.pages.training_curves import diagnostic_curves, evaluation_curves, loss_curves
from quarterturn.progress import duration
from quarterturn.runs import Run
from quarterturn.runs.facts import Facts
from quarterturn.runs.phases import phase_rows

Lines = Sequence[dict[str, Any]]


def training_section(run: Run, facts: Facts, train: Lines, diagnostics: Lines) -> TrainingSection:
    """The section of a run's page.

    Args:
        run: The run.
        facts: What its command found.
        train: Its ``train`` lines.
        diagnostics: Its ``diagnostics`` lines.
    """
    figures = [
        loss_curves([*train], in_iterations=run.config.method.counts_iterations),
        learning_curve(run.read_metrics("quick_probe")),
        diagnostic_curves([*diagnostics]),
        evaluation_curves(run.read_metrics("evaluation")),
    ]
    last = diagnostics[-1] if diagnostics else {}
    phases: list[list[Cell]] = [[*row] for row in phase_rows(run.config, run.phases)]
    return TrainingSection(
        tables=[Table("Phases", ["epochs", "schedule", "asked for"], phases)] if phases else [],
        measures=feature_measures(last, getattr(run.config.method, "embedding_dim", 0)),
        figures=[figure for figure in figures if figure is not None],
        times=_times_of_folds(run) if run.kind == "upright" else _times(run, train),
        settings=run.config.to_dict(),
        environment=run.read_json("environment.json"),
        command=facts.command,
    )


def _times(run: Run, train: Lines) -> list[tuple[str, str]]:
    if not train:
        return []
    # The first line includes the warm-up: its pace is lower than the rest's.
    paces = sorted(line["images_per_s"] for line in train[1:] or train)
    words = run.config.method.views_in_words
    views = f", {words}" if words else ""
    return [
        ("training, diagnostics included", duration(train[-1]["elapsed_s"])),
        ("steps", f"{train[-1]['step'] + 1:,}"),
        ("images a second", f"{_pace(paces[len(paces) // 2])}{views} (median)"),
    ]


def _pace(images_per_s: float) -> str:
    """Whole images a second, or two digits of a few."""
    return f"{images_per_s:,.0f}" if images_per_s >= 10 else f"{images_per_s:.2g}"


def _times_of_folds(run: Run) -> list[tuple[str, str]]:
    times = []
    if in_use := run.read_json(SUMMARY).get("in_use"):
        words = f"{in_use['name']}, {number(in_use['temperature'])}"
        times.append(("views and temperature", words))
    folds = [replace(run, path=run.path / f"fold-{k}") for k in range(run.config.upright.folds)]
    validation = [fold.read_metrics("validation") for fold in folds]
    if all(validation):
        seconds = sum(lines[-1]["elapsed_s"] for lines in validation)
        best = [min(lines, key=lambda line: line["loss"])["epoch"] for lines in validation]
        times += [
            ("training of the networks, validation included", duration(seconds)),
            ("epochs trained", ", ".join(str(lines[-1]["epoch"]) for lines in validation)),
            ("epoch used", ", ".join(map(str, best))),
        ]
    return times
