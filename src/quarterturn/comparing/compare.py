"""``quarterturn compare``: runs side by side, by the figures of their probes and classifiers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quarterturn.comparing.differences import (
    difference_table,
    paired_differences,
    without_differences,
)
from quarterturn.comparing.groups import group_runs, shared_protocols
from quarterturn.comparing.options import CompareOptions
from quarterturn.comparing.page import comparison_page
from quarterturn.comparing.probed_runs import ProbedRun
from quarterturn.comparing.tables import comparison_table, training_table
from quarterturn.config.options import take_options
from quarterturn.errors import ConfigError
from quarterturn.files import write_csv, write_json, write_text
from quarterturn.pages.latex import latex
from quarterturn.pages.page import write_page
from quarterturn.pages.tables import show
from quarterturn.runs.closing import log_closing
from quarterturn.runs.comparison_records import ComparedGroup, Comparison
from quarterturn.runs.facts import folders_of
from quarterturn.runs.output_file import check_out
from quarterturn.runs.record_files import to_json
from quarterturn.wording import counted

logger = logging.getLogger(__name__)

KINDS = {".html": "page", ".tex": "tables", ".csv": "rows"}
SUFFIXES = [".json", *KINDS]


def compare(
    runs: Sequence[Path | str],
    options: CompareOptions | None = None,
    **fields: Any,
) -> Comparison:
    """Compare runs by their probes, and classifiers by their tests.

    Runs that differ only in their seed are one group, with mean, spread and n. A table holds
    figures of only one protocol.

    Args:
        runs: Run directories that have been probed, or that ``finetune`` has made.
        options: What the tables show. Without ``mixed`` only protocols that all runs share
            count, and none is an error.
        **fields: Fields of `CompareOptions`, in place of ``options`` or of some of its values.

    Returns:
        What is written: groups, protocols and figures.

    Raises:
        ConfigError: Nothing compares, or a run is named twice.
        CheckpointError: There is no such run.
    """
    options = take_options(CompareOptions, options, fields)
    if not runs:
        raise ConfigError("expected one RUN or more")
    paths = [Path(run) for run in runs]
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError(f"a run is named twice among {', '.join(map(str, paths))}")
    path = _place(options, paths[0].resolve().parent)
    has_file = path.suffix != ".json"
    check_out(path, SUFFIXES, overwrite=options.overwrite, beside=[".json"] if has_file else [])
    probed = [ProbedRun.open(run) for run in paths]
    groups = group_runs(probed)
    protocols = shared_protocols(probed, mixed=options.mixed)
    differences = [
        difference
        for name in protocols
        for difference in paired_differences(groups, name, options.measure)
    ]
    result = Comparison(
        groups=tuple(
            ComparedGroup(g.label, g.origin, tuple(str(p.run.path) for p in g.runs)) for g in groups
        ),
        protocols=protocols,
        scores=tuple(
            score for name in protocols for group in groups for score in group.scores(name)
        ),
        differences=tuple(differences),
    )
    write_json(path.with_suffix(".json"), to_json(result))
    tables = [
        *(
            comparison_table(groups, name, protocol, options.measure)
            for name, protocol in protocols.items()
        ),
        *(
            difference_table(of_protocol)
            for name in protocols
            if (of_protocol := [d for d in differences if d.protocol == name])
        ),
        training_table(groups),
    ]
    left_out = [f"left out: {line}" for run in probed for line in run.left_out]
    if unshared := {name for run in probed for name in run.probes} - set(protocols):
        left_out.append(
            f"left out: probes by {len(unshared)} other protocols, which not all runs share; "
            "--mixed shows them"
        )
    for name in protocols:
        left_out += without_differences(groups, name)
    for table in tables:
        show(table)
    for line in left_out:
        logger.info(line)
    if path.suffix == ".html":
        write_page(path, comparison_page(groups, protocols, tables, left_out), folders(probed))
    elif path.suffix == ".tex":
        write_text(path, latex(tables))
    elif path.suffix == ".csv":
        write_csv(path, *score_rows(result))
    figures = path.with_suffix(".json")
    files = {KINDS[path.suffix]: path} if has_file else {}
    files |= {"figures": figures}
    again = ["compare", *paths, *(["--mixed"] if options.mixed else [])]
    as_html = [*again, "--out", path.with_suffix(".html"), "--overwrite"]
    other = "balanced" if options.measure == "top1" else "top1"
    commands = [
        [*again, "--measure", other],
        ["report", paths[0]] if path.suffix == ".html" else as_html,
        ["export", paths[0], "--format", "safetensors"],
    ]
    log_closing(f"{counted(len(paths), 'run')} compared", files, commands)
    return result


def folders(runs: Sequence[ProbedRun]) -> list[str]:
    """Absolute paths that the page may not show, longest first."""
    return sorted({path for each in runs for path in folders_of(each.run)}, key=len, reverse=True)


def score_rows(result: Comparison) -> tuple[list[str], list[list[Any]]]:
    """All figures of a comparison: headings, and a row for each run, test and measure.

    Rows of differences, the last, say what they are against; their value is the mean over the seeds
    that both have, and ``low`` to ``high`` its confidence interval.
    """
    headings = ["runs", "protocol", "features", "classifier", "view", "measure", "seed", "value"]
    headings += ["against", "against_features", "low", "high", "n"]
    scores: list[list[Any]] = [
        [s.group, s.protocol, s.part, s.classifier, s.view, name, seed, value, *[""] * 5]
        for s in result.scores
        for name, statistic in s.measures.items()
        for seed, value in statistic.by_seed.items()
    ]
    differences: list[list[Any]] = [
        [
            *(d.group, d.protocol, d.part, d.classifier, d.view, d.measure, "", d.mean),
            *(d.against, d.against_part, d.low, d.high, len(d.by_seed)),
        ]
        for d in result.differences
    ]
    return headings, scores + differences


def _place(options: CompareOptions, folder: Path) -> Path:
    """Where the comparison is written.

    Raises:
        ConfigError: --out ends in another format than --format says.
    """
    suffix = {None: ".json", "html": ".html", "latex": ".tex", "csv": ".csv"}[options.format]
    if options.out is None:
        n = 1
        while (folder / f"comparison-{n}.json").exists():
            n += 1
        return folder / f"comparison-{n}{suffix}"
    if options.format is not None and options.out.suffix != suffix:
        raise ConfigError(
            f"--out is {options.out}; expected a file ending in {suffix} with --format "
            f"{options.format}"
        )
    return options.out
