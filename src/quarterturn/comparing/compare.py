"""``quarterturn compare``: runs side by side, by the figures of their probes and classifiers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from quarterturn.comparing.groups import ProbedRun, group_runs, shared_protocols
from quarterturn.comparing.options import CompareOptions
from quarterturn.comparing.tables import comparison_table, training_table
from quarterturn.config.options import take_options
from quarterturn.errors import ConfigError
from quarterturn.files import write_json
from quarterturn.pages.tables import show
from quarterturn.runs.output_file import check_out
from quarterturn.runs.records import ComparedGroup, Comparison, to_json

logger = logging.getLogger(__name__)


def compare(
    runs: Sequence[Path | str],
    options: CompareOptions | None = None,
    **fields: Any,
) -> Comparison:
    """Compare runs by their probes, and classifiers by their tests.

    Runs that differ only in their seed are one group, with mean, spread and n. A table holds
    figures of one protocol alone.

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
    check_out(path, [".json"], overwrite=options.overwrite)
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
    write_json(path, to_json(result))
    for name, protocol in protocols.items():
        show(comparison_table(groups, name, protocol, options.measure))
    show(training_table(groups))
    for line in [line for run in probed for line in run.left_out]:
        logger.info(f"left out: {line}")
    unshared = {name for run in probed for name in run.probes} - set(protocols)
    if unshared:
        logger.info(
            f"left out: probes by {len(unshared)} other protocols, which not all runs share; "
            "--mixed shows them"
        )
    logger.info(f"written: {path}")
    return result


def _next_file(folder: Path) -> Path:
    n = 1
    while (folder / f"comparison-{n}.json").exists():
        n += 1
    return folder / f"comparison-{n}.json"
