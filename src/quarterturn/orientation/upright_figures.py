"""Charts of an upright run: how many images have no "up", and how far the networks can be believed.

Shapes: n images; N' of a variant; b bins.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import PercentFormatter

from quarterturn.metrics.classification import expected_calibration_error, reliability_bins
from quarterturn.orientation.ablation import FITTED, STOPPED, Variant
from quarterturn.orientation.calibration import SCALED
from quarterturn.orientation.scores import AGNOSTIC, Floats
from quarterturn.orientation.upright_tables import predicted_turns
from quarterturn.pages.figures import (
    CHANCE,
    COLOURS,
    FAINT,
    INK,
    STYLE,
    WIDTH_INCHES,
    Figure,
    to_png,
)
from quarterturn.pages.tables import percent

HISTOGRAM_BINS = 20
"""An even number, so that the threshold of one half is an edge."""
LARGEST_MARKER = 90
"""Area in square points of a bin that holds all predictions."""


def agnostic_histogram(agnostic: Floats) -> Figure:
    """How many images have which agnostic score.

    Args:
        agnostic: (n,) scores of the images that could be read.
    """
    # Rounding may put an entropy a little above the greatest one possible.
    counts, edges = np.histogram(agnostic.clip(0, 1), bins=HISTOGRAM_BINS, range=(0, 1))
    share = float((agnostic >= AGNOSTIC).mean())
    with matplotlib.rc_context(STYLE):
        drawing = Drawing(figsize=(WIDTH_INCHES, 2.6), layout="constrained")
        axes = drawing.add_subplot()
        colours = [COLOURS["invariance" if left >= AGNOSTIC else "rotation"] for left in edges[:-1]]
        axes.bar(edges[:-1], counts, width=0.9 / HISTOGRAM_BINS, align="edge", color=colours)
        axes.axvline(AGNOSTIC, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        axes.set_title("images")
        axes.set_xlabel("score: from a clear up to no clear up")
        axes.set_xlim(0, 1)
        png = to_png(drawing)
    return Figure(
        "agnostic",
        "How clear the up is",
        f"Left of the dashed line the networks tell which way is up; right of it, from {AGNOSTIC}, "
        "there is no clear up. Two heaps far apart are a collection of two kinds; one heap near "
        "the line means that the networks have learned too little to tell.",
        png,
        {"edges": edges.tolist(), "counts": counts.tolist(), "threshold": AGNOSTIC},
        f"Histogram of {len(agnostic):,} scores, of which {percent(share)} are {AGNOSTIC} or more",
    )


def reliability_diagram(variants: Sequence[Variant]) -> Figure:
    """Rotation accuracy at each confidence, before and after the temperature.

    Args:
        variants: See `quarterturn.orientation.ablation.list_variants`.
    """
    by_name = {variant.name: variant for variant in variants}
    before = by_name[STOPPED] if STOPPED in by_name else by_name[FITTED]
    series = [
        ("before", before, FAINT, "o"),
        ("after", by_name[SCALED], COLOURS["rotation"], "s"),
    ]
    data, errors = {}, {}
    for when, variant, _, _ in series:
        confidences, right = predicted_turns(variant)
        bins = reliability_bins(confidences, right)
        filled = bins.counts > 0
        errors[when] = expected_calibration_error(confidences, right)
        data[when] = {
            "confidence": bins.confidence[filled].tolist(),
            "accuracy": bins.accuracy[filled].tolist(),
            "counts": bins.counts[filled].tolist(),
            "calibration_error": errors[when],
            "temperature": variant.temperature,
        }
    with matplotlib.rc_context(STYLE):
        drawing = Drawing(figsize=(WIDTH_INCHES, 3.2), layout="constrained")
        axes = drawing.add_subplot()
        axes.plot([CHANCE, 1], [CHANCE, 1], color=INK, linewidth=1, linestyle=(0, (4, 3)))
        for when, _, colour, marker in series:
            shown = data[when]
            axes.plot(shown["confidence"], shown["accuracy"], color=colour)
            areas = LARGEST_MARKER * np.array(shown["counts"]) / sum(shown["counts"])
            label = f"{when} the temperature, error {percent(errors[when])}"
            axes.scatter(
                shown["confidence"],
                shown["accuracy"],
                s=6 + areas,
                color=colour,
                marker=marker,
                label=label,
            )
        axes.set_title("rotation accuracy (% of copies)")
        axes.set_xlabel("confidence")
        axes.set(xlim=(CHANCE - 0.02, 1.02), ylim=(0, 1.02))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axes.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="lower right")
        png = to_png(drawing)
    return Figure(
        "reliability",
        "Confidence and truth",
        "Out of fold, by the centre crop. On the dashed line the networks are as sure as they are "
        "right; below it they are too sure. A larger marker stands for more copies.",
        png,
        data,
        "Reliability diagram. Calibration error "
        + ", ".join(f"{percent(error)} {when} the temperature" for when, error in errors.items()),
    )
