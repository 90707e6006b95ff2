"""Curves of several runs over their epochs, a panel for each measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from quarterturn.pages.figures import INK, STYLE, WIDTH_INCHES, Figure, to_png

PANELS = {
    "loss": "loss",
    "rotation_accuracy": "rotation accuracy, held out",
    "leakage_fresh_head": "leakage, new head",
    "effective_rank": "effective rank",
    "top1": "accuracy, test images",
    "balanced": "balanced accuracy, test images",
    "mean_ap": "mAP, test images",
}
"""Measures over the epochs, with the titles of their panels."""
SHARES = ("rotation_accuracy", "leakage_fresh_head", "top1", "balanced", "mean_ap")
"""Those of them that are fractions."""
LEGEND_LENGTH = 60


@dataclass(frozen=True)
class RunCurves:
    """One run's figures over its epochs.

    Attributes:
        group: Label of the group that the run is of; runs of one group share a colour.
        curves: Measure, of `PANELS`, to epochs (or iterations) done and values.
    """

    group: str
    curves: dict[str, tuple[list[float], list[float]]]


def run_curves(
    group: str,
    train: Sequence[dict[str, Any]],
    measured: Sequence[dict[str, Any]],
    *,
    in_iterations: bool = False,
) -> RunCurves:
    """The curves of a run.

    Args:
        group: Its group's label.
        train: Its ``train`` lines.
        measured: Its ``diagnostics`` or ``evaluation`` lines, whose epochs count those done.
        in_iterations: Draw the loss over the iterations, in place of the epochs.
    """
    curves: dict[str, tuple[list[float], list[float]]] = {}
    if train:
        first_epoch = train[0]["epoch"]
        steps = 1 + max(line["step"] for line in train if line["epoch"] == first_epoch)
        steps_per_unit = 1 if in_iterations else steps / (first_epoch + 1)
        done = [(line["step"] + 1) / steps_per_unit for line in train]
        curves["loss"] = done, [line["loss"] for line in train]
    for key in PANELS:
        known = [(line["epoch"], line[key]) for line in measured if line.get(key) is not None]
        if known:
            curves[key] = [epoch for epoch, _ in known], [value for _, value in known]
    return RunCurves(group, curves)


def comparison_curves(runs: Sequence[RunCurves], *, unit: str = "epochs") -> Figure | None:
    """Loss and measures of all runs; None where no run has any.

    Args:
        runs: The runs.
        unit: What their curves are drawn over.
    """
    keys = [key for key in PANELS if any(key in run.curves for run in runs)]
    if not keys:
        return None
    groups = list(dict.fromkeys(run.group for run in runs))
    palette = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
    colours = {group: palette[i % len(palette)] for i, group in enumerate(groups)}
    columns = min(2, len(keys))
    rows = -(-len(keys) // columns)
    with matplotlib.rc_context(STYLE):
        drawing = Drawing(figsize=(WIDTH_INCHES * 1.5, 2.0 * rows + 0.3 * len(groups)))
        drawing.set_layout_engine("constrained", h_pad=0.08, w_pad=0.08)
        panels = drawing.subplots(rows, columns, squeeze=False).ravel()
        for axes in panels[len(keys) :]:  # an odd number of panels leaves one empty
            axes.remove()
        for key, axes in zip(keys, panels[: len(keys)], strict=True):
            _draw(axes, key, runs, colours.__getitem__)
            axes.set_xlabel(unit)
        handles = [Line2D([], [], color=colours[group]) for group in groups]
        labels = [short(group) for group in groups]
        drawing.legend(
            handles, labels, loc="outside lower left", frameon=False, fontsize=8.5, labelcolor=INK
        )
        png = to_png(drawing)
    return Figure(
        "curves",
        f"Over the {unit}",
        "A line for each run; runs that differ only in their seed share a colour. Losses of "
        "different methods are different quantities and do not compare.",
        png,
        {"runs": [{"group": run.group, "curves": run.curves} for run in runs]},
        f"Curves of {len(runs)} runs in {len(groups)} groups: "
        + ", ".join(PANELS[key] for key in keys),
        wide=True,
    )


def _draw(axes: Axes, key: str, runs: Sequence[RunCurves], colour: Callable[[str], Any]) -> None:
    for run in runs:
        if key in run.curves:
            epochs, values = run.curves[key]
            marker = "o" if len(epochs) < 12 else ""
            axes.plot(epochs, values, color=colour(run.group), marker=marker, markersize=3)
    axes.set_title(PANELS[key])
    axes.set_xlim(left=0)
    if key in SHARES:
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))


def short(label: str) -> str:
    """A label that is not too long for a legend."""
    ellipsis = "\N{HORIZONTAL ELLIPSIS}"
    return label if len(label) <= LEGEND_LENGTH else label[: LEGEND_LENGTH - 1] + ellipsis
