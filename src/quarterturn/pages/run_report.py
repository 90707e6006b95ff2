"""The report of a run: from what a training leaves behind to one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from quarterturn.data.imageset import ImageSet
from quarterturn.features.gallery import build_gallery
from quarterturn.methods.base import Network
from quarterturn.pages.figures import diagnostic_curves, loss_curves, save_figure
from quarterturn.pages.run_page import sentence, write_run_page
from quarterturn.pages.tables import Cell, Table
from quarterturn.pages.words import glossary, measures
from quarterturn.pretraining.imbalance_sheet import ImbalanceSheet
from quarterturn.progress import duration
from quarterturn.runs import Run


def diagnostics_table(last: dict[str, Any], num_held_out: int) -> Table:
    """The last diagnostics of a run in words."""
    rows: list[list[Cell]] = [
        ["rotation accuracy, by the rotation half", last.get("rotation_accuracy"), "25 %"],
        ["the same head on the invariant half", last.get("leakage_same_head"), "25 %"],
        ["a fresh linear head on the invariant half", last.get("leakage_fresh_head"), "25 %"],
        ["spread of the embeddings (100 % is even)", last.get("spread"), "0 %"],
    ]
    return Table(
        title="Diagnostics",
        columns=["measure", "value", "chance or collapse"],
        rows=[row for row in rows if row[1] is not None],
        note=f"on {num_held_out:,} held-out images, without labels",
    )


def write_run_report(
    run: Run,
    *,
    source_lines: list[str],
    unreadable: dict[str, str],
    tables: list[Table],
    warnings: list[str],
    images: ImageSet | None,
    network: Network | None,
    command: str,
    imbalance: ImbalanceSheet | None = None,
) -> Path:
    """Write a run's figures and its ``report.html``.

    Args:
        run: The run; its metrics are read from it.
        source_lines: What the data held, a line each; indented lines, which list files one by
            one, are left out, since ``unreadable`` does so.
        unreadable: Image files that could not be read, with the reason.
        tables: Results.
        warnings: What the reader must not overlook.
        images: Images to show pictures of, held out where there are any; None shows none.
        network: The trained network, on any device; None shows no pictures.
        command: The command line, as the user wrote it.
        imbalance: How unevenly the images are spread; None leaves it out.

    Returns:
        The page's path.
    """
    train, diagnostics = run.read_metrics("train"), run.read_metrics("diagnostics")
    figures = [f for f in (loss_curves(train), diagnostic_curves(diagnostics)) if f is not None]
    for figure in [*figures, *([imbalance.figure] if imbalance else [])]:
        save_figure(run.figures, figure)
    gallery = None
    if images is not None and network is not None:
        gallery = build_gallery(
            network,
            images,
            run.config.data,
            seed=run.config.run.seed,
            workers=run.config.machine.workers,
        )
    method = run.config.method
    return write_run_page(
        run,
        name=method.title,
        source_lines=source_lines,
        warnings=warnings,
        command=command,
        summary=_summary(run, train),
        unreadable=unreadable,
        measures=measures(
            diagnostics[-1] if diagnostics else {}, getattr(method, "embedding_dim", 0)
        ),
        tables=tables,
        words=glossary(decoupled=method.has_halves, tables=tables),
        figures=figures,
        gallery=gallery,
        imbalance=imbalance,
        times=_times(run, train),
    )


def _summary(run: Run, train: list[dict[str, Any]]) -> list[str]:
    method = run.config.method
    side, backbone = run.config.data.image_size, run.config.model.backbone
    if not train and not run.untrained:
        begun = run.start or "its file"
        return [f"A {backbone} as it was in {begun}: no epoch was trained here."]
    if not train:
        return [
            f"An untrained {backbone}, a baseline: no epoch was trained, so every figure below "
            "says what its random weights give on crops of "
            f"{side} by {side} pixels."
        ]
    epochs = train[-1]["epoch"] + 1
    labels = "from labels" if method.reads_labels else "without labels"
    return [
        f"A {backbone} learned {labels} by {method.title} for {epochs:,} "
        f"{'epoch' if epochs == 1 else 'epochs'}, on crops of {side} by {side} pixels, in "
        f"{duration(train[-1]['elapsed_s'])}.",
        sentence(f"By this method {method.meaning}."),
    ]


def _times(run: Run, train: list[dict[str, Any]]) -> list[tuple[str, str]]:
    if not train:
        return []
    # The first line has the warming up in it: its pace is lower than the rest's.
    paces = sorted(line["images_per_s"] for line in train[1:] or train)
    turns = ", each in four turns" if run.config.method.has_rotation_loss else ""
    return [
        ("training, diagnostics included", duration(train[-1]["elapsed_s"])),
        ("steps", f"{train[-1]['step'] + 1:,}"),
        ("images a second", f"{paces[len(paces) // 2]:,.0f}{turns} (median)"),
    ]
