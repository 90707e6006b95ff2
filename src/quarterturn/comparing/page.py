"""The page of runs side by side: tables and curves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from quarterturn.comparing.groups import Group
from quarterturn.pages.comparison_curves import comparison_curves, run_curves
from quarterturn.pages.few_shot_curve import FewShotLine, few_shot_curve, few_shot_line
from quarterturn.pages.figures import Figure
from quarterturn.pages.glossary import glossary
from quarterturn.pages.learning_curve import RunPoints, learning_curves
from quarterturn.pages.page import ComparisonPage
from quarterturn.pages.tables import Table
from quarterturn.runs import Run
from quarterturn.runs.comparison_records import GroupStatistic
from quarterturn.runs.records import first_measure, images_per_class
from quarterturn.wording import counted


def comparison_page(
    groups: Sequence[Group],
    protocols: dict[str, dict[str, object]],
    tables: Sequence[Table],
    notes: Sequence[str],
) -> ComparisonPage:
    """What the page says.

    Args:
        groups: Runs that differ only in their seed.
        protocols: Short hash to protocol.
        tables: Scores by protocol, and the trainings.
        notes: What was left out, a line each.
    """
    runs = sum(len(group.runs) for group in groups if group.origin == "trained")
    return ComparisonPage(
        title=f"Comparison of {counted(runs, 'run')}",
        date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        summary=[
            "Scores of one protocol stand in one table; those of different protocols do not "
            "compare. Runs that differ only in their seed are one group.",
        ],
        tables=tables,
        figures=[
            *_few_shot(groups, protocols),
            *_learning_curves(groups),
            *_training_curves(groups),
        ],
        words=glossary(tables),
        notes=notes,
    )


def _trained(groups: Sequence[Group]) -> list[tuple[str, Run]]:
    """The runs with the labels of their groups."""
    return [
        (group.label, probed.run)
        for group in groups
        if group.origin == "trained"
        for probed in group.runs
    ]


def _learning_curves(groups: Sequence[Group]) -> list[Figure]:
    runs = _trained(groups)
    return learning_curves([RunPoints(g, run.read_metrics("quick_probe")) for g, run in runs])


def _training_curves(groups: Sequence[Group]) -> list[Figure]:
    runs = _trained(groups)
    in_iterations = all(run.config.method.counts_iterations for _, run in runs)
    figure = comparison_curves(
        [
            run_curves(
                label,
                run.read_metrics("train"),
                run.read_metrics("diagnostics") + run.read_metrics("evaluation"),
                in_iterations=in_iterations,
            )
            for label, run in runs
        ],
        unit="iterations" if in_iterations else "epochs",
    )
    return [] if figure is None else [figure]


def _few_shot(groups: Sequence[Group], protocols: dict[str, dict[str, object]]) -> list[Figure]:
    """A figure for each protocol of few-shot classifiers: a line for each group and part."""
    figures = []
    for name, protocol in protocols.items():
        if "draws" not in protocol:
            continue
        lines: list[FewShotLine] = []
        for group in groups:
            points: dict[tuple[str, str], dict[int, GroupStatistic]] = {}
            for score in group.scores(name):
                line = points.setdefault((score.part, score.view), {})
                line[images_per_class(score.classifier)] = first_measure(score.measures)
            lines += [
                few_shot_line(
                    found,
                    label=f"{group.label}: {part}",
                    colour=f"{group.label}: {part}",
                    dotted=group.origin != "trained",
                    view=view,
                    measure="mAP" if "mean_ap" in group.scores(name)[0].measures else "top-1",
                )
                for (part, view), found in points.items()
            ]
        figures.append(few_shot_curve(lines, f"few-shot-{name}"))
    return figures
