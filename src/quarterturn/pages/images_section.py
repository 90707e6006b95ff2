"""The first part of a page: what the images are like, and what was found in them."""

from __future__ import annotations

from quarterturn.pages.figures import load_figure
from quarterturn.pages.measures import upright_measures
from quarterturn.pages.page import ImagesSection
from quarterturn.pages.tables import Table
from quarterturn.runs import Run
from quarterturn.runs.facts import Facts, unreadable_files
from quarterturn.runs.pictures import CollectionPictures, Sheets, read_pictures

CLUSTERS = "clusters"
COLLECTION = "collection"
SHEETS = "upright"
AGNOSTIC = "agnostic"
SUMMARY = "summary.json"


def images_section(run: Run, facts: Facts) -> ImagesSection:
    """The section of a run's page.

    Args:
        run: The run.
        facts: What its command found.
    """
    measures, tables = [], []
    if run.kind == "upright":
        summary = run.read_json(SUMMARY)
        measures = upright_measures(summary["scores"])
        # The first table is on the networks, the second says in a row what the measures say.
        tables = [Table.from_dict(table) for table in summary["tables"][2:]]
    figures = [load_figure(run.figures, name) for name in (AGNOSTIC, CLUSTERS)]
    sheets = read_pictures(run.path, SHEETS, Sheets)
    return ImagesSection(
        facts=facts.data,
        unreadable=unreadable_files(run.path),
        measures=measures,
        figures=[figure for figure in figures if figure is not None],
        collection=read_pictures(run.path, COLLECTION, CollectionPictures),
        sheets=sheets.sheets if sheets is not None else (),
        tables=tables,
    )
