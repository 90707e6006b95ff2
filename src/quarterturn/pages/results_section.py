"""The second part of a page: how well the network works."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quarterturn.pages.classifier_tables import classes_table, figures_table
from quarterturn.pages.confusion import class_bars, confusion_matrix
from quarterturn.pages.detection_tables import detection_table
from quarterturn.pages.few_shot_curve import few_shot_curve, lines_of_probe
from quarterturn.pages.figures import Figure, load_figure
from quarterturn.pages.images_section import SUMMARY
from quarterturn.pages.measures import (
    Measure,
    classifier_measures,
    detection_measures,
    out_of_fold_measures,
    probe_measures,
    rotation_measures,
)
from quarterturn.pages.page import ResultsSection
from quarterturn.pages.precision_recall import precision_recall_curves
from quarterturn.pages.probe_tables import is_few_shot, tables_of
from quarterturn.pages.tables import Table
from quarterturn.runs import RESULTS, Run
from quarterturn.runs.classifier_results import read_classifier_result
from quarterturn.runs.detection_records import DETECTION, read_detection_result
from quarterturn.runs.probes import latest_results
from quarterturn.runs.records import ProbeResult

RELIABILITY = "reliability"
HELD_OUT = "Rotation is measured on held-out images, without labels, after the last epoch."


def results_section(run: Run, diagnostics: Sequence[dict[str, Any]]) -> ResultsSection:
    """The section of a run's page.

    Args:
        run: The run.
        diagnostics: Its ``diagnostics`` lines.
    """
    if run.kind == "upright":
        return _of_upright(run)
    measures = rotation_measures(diagnostics[-1] if diagnostics else {})
    measured = HELD_OUT if measures else ""
    tables, figures = [], []
    if run.kind == "detect" and (run.path / DETECTION).exists():
        return _of_detector(run)
    if run.kind == "finetune" and (run.path / RESULTS).exists():
        result = read_classifier_result(run.path)
        measures = classifier_measures(result)
        tables += [figures_table(result), classes_table(result)]
        figures += [] if "mean_ap" in result.figures else [confusion_matrix(result)]
        figures.append(class_bars(result))
    elif "table" in (stored := run.read_json(RESULTS)):  # of the demonstration
        tables.append(Table.from_dict(stored["table"]))
    of_probes = [_of_probe(*found) for found in latest_results(run).items()]
    for some_measures, some_tables, some_figures in of_probes:
        measures += some_measures
        tables += some_tables
        figures += some_figures
    return ResultsSection(measured, measures, tables, figures)


def solved_words(run: Run) -> str | None:
    """How the classifier of a run was solved, in sentences; None where it was trained."""
    if run.kind != "finetune" or not (run.path / RESULTS).exists():
        return None
    solution = read_classifier_result(run.path).solution
    if solution is None:
        return None
    return (
        "Its classifier was solved, not trained: logistic regression on the frozen features "
        f"{solution.regression}. So there are no epochs and no curves."
    )


def _of_detector(run: Run) -> ResultsSection:
    result = read_detection_result(run.path)
    shown = [load_figure(run.figures, name) for name in ("best-images", "worst-images")]
    return ResultsSection(
        f"Objects are found in {result.test_images:,} test images, after the last iteration.",
        detection_measures(result),
        [detection_table(result)],
        [precision_recall_curves(result), *(figure for figure in shown if figure is not None)],
    )


def _of_probe(name: str, result: ProbeResult) -> tuple[list[Measure], list[Table], list[Figure]]:
    if is_few_shot(result):
        return [], tables_of(result), [few_shot_curve(lines_of_probe(result), name)]
    return probe_measures(result), tables_of(result), []


def _of_upright(run: Run) -> ResultsSection:
    summary = run.read_json(SUMMARY)
    in_use = summary.get("in_use")  # runs of the first version did not keep it
    figure = load_figure(run.figures, RELIABILITY)
    return ResultsSection(
        "Each image was scored by a network that has not seen it, without labels.",
        [] if in_use is None else out_of_fold_measures(in_use),
        [Table.from_dict(table) for table in summary["tables"][:1]],
        [] if figure is None else [figure],
    )
