"""``quarterturn compare``: runs side by side, by the figures of their probes and classifiers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quarterturn.comparing.groups import group_runs, shared_protocols
from quarterturn.comparing.options import CompareOptions
from quarterturn.comparing.page import comparison_page
from quarterturn.comparing.probed_runs import ProbedRun
from quarterturn.comparing.tables import comparison_table, training_table
from quarterturn.config.options import take_options
from quarterturn.errors import ConfigError
from quarterturn.files import write_json
from quarterturn.pages.page import write_page
from quarterturn.pages.tables import show
from quarterturn.runs.closing import log_closing
from quarterturn.runs.comparison_records import ComparedGroup, Comparison
from quarterturn.runs.facts import folders_of
from quarterturn.runs.output_file import check_out
from quarterturn.runs.record_files import to_json

logger = logging.getLogger(__name__)


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
    path = _next_file(paths[0].resolve().parent) if options.out is None else options.out
    as_page = path.suffix == ".html"
    check_out(
        path, [".json", ".html"], overwrite=options.overwrite, beside=[".json"] if as_page else []
    )
    probed = [ProbedRun.open(run) for run in paths]
    groups = group_runs(probed)
    protocols = shared_protocols(probed, mixed=options.mixed)
    result = Comparison(
        groups=tuple(
            ComparedGroup(g.label, g.origin, tuple(str(p.run.path) for p in g.runs)) for g in groups
        ),
        protocols=protocols,
        scores=tuple(
            score for name in protocols for group in groups for score in group.scores(name)
        ),
    )
    write_json(path.with_suffix(".json"), to_json(result))
    tables = [
        *(
            comparison_table(groups, name, protocol, options.measure)
            for name, protocol in protocols.items()
        ),
        training_table(groups),
    ]
    left_out = [f"left out: {line}" for run in probed for line in run.left_out]
    if unshared := {name for run in probed for name in run.probes} - set(protocols):
        left_out.append(
            f"left out: probes by {len(unshared)} other protocols, which not all runs share; "
            "--mixed shows them"
        )
    for table in tables:
        show(table)
    for line in left_out:
        logger.info(line)
    if as_page:
        write_page(path, comparison_page(groups, protocols, tables, left_out), folders(probed))
    figures = path.with_suffix(".json")
    files = {"page": path, "figures": figures} if as_page else {"figures": figures}
    again = ["compare", *paths, *(["--mixed"] if options.mixed else [])]
    as_html = [*again, "--out", path.with_suffix(".html"), "--overwrite"]
    other = "balanced" if options.measure == "top1" else "top1"
    commands = [
        [*again, "--measure", other],
        ["report", paths[0]] if as_page else as_html,
        ["export", paths[0], "--format", "safetensors"],
    ]
    log_closing(f"{len(paths)} {'run' if len(paths) == 1 else 'runs'} compared", files, commands)
    return result


def folders(runs: Sequence[ProbedRun]) -> list[str]:
    """Absolute paths that the page may not show, longest first."""
    return sorted({path for each in runs for path in folders_of(each.run)}, key=len, reverse=True)


def _next_file(folder: Path) -> Path:
    n = 1
    while (folder / f"comparison-{n}.json").exists():
        n += 1
    return folder / f"comparison-{n}.json"
