"""Charts of a classifier's test: which classes are taken for which, and the accuracy of each."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import PercentFormatter

from quarterturn.pages.figures import FAINT, INK, STYLE, WIDTH_INCHES, Figure, to_png
from quarterturn.pages.tables import percent, printable
from quarterturn.runs.classifier_results import ClassifierResult

MOST_WRITTEN = 15
"""Up to this many classes every cell of the matrix has its figure written in it."""
MOST_NAMED = 40
"""Up to this many classes every class is named along the axes; of more, every fifth or so."""
NAME_LENGTH = 16
"""Characters of a class name that fit along an axis."""
GROUP_COLOURS = {"many": "#2a6ca8", "medium": "#4d8250", "few": "#b5621b"}
WHITE_TO_BLUE = LinearSegmentedColormap.from_list("share", ["#ffffff", "#9dc0e2", "#17456f"])


def confusion_matrix(result: ClassifierResult) -> Figure:
    """Rows are true classes, columns what they were taken for, as shares of the row."""
    counts = np.array(result.figures["confusion"], dtype=np.int64)  # (C, C)
    names = [_short(name) for name in result.class_names]
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    side = WIDTH_INCHES * (1.1 if len(names) <= MOST_NAMED else 1.5)
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        drawing = Drawing(figsize=(side, side * 0.94), layout="constrained")
        axes = drawing.add_subplot()
        image = axes.imshow(shares, cmap=WHITE_TO_BLUE, vmin=0, vmax=1)
        if len(names) <= MOST_WRITTEN:
            _write_shares(axes, shares)
        _name_classes(axes, names)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")
        bar = drawing.colorbar(image, ax=axes, shrink=0.6, pad=0.02)
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        bar.outline.set_visible(False)
        png = to_png(drawing)
    mistakes = counts - np.diag(np.diag(counts))
    true, predicted = np.unravel_index(mistakes.argmax(), mistakes.shape)
    worst = (
        f"The most frequent mistake: {result.class_names[true]} taken for "
        f"{result.class_names[predicted]} ({mistakes.max():,} of its test images)."
        if mistakes.any()
        else "There is no mistake."
    )
    return Figure(
        "confusion",
        "Confusion matrix",
        "Each row is a true class; its cells are the shares of that class's test images by "
        f"predicted class. A perfect classifier is dark on the diagonal only. {worst}",
        png,
        {"classes": result.class_names, "counts": counts.tolist()},
        f"Confusion matrix of {len(names)} classes. {worst}",
        wide=len(names) > MOST_NAMED,
    )


def class_bars(result: ClassifierResult) -> Figure:
    """Accuracy of every class, from the most frequent in the training to the rarest.

    Where images have several labels each, average precision.
    """
    has_several = "mean_ap" in result.figures
    measure = "average precision" if has_several else "accuracy"
    accuracy = result.figures["per_class"]
    order = sorted(range(len(accuracy)), key=lambda c: -result.class_counts[c])
    names = [result.class_names[c] for c in order]
    counts = [result.class_counts[c] for c in order]
    values = [accuracy[name] for name in names]
    groups = [_group(count, result) for count in counts]
    with matplotlib.rc_context(STYLE):
        drawing = Drawing(figsize=(WIDTH_INCHES * 1.3, 3.5), layout="constrained")
        axes = drawing.add_subplot()
        places = np.arange(len(names))
        for group, colour in GROUP_COLOURS.items():
            mine = [i for i in places if groups[i] == group]
            if mine:
                heights = [values[i] or 0.0 for i in mine]
                axes.bar(mine, heights, width=0.8, color=colour, label=f"{group} training images")
        if has_several:
            chance = [result.figures["prevalence"][name] for name in names]
            axes.plot(places, chance, linestyle="", marker="_", color=INK, label="prevalence")
        mean = result.figures["mean_ap" if has_several else "balanced"]
        mean_name = "mAP" if has_several else "balanced"
        axes.axhline(mean, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), label=mean_name)
        axes.set_title(f"{measure} by class, most training images first")
        axes.set_xlim(-0.7, len(names) - 0.3)
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        labels = [f"{_short(name)} ({count:,})" for name, count in zip(names, counts, strict=True)]
        step = _step(len(names))
        axes.set_xticks(places[::step], labels[::step], rotation=90, fontsize=_size(len(names)))
        drawing.legend(
            loc="outside lower left", frameon=False, fontsize=8.5, labelcolor=INK, ncols=4
        )
        png = to_png(drawing)
    worst = result.figures["worst_class_name"]
    return Figure(
        "classes",
        f"{measure.capitalize()} by class",
        "Training images of each class in brackets. A class without a bar has no test image"
        + ("." if has_several else ", or none that is right."),
        png,
        {"classes": names, "training_images": counts, measure.replace(" ", "_"): values},
        f"Bars of {len(names)} classes; the worst is {worst} with "
        f"{percent(result.figures['worst_class'])}",
        wide=len(names) > MOST_NAMED,
    )


def _write_shares(axes: Axes, shares: np.ndarray) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if share:
            axes.text(
                column,
                row,
                f"{100 * share:.0f}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if share > 0.55 else INK,
            )


def _name_classes(axes: Axes, names: list[str]) -> None:
    step, size = _step(len(names)), _size(len(names))
    places = range(0, len(names), step)
    axes.set_xticks(places, names[::step], rotation=90, fontsize=size)
    axes.set_yticks(places, names[::step], fontsize=size)
    for spine in axes.spines.values():
        spine.set_visible(True)


def _step(num_classes: int) -> int:
    return 1 if num_classes <= MOST_NAMED else max(2, round(num_classes / 25))


def _size(num_classes: int) -> float:
    return 9 if num_classes <= MOST_WRITTEN else 7


def _short(name: str) -> str:
    name = printable(name)
    ellipsis = "\N{HORIZONTAL ELLIPSIS}"
    return name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 1] + ellipsis


def _group(count: int, result: ClassifierResult) -> str:
    return "many" if count > result.many else "few" if count < result.few else "medium"
