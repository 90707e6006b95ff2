"""Learning curves: the accuracy of quick probes against the images seen, of one or several runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from quarterturn.pages.comparison_curves import short
from quarterturn.pages.figures import (
    COLOURS,
    FAINT,
    INK,
    PAGE_WIDTH_INCHES,
    STYLE,
    Figure,
    to_png,
)
from quarterturn.pages.tables import percent

Lines = Sequence[dict[str, Any]]

PREFIX = "knn20_"
"""Of the accuracies in a line; PART_VIEW follows."""
VIEWS = ("upright", "turned")
PARTS = {
    "invariant": ("invariant half", COLOURS["invariance"]),
    "rotation": ("rotation half", COLOURS["rotation"]),
    "both": ("both halves", INK),
    "whole": ("whole feature", INK),
}
QUICK = "Quick, on the way; not a probe's result"
DASHES = (0, (4, 3))


def learning_curve(lines: Lines) -> Figure | None:
    """A run's accuracies, upright and turned, against images seen (below) and epochs (above).

    Args:
        lines: The ``quick_probe`` lines of metrics.jsonl.

    Returns:
        None where nothing was probed.
    """
    if not lines:
        return None
    seen = [line["images_seen"] for line in lines]
    epochs = [line["epoch"] for line in lines]
    series = {key: [line.get(key) for line in lines] for key in lines[-1] if key.startswith(PREFIX)}
    chance = lines[-1]["chance"]
    with matplotlib.rc_context(STYLE):
        drawing = Drawing(figsize=(PAGE_WIDTH_INCHES, 2.9))
        drawing.set_layout_engine("constrained", h_pad=0.08, w_pad=0.08)
        panels = drawing.subplots(1, 2, sharey=True)
        for view, axes in zip(VIEWS, panels, strict=True):
            for part, (label, colour) in PARTS.items():
                if (values := series.get(f"{PREFIX}{part}_{view}")) is not None:
                    _points(axes, seen, values, colour, label=label)
            _finish(axes, view, chance)
            _epochs_above(axes, seen[-1] / max(1, epochs[-1]))
        handles, labels = panels[0].get_legend_handles_labels()
        drawing.legend(
            handles, labels, loc="outside lower left", ncols=4, frameon=False, fontsize=8.5
        )
        png = to_png(drawing)
    last = ", ".join(f"{_words(key)} {_show(values[-1])}" for key, values in series.items())
    return Figure(
        "learning_curve",
        "Learning curve",
        f"{QUICK}: kNN-20 of {lines[-1].get('of', 'labelled images')}. The dashed line is what "
        "guessing gives.",
        png,
        {"images_seen": seen, "epochs_done": epochs, "chance": chance, **series},
        f"Accuracy over {seen[-1]:,} images seen. At the end: {last}; guessing {percent(chance)}",
        wide=True,
    )


@dataclass(frozen=True)
class RunPoints:
    """The quick probes of a run among others.

    Attributes:
        group: Label of the group that the run is of.
        lines: Its ``quick_probe`` lines.
    """

    group: str
    lines: Lines


def learning_curves(runs: Sequence[RunPoints]) -> list[Figure]:
    """The curves of several runs against images seen: a figure for each set of labelled images.

    Args:
        runs: The runs; those that were not probed on the way are left out.
    """
    by_images: dict[str, list[RunPoints]] = {}
    for run in runs:
        if run.lines:
            by_images.setdefault(str(run.lines[-1].get("images")), []).append(run)
    return [
        _curves_of(together, "learning_curves" if i == 0 else f"learning_curves-{i + 1}")
        for i, together in enumerate(by_images.values())
    ]


def _curves_of(runs: Sequence[RunPoints], name: str) -> Figure:
    """One figure: a row for the part that is learned to be used, and one for the whole feature."""
    groups = list(dict.fromkeys(run.group for run in runs))
    palette = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
    colours = {group: palette[i % len(palette)] for i, group in enumerate(groups)}
    has_halves = any(f"{PREFIX}invariant_upright" in run.lines[-1] for run in runs)
    rows = ["invariant", "both"] if has_halves else ["whole"]
    chance = runs[0].lines[-1]["chance"]
    drawn: list[dict[str, Any]] = []
    with matplotlib.rc_context(STYLE):
        size = (PAGE_WIDTH_INCHES, 2.2 * len(rows) + 0.2 * len(groups) + 0.3)
        drawing = Drawing(figsize=size)
        drawing.set_layout_engine("constrained", h_pad=0.08, w_pad=0.08)
        panels = drawing.subplots(len(rows), 2, sharey=True, squeeze=False)
        for row, of_row in zip(rows, panels, strict=True):
            for view, axes in zip(VIEWS, of_row, strict=True):
                for run in runs:
                    # A feature without halves stands beside the half and beside both of others.
                    part = row if f"{PREFIX}{row}_{view}" in run.lines[-1] else "whole"
                    seen = [line["images_seen"] for line in run.lines]
                    values = [line.get(f"{PREFIX}{part}_{view}") for line in run.lines]
                    _points(axes, seen, values, colours[run.group])
                    about = {"group": run.group, "part": part, "view": view}
                    drawn.append({**about, "images_seen": seen, "accuracy": values})
                _finish(axes, f"{_row_words(row, has_halves)}, {view}", chance)
        drawing.legend(
            [Line2D([], [], color=colours[group]) for group in groups],
            [short(group) for group in groups],
            loc="outside lower left",
            frameon=False,
            fontsize=8.5,
            labelcolor=INK,
        )
        png = to_png(drawing)
    of = runs[0].lines[-1].get("of", "labelled images")
    return Figure(
        name,
        "Learning curves",
        f"{QUICK}: kNN-20 of {of}. A line for each run; runs that differ only in their seed share "
        "a colour. The dashed line is what guessing gives.",
        png,
        {"chance": chance, "curves": drawn},
        f"Accuracy of {len(runs)} runs in {len(groups)} groups over the images seen",
        wide=True,
    )


def _row_words(row: str, has_halves: bool) -> str:
    if not has_halves:
        return "whole feature"
    return "invariant half (else whole)" if row == "invariant" else "whole feature"


def _points(
    axes: Axes, seen: list[int], values: list[float | None], colour: Any, label: str | None = None
) -> None:
    known = [(x, y) for x, y in zip(seen, values, strict=True) if y is not None]
    axes.plot(
        [x for x, _ in known],
        [y for _, y in known],
        color=colour,
        marker="o",
        markersize=3.2,
        label=label,
    )


def _finish(axes: Axes, title: str, chance: float) -> None:
    axes.axhline(chance, color=FAINT, linewidth=1, linestyle=DASHES, label="guessing")
    axes.set_title(f"kNN-20, {title}")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("images seen")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))


def _epochs_above(axes: Axes, images_per_epoch: float) -> None:
    def epochs_of(seen: Any) -> Any:
        return seen / images_per_epoch

    def seen_in(epochs: Any) -> Any:
        return epochs * images_per_epoch

    above = axes.secondary_xaxis("top", functions=(epochs_of, seen_in))
    above.set_xlabel("epochs")
    above.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))


def _words(key: str) -> str:
    part, _, view = key.removeprefix(PREFIX).rpartition("_")
    return f"{PARTS[part][0] if part in PARTS else part} {view}"


def _show(value: float | None) -> str:
    return "not measured" if value is None else percent(value)
