"""Curves of a training: losses, diagnostics, and the tests of a classifier."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import MaxNLocator, PercentFormatter

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
from quarterturn.pages.tables import number, percent

Lines = list[dict[str, Any]]

NOT_TERMS = frozenset(
    {
        "kind",
        "step",
        "epoch",
        "learning_rate",
        "loss",
        "rotation_accuracy",
        "images_per_s",
        "elapsed_s",
    }
)
CHANCE_LOSS = math.log(4)
"""Cross-entropy of guessing one of four turns, in nats."""
UNITS = {
    "rotation": " (nats)",
    "invariance": " (squared error)",
    "instance": " (nats)",
    "teacher": " (1 less the cosine)",
}


def loss_curves(train_lines: Lines, *, in_iterations: bool = False) -> Figure | None:
    """The loss, its terms, rotation accuracy, learning rate and pace, each in a panel of its own.

    Args:
        train_lines: The ``train`` lines of metrics.jsonl.
        in_iterations: Draw them over the iterations, in place of the epochs.

    Returns:
        None where no step was made.
    """
    if not train_lines:
        return None
    # The last line of each epoch is written at its end, so the first one tells its length.
    first_epoch = train_lines[0]["epoch"]
    first_steps = 1 + max(x["step"] for x in train_lines if x["epoch"] == first_epoch)
    steps_per_unit = 1 if in_iterations else first_steps / (first_epoch + 1)
    done = [(x["step"] + 1) / steps_per_unit for x in train_lines]
    unit = "iterations" if in_iterations else "epochs"
    terms = [name for name in train_lines[0] if name not in NOT_TERMS]
    panels = [
        # A single term is the total, but for its weight.
        *([("loss", "total loss", INK)] if len(terms) != 1 else []),
        *((t, f"{t} loss{UNITS.get(t, '')}", COLOURS.get(t, INK)) for t in terms),
        *(
            [("rotation_accuracy", "rotation accuracy (% of training views)", COLOURS["rotation"])]
            if "rotation_accuracy" in train_lines[0]
            else []
        ),
        ("learning_rate", "learning rate", FAINT),
        ("images_per_s", "images a second", FAINT),
    ]
    series = {key: [x.get(key) for x in train_lines] for key, _, _ in panels}

    def draw(index: int, axes: Axes) -> None:
        key, title, colour = panels[index]
        _curve(axes, done, series[key], colour)
        axes.set_title(title)
        if key in ("learning_rate", "images_per_s"):
            _from_zero(axes)
        if key == "rotation_accuracy":
            axes.axhline(CHANCE, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
            axes.set_ylim(0, 1.02)
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))

    first, last = train_lines[0], train_lines[-1]
    return Figure(
        "loss",
        "Losses",
        "Each point is a mean over a few steps. The total is the weighted sum of its terms; all "
        "should fall and level off."
        if len(terms) > 1
        else "Each point is a mean over a few steps. The loss should fall and level off.",
        _render(draw, len(panels), height=1.5, unit=unit),
        {f"{unit}_done": done, **series},
        f"Curves over {done[-1]:,.0f} {unit}. "
        + ", ".join(
            f"{name} from {number(first[name])} to {number(last[name])}"
            for name in ["loss", *terms]
            if name in first and name in last
        ),
    )


def diagnostic_curves(lines: Lines) -> Figure | None:
    """What is measured on held-out images: the turn in each half, spread and effective rank.

    Args:
        lines: The ``diagnostics`` lines of metrics.jsonl; ``epoch`` counts the epochs done. A
            method that lacks a head lacks its keys.

    Returns:
        None where nothing was measured.
    """
    keys = (
        "rotation_accuracy",
        "leakage_fresh_head",
        "leakage_same_head",
        "rotation_loss",
        "leakage_fresh_head_loss",
        "leakage_same_head_loss",
        "spread",
        "effective_rank",
    )
    epochs = [x["epoch"] for x in lines]
    series = {k: [x.get(k) for x in lines] for k in keys if any(k in x for x in lines)}
    turns = [
        (key, label, colour, style)
        for key, label, colour, style in (
            (keys[0], "rotation head", COLOURS["rotation"], "-"),
            (keys[1], "invariant half, new head", COLOURS["invariance"], "-"),
            (keys[2], "invariant half, same head", COLOURS["invariance"], ":"),
        )
        if key in series
    ]
    panels: list[Callable[[Axes], None]] = []

    def draw_turns(axes: Axes) -> None:
        for key, label, colour, style in turns:
            _curve(axes, epochs, series[key], colour, style=style, marker="o", label=label)
        axes.axhline(CHANCE, color=FAINT, linewidth=1, linestyle=(0, (4, 3)), label="guessing")
        axes.set_title("rotation accuracy (% of held-out copies)")
        axes.set_ylim(0, 1.02)
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axes.legend(
            frameon=False,
            fontsize=8.5,
            labelcolor=INK,
            ncols=2,
            columnspacing=1.6,
            loc="upper left",
            bbox_to_anchor=(-0.02, -0.32),
            borderaxespad=0,
        )

    def draw_losses(axes: Axes) -> None:
        for key, _, colour, style in turns:
            of = "rotation_loss" if key == keys[0] else f"{key}_loss"
            if of in series:
                _curve(axes, epochs, series[of], colour, style=style, marker="o")
        axes.axhline(CHANCE_LOSS, color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
        axes.set_title("cross-entropy of the same (nats)")
        _from_zero(axes)

    def draw_spread(axes: Axes) -> None:
        _curve(axes, epochs, series["spread"], COLOURS["instance"], marker="o")
        axes.set_title("spread (0 to 1)")
        axes.set_ylim(0, 1.05)

    def draw_rank(axes: Axes) -> None:
        _curve(axes, epochs, series["effective_rank"], COLOURS["instance"], marker="o")
        axes.set_title("effective rank (directions)")
        _from_zero(axes)

    if turns:
        panels.append(draw_turns)
    panels += [draw_losses] if "rotation_loss" in series else []
    panels += [draw_spread] if "spread" in series else []
    panels += [draw_rank] if "effective_rank" in series else []
    if not panels:
        return None
    shown = [f"{k.replace('_', ' ')} {_show(k, v[-1])}" for k, v in series.items()]
    return Figure(
        "diagnostics",
        "On held-out images",
        " ".join(_diagnostic_captions(series)),
        _render(
            lambda i, axes: panels[i](axes),
            len(panels),
            height=1.6,
            extra_height=0.5 if turns else 0.0,  # the legend
        ),
        {"epochs_done": epochs, "chance": CHANCE, **series},
        f"Curves over the epochs. At the end: {', '.join(shown)}",
    )


def evaluation_curves(lines: Lines) -> Figure | None:
    """A classifier's accuracies on test images, over the epochs.

    Args:
        lines: The ``evaluation`` lines of metrics.jsonl.

    Returns:
        None where it was tested once at most: that is in the tables.
    """
    if len(lines) < 2:
        return None
    epochs = [line["epoch"] for line in lines]
    has_several = "mean_ap" in lines[0]
    shown = [
        ("mean_ap", "mAP", COLOURS["rotation"]),
        ("worst_class", "worst class", COLOURS["invariance"]),
    ]
    shown = (
        shown
        if has_several
        else [
            ("top1", "accuracy", COLOURS["rotation"]),
            ("balanced", "balanced accuracy", COLOURS["instance"]),
            ("worst_class", "worst class", COLOURS["invariance"]),
        ]
    )
    series = {key: [line.get(key) for line in lines] for key, _, _ in shown}
    first = shown[0][0]

    def draw(_: int, axes: Axes) -> None:
        for key, label, colour in shown:
            _curve(axes, epochs, series[key], colour, marker="o", label=label)
        axes.set_title("on test images")
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axes.legend(frameon=False, fontsize=8.5, labelcolor=INK, loc="lower right")

    return Figure(
        "evaluation",
        "Average precision over the epochs" if has_several else "Accuracy over the epochs",
        "The figures that count are those of the last epoch: no test image chooses one.",
        _render(draw, 1, height=2.2),
        {"epochs_done": epochs, **series},
        f"Curves over {epochs[-1]} epochs: {shown[0][1]} from {_show(first, series[first][0])} to "
        f"{_show(first, series[first][-1])}",
    )


def _diagnostic_captions(series: dict[str, list[float | None]]) -> list[str]:
    captions = []
    if "rotation_accuracy" in series:
        captions.append("The rotation head should rise well above the 25\u00a0% of guessing.")
    if "leakage_fresh_head" in series:
        captions.append("What is read off the invariant half should stay close to it.")
    if "spread" in series:
        captions.append("A spread that falls to zero is a collapse.")
    return captions


def _show(key: str, value: float | None) -> str:
    if value is None:
        return "not measured"
    is_share = not key.endswith("_loss") and key not in ("spread", "effective_rank")
    return percent(value) if is_share else number(value)


def _curve(
    axes: Axes,
    epochs: list[float],
    values: list[float | None],
    colour: str,
    *,
    style: str = "-",
    marker: str = "",
    label: str | None = None,
) -> None:
    known = [(x, y) for x, y in zip(epochs, values, strict=True) if y is not None]
    # A single point makes no line, and would not be seen without a marker.
    marker = marker or ("o" if len(known) == 1 else "")
    axes.plot(
        [x for x, _ in known],
        [y for _, y in known],
        color=colour,
        linestyle=style,
        marker=marker,
        markersize=3.2,
        label=label,
    )


def _render(
    draw: Callable[[int, Axes], None],
    num_panels: int,
    *,
    height: float,
    extra_height: float = 0.0,
    unit: str = "epochs",
) -> bytes:
    """Panels in two columns over an axis of epochs; of an odd number the first takes a row.

    Args:
        draw: Draws panel i.
        num_panels: How many there are.
        height: Of a row, in inches.
        extra_height: For what stands between the rows, in inches.
        unit: Of the axis.
    """
    wide = num_panels % 2
    rows = (num_panels + 1) // 2
    with matplotlib.rc_context(STYLE):
        drawing = Drawing(figsize=(WIDTH_INCHES, height * (rows + 0.3 * wide) + extra_height))
        drawing.set_layout_engine("constrained", h_pad=0.08, w_pad=0.08, hspace=0.04)
        grid = drawing.add_gridspec(rows, 2, height_ratios=[1 + 0.3 * wide] + [1] * (rows - 1))
        for i in range(num_panels):
            row, column = divmod(i + wide, 2) if i else (0, 0)
            axes = drawing.add_subplot(grid[0, :] if wide and i == 0 else grid[row, column])
            draw(i, axes)
            axes.set_xlim(left=0)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
            if row == rows - 1 or (wide and i == 0):
                axes.set_xlabel(unit)
        return to_png(drawing)


def _from_zero(axes: Axes) -> None:
    """Show zero, and some room above the highest value."""
    axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
