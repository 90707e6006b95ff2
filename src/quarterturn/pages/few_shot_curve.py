"""The few-shot curve: accuracy over the number of labelled images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FuncFormatter, NullLocator, PercentFormatter

from quarterturn.pages.figures import INK, STYLE, WIDTH_INCHES, Figure, to_png
from quarterturn.pages.tables import percent
from quarterturn.runs.comparison_records import GroupStatistic
from quarterturn.runs.records import (
    ProbeResult,
    Statistic,
    features_of,
    first_measure,
    images_per_class,
)


@dataclass(frozen=True)
class FewShotLine:
    """A measure of one representation over K.

    Attributes:
        label: In the legend.
        colour: Lines that share it have one colour; an untrained backbone that of the trained one.
        dotted: Drawn dotted, as an untrained backbone is.
        view: How test images were shown; each view has a panel.
        images_per_class: Ascending K.
        mean: Of each K.
        spread: Of each K; None of a single draw.
        measure: ``top-1``, or ``mAP`` where images have several labels each.
    """

    label: str
    colour: str
    dotted: bool
    view: str
    images_per_class: list[int]
    mean: list[float | None]
    spread: list[float | None]
    measure: str = "top-1"


def lines_of_probe(result: ProbeResult) -> list[FewShotLine]:
    """A line for each part of the features and view of a probe by the protocol ``few-shot``."""
    points: dict[tuple[str, str, str], dict[int, Statistic]] = {}
    for score in result.scores:
        line = points.setdefault((score.origin, score.part, score.view), {})
        line[images_per_class(score.classifier)] = first_measure(score.measures)
    measure = "mAP" if result.has_several_labels else "top-1"
    return [
        few_shot_line(
            found,
            label=features_of(origin, part),
            colour=part,
            dotted=origin != "trained",
            view=view,
            measure=measure,
        )
        for (origin, part, view), found in points.items()
    ]


def few_shot_line(
    points: dict[int, Statistic] | dict[int, GroupStatistic],
    *,
    label: str,
    colour: str,
    dotted: bool,
    view: str,
    measure: str = "top-1",
) -> FewShotLine:
    """A line through K to top-1, or another measure."""
    found = [points[k] for k in sorted(points)]
    mean, spread = [p.mean for p in found], [p.spread for p in found]
    return FewShotLine(label, colour, dotted, view, sorted(points), mean, spread, measure)


def few_shot_curve(lines: Sequence[FewShotLine], name: str) -> Figure:
    """A measure over K: a panel for each view.

    Args:
        lines: At least one.
        name: The figure's file stem.
    """
    views = list(dict.fromkeys(line.view for line in lines))
    with matplotlib.rc_context(STYLE):
        drawing = Drawing(figsize=(WIDTH_INCHES * 1.3, 3.4))
        drawing.set_layout_engine("constrained")
        panels = drawing.subplots(1, len(views), sharey=True, squeeze=False)[0]
        for axes, view in zip(panels, views, strict=True):
            _draw(axes, [line for line in lines if line.view == view], _colours(lines))
            axes.set_title(f"{lines[0].measure}, {view} test images")
        handles, labels = panels[0].get_legend_handles_labels()
        drawing.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=2,
            frameon=False,
            fontsize=8.5,
            labelcolor=INK,
        )
        png = to_png(drawing)
    last = [
        f"{line.label} {percent(line.mean[-1])} with {line.images_per_class[-1]} a class"
        for line in lines
        if line.view == views[0] and line.mean[-1] is not None
    ]
    return Figure(
        name,
        "Few-shot",
        "A linear classifier of K labelled images of each class: the mean, and in the band one "
        "standard deviation to both sides.",
        png,
        {"lines": [asdict(line) for line in lines]},
        f"Curves of {', '.join(views)} test images. {'; '.join(last)}",
        wide=True,
    )


def _colours(lines: Iterable[FewShotLine]) -> dict[str, str]:
    colours = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
    names = dict.fromkeys(line.colour for line in lines)
    return {name: colours[i % len(colours)] for i, name in enumerate(names)}


def _draw(axes: Axes, lines: Sequence[FewShotLine], colours: dict[str, str]) -> None:
    for line in lines:
        known = [
            (k, mean, spread or 0.0)  # one draw has no spread
            for k, mean, spread in zip(line.images_per_class, line.mean, line.spread, strict=True)
            if mean is not None
        ]
        shots = [k for k, _, _ in known]
        colour = colours[line.colour]
        axes.plot(
            shots,
            [mean for _, mean, _ in known],
            color=colour,
            linestyle=":" if line.dotted else "-",
            marker="o",
            markersize=3.2,
            label=line.label,
        )
        axes.fill_between(
            shots,
            [mean - spread for _, mean, spread in known],
            [mean + spread for _, mean, spread in known],
            color=colour,
            alpha=0.12,
            linewidth=0,
        )
    axes.set_xscale("log")
    axes.set_xticks(sorted({k for line in lines for k in line.images_per_class}))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda k, _: f"{k:g}"))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.set_xlabel("labelled images of each class")
