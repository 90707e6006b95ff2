"""The few-shot curve: accuracy over the number of labelled images."""

from __future__ import annotations

from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FuncFormatter, NullLocator, PercentFormatter

from quarterturn.pages.figures import INK, STYLE, WIDTH_INCHES, Figure, to_png
from quarterturn.pages.tables import percent

LINE_STYLES = {"trained": "-", "untrained": ":"}


def few_shot_curve(result: dict[str, Any], name: str) -> Figure:
    """Top-1 over K, upright beside turned: a colour for each part, dotted where it is untrained.

    Args:
        result: A probe's result by the protocol ``few-shot``.
        name: The figure's file stem.
    """
    curves: dict[str, dict[str, dict[int, dict[str, Any]]]] = {}
    for key, measures in result["figures"].items():
        origin, part, classifier, view = key.split("/")
        shots = int(classifier.removeprefix("few-shot-"))
        curves.setdefault(view, {}).setdefault(f"{origin}: {part}", {})[shots] = measures["top1"]
    data = {
        view: {
            features: {
                "images_per_class": sorted(points),
                "mean": [points[k]["mean"] for k in sorted(points)],
                "spread": [points[k]["spread"] for k in sorted(points)],
            }
            for features, points in lines.items()
        }
        for view, lines in curves.items()
    }
    with matplotlib.rc_context(STYLE):
        drawing = Drawing(figsize=(WIDTH_INCHES * 1.3, 3.4))
        drawing.set_layout_engine("constrained")
        for axes, (view, lines) in zip(
            drawing.subplots(1, len(data), sharey=True, squeeze=False)[0], data.items(), strict=True
        ):
            _draw(axes, lines)
            axes.set_title(f"top-1, {view} test images")
        handles, labels = axes.get_legend_handles_labels()
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
        f"{features} {percent(line['mean'][-1])} with {line['images_per_class'][-1]} a class"
        for features, line in next(iter(data.values())).items()
    ]
    return Figure(
        name,
        "Few-shot",
        "Logistic regression on K labelled images of each class: mean over the draws, and in the "
        "band one standard deviation to both sides.",
        png,
        data,
        f"Curves of {', '.join(data)} test images. {'; '.join(last)}",
    )


def _draw(axes: Axes, lines: dict[str, dict[str, list[Any]]]) -> None:
    parts = list(dict.fromkeys(features.split(": ", 1)[1] for features in lines))
    colours = matplotlib.colormaps["tab10"].colors  # type: ignore[attr-defined]
    for features, line in lines.items():
        origin, part = features.split(": ", 1)
        colour, shots = colours[parts.index(part) % len(colours)], line["images_per_class"]
        axes.plot(
            shots,
            line["mean"],
            color=colour,
            linestyle=LINE_STYLES[origin],
            marker="o",
            markersize=3.2,
            label=features,
        )
        spread = [value or 0.0 for value in line["spread"]]  # one draw has none
        pairs = list(zip(line["mean"], spread, strict=True))
        axes.fill_between(
            shots,
            [m - s for m, s in pairs],
            [m + s for m, s in pairs],
            color=colour,
            alpha=0.12,
            linewidth=0,
        )
    axes.set_xscale("log")
    axes.set_xticks(sorted({k for line in lines.values() for k in line["images_per_class"]}))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda k, _: f"{k:g}"))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
    axes.set_xlabel("labelled images of each class")
