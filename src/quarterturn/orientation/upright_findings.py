"""What an upright run found, stored for its page and for whoever reads ``summary.json``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from quarterturn.data.imageset import ImageSet
from quarterturn.files import write_json
from quarterturn.orientation.ablation import Variant
from quarterturn.orientation.scores import agnostic_warning
from quarterturn.orientation.upright_figures import agnostic_histogram, reliability_diagram
from quarterturn.orientation.upright_sheets import save_sheets
from quarterturn.orientation.upright_table import UprightTable
from quarterturn.orientation.upright_tables import (
    classes_table,
    collection_scores,
    collection_table,
    measure_variant,
    measures_table,
)
from quarterturn.pages.figures import save_figure
from quarterturn.pages.images_section import SUMMARY
from quarterturn.pages.report import never_fatal
from quarterturn.pages.tables import Table
from quarterturn.runs import Run
from quarterturn.runs.facts import write_facts


@dataclass(frozen=True)
class UprightFindings:
    """Figures of a collection.

    Attributes:
        scores: Of `collection_scores`.
        measures: What each measure adds.
        collection: The scores in a row.
        classes: Means of each class; None without labels.
        warning: What the user must not overlook; None where there is nothing.
    """

    scores: dict[str, Any]
    measures: Table
    collection: Table
    classes: Table | None
    warning: str | None


def store_findings(
    run: Run,
    images: ImageSet,
    table: UprightTable,
    variants: Sequence[Variant],
    *,
    data: Sequence[str],
    labels_read: str,
) -> UprightFindings:
    """Write ``summary.json``, ``facts.json``, and the figures and pictures of the page.

    Args:
        run: The run.
        images: The N images.
        table: Their scores.
        variants: See `quarterturn.orientation.ablation.list_variants`.
        data: What the data held, a line each.
        labels_read: In words, what labels were read for.
    """
    scores = collection_scores(table)
    found = UprightFindings(
        scores,
        measures_table(variants),
        collection_table(scores),
        classes_table(images, table),
        agnostic_warning(table.agnostic[table.scored]),
    )
    in_use = next(variant for variant in variants if variant.in_use)
    tables = [found.measures, found.collection, *([found.classes] if found.classes else [])]
    stored = {
        "tables": [each.to_dict() for each in tables],
        "scores": scores,
        "in_use": {
            "name": in_use.name,
            "temperature": in_use.temperature,
            **measure_variant(in_use),
        },
    }
    write_json(run.path / SUMMARY, stored)
    write_facts(
        run,
        data=[*data, f"{scores['images']:,} images were scored; {labels_read}"],
        warnings=[found.warning] if found.warning else [],
    )
    with never_fatal("the pictures of the page", run):
        save_figure(run.figures, agnostic_histogram(table.agnostic[table.scored]))
        save_figure(run.figures, reliability_diagram(variants))
        save_sheets(run, images, table)
    return found
