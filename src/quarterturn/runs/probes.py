"""The results in ``RUN/probes/``: one file for each protocol."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from quarterturn.data.data_argument import short_name
from quarterturn.data.labelled import LabelledData
from quarterturn.errors import CheckpointError
from quarterturn.files import write_json
from quarterturn.kept_files import read_json
from quarterturn.runs import Run
from quarterturn.runs.protocols import protocol_id
from quarterturn.runs.record_files import from_json, read_record, to_json
from quarterturn.runs.records import ProbeResult, ScoreName, merged, summarise
from quarterturn.runs.training_images import count_trained_on

logger = logging.getLogger(__name__)

FOLDER = "probes"
PROBE_AGAIN = "written by another version; probe the run again"


def probe_result(
    run: Run,
    split: LabelledData,
    protocol: dict[str, Any],
    measured: Mapping[ScoreName, Sequence[dict[str, Any]]],
    *,
    data: str,
    test: str | None = None,
    weights: str,
    left_out: str = "",
) -> ProbeResult:
    """The result of a probe.

    Args:
        run: The run that was probed.
        split: Images and labels.
        protocol: By `quarterturn.runs.protocols.protocol_of`.
        measured: Metrics of each seed and draw, as for `quarterturn.runs.records.summarise`.
        data: DATA as the user wrote it.
        test: DATA that the test images are from, where it is another.
        weights: Fingerprint of the network that was probed.
        left_out: Words on classifiers that were asked for and could not be trained.
    """
    held = np.unique(np.concatenate([split.parts(seed)[1] for seed in protocol["seeds"]]))
    return ProbeResult(
        run=str(run.path),
        epochs=run.config.run.epochs,
        epochs_done=run.epochs_done(),
        data=data,
        name=short_name(data),
        test=split.description,
        weights=weights,
        protocol=protocol,
        protocol_id=protocol_id(protocol),
        scores=summarise(measured),
        left_out=left_out,
        **count_trained_on(run, split.tests.subset(held), test or data),
    )


def write_result(run: Run, result: ProbeResult) -> Path:
    """Write a result to ``RUN/probes/``: one file for each protocol.

    Scores that an earlier probe of the same weights has left there are kept beside the new ones.
    """
    folder = run.path / FOLDER
    folder.mkdir(exist_ok=True)
    path = folder / f"{result.name}-{result.protocol['name']}-{result.protocol_id}.json"
    try:
        earlier = read_record(path, ProbeResult)
    except FileNotFoundError:
        pass
    except CheckpointError as error:
        logger.warning(f"{error}; the new scores take its place")
    else:
        if earlier.weights == result.weights:
            result = replace(result, scores=merged(earlier.scores, result.scores))
    write_json(path, to_json(result))
    return path


def latest_results(run: Run) -> dict[str, ProbeResult]:
    """The results about the weights that were probed last, without loading any network.

    Returns:
        File stem to result, oldest first; files of versions that cannot be read are left out.

    Raises:
        CheckpointError: A file is damaged.
    """
    found = []
    for file in sorted((run.path / FOLDER).glob("*.json"), key=lambda file: file.stat().st_mtime):
        stored = read_json(file)
        try:
            found.append((file.stem, from_json(stored, ProbeResult)))
        except ValueError as error:
            logger.warning(f"{file} is left out: {error}")
    return {stem: r for stem, r in found if r.weights == found[-1][1].weights}


def read_results(run: Run, weights: str) -> tuple[dict[Path, ProbeResult], list[str]]:
    """The results in a run's ``probes/`` that are about its present weights.

    Returns:
        File to result; and the files that do not count, each with the reason.

    Raises:
        CheckpointError: A file cannot be read.
    """
    found: dict[Path, ProbeResult] = {}
    left_out = []
    for file in sorted((run.path / FOLDER).glob("*.json")):
        stored = read_json(file)
        try:
            result = from_json(stored, ProbeResult)
        except ValueError:
            left_out.append(f"{file}: {PROBE_AGAIN}")
            continue
        # Before protocols had names, there was one of them. Its figures are cheap to make again:
        # the features are kept.
        if "name" not in result.protocol:
            left_out.append(f"{file}: {PROBE_AGAIN}")
        elif result.weights != weights:
            left_out.append(f"{file}: about weights that the run no longer has")
        else:
            found[file] = result
    return found, left_out
