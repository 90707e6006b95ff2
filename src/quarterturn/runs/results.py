"""What a probe has found: its protocol, its figures over seeds, and the file that holds them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quarterturn.data.data_argument import short_name
from quarterturn.data.labelled import LabelledData
from quarterturn.errors import CheckpointError
from quarterturn.files import write_json
from quarterturn.metrics import mean_and_spread
from quarterturn.runs import Run
from quarterturn.runs.training_images import count_trained_on

FORMAT = 1
"""Part of every protocol; raised when the same settings begin to mean other figures."""

CLASSIFIER = "classifier"
"""Name of the protocol of what `finetune` has trained."""

MEASURES = (
    "top1",
    "balanced",
    "worst_class",
    "many",
    "medium",
    "few",
    "std_over_classes",
    "std_over_groups",
)


def protocol_of(
    name: str, split: LabelledData, seeds: Sequence[int], **settings: Any
) -> dict[str, Any]:
    """All that figures must have in common to stand in one table.

    Which classifiers and layers were asked for is not among it: figures of others may be added.

    Args:
        name: What the protocol is called, such as ``frozen-features``.
        split: Images and labels.
        seeds: Of turns, held-out parts, and whatever else the protocol draws.
        **settings: What else its figures depend on, in plain values.
    """
    train, held = split.parts(seeds[0])
    if split.long_tail is not None:  # else the fingerprint tells it
        settings["long_tail"] = list(split.long_tail)
    return {
        "name": name,
        "format": FORMAT,
        "training_fingerprint": split.train.fingerprint(),
        "test_fingerprint": split.tests.fingerprint(),
        "labels_fingerprint": split.labels_fingerprint(),
        "training_images": len(train),
        "test_images": len(held),
        "held_out": split.test is None,
        "seeds": list(seeds),
        **settings,
    }


def classifier_protocol(split: LabelledData, seed: int, **settings: Any) -> dict[str, Any]:
    """What the figures of classifiers that were trained whole must have in common.

    Args:
        split: Images and labels.
        seed: Of one of them. Others may part the images otherwise, and are compared all the same:
            where the data has no test part, that is in the spread.
        **settings: As for `protocol_of`.
    """
    return {**protocol_of(CLASSIFIER, split, [seed], **settings), "seeds": []}


def protocol_id(protocol: dict[str, Any]) -> str:
    """A short hash of a protocol."""
    return hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()[:8]


def summarise(values: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean, spread and n of every measure, over the seeds and whatever is drawn for each.

    Args:
        values: `quarterturn.metrics.classification_metrics`, once for each seed and draw.
    """
    summary: dict[str, Any] = {"n": len(values), "by_seed": list(values)}
    for measure in MEASURES:
        summary[measure] = mean_and_spread([value[measure] for value in values])
    return summary


def probe_result(
    run: Run,
    split: LabelledData,
    protocol: dict[str, Any],
    measured: Mapping[str, Sequence[dict[str, Any]]],
    *,
    data: str,
    test: str | None = None,
    weights: str,
) -> dict[str, Any]:
    """The result of a probe, in plain values.

    Args:
        run: The run that was probed.
        split: Images and labels.
        protocol: By `protocol_of`.
        measured: ``"<origin>/<part>/<classifier>/<view>"`` to metrics, as for `summarise`.
        data: DATA as the user wrote it.
        test: DATA that the test images are from, where it is another.
        weights: Fingerprint of the network that was probed.
    """
    held = np.unique(np.concatenate([split.parts(seed)[1] for seed in protocol["seeds"]]))
    return {
        "run": str(run.path),
        "epochs": run.config.run.epochs,
        "epochs_done": run.epochs_done(),
        "data": data,
        "name": short_name(data),
        "test": split.description,
        "weights": weights,
        **count_trained_on(run.path, split.tests.subset(held), test or data),
        "protocol": protocol,
        "protocol_id": protocol_id(protocol),
        "figures": {name: summarise(values) for name, values in measured.items()},
    }


def write_result(run: Run, result: dict[str, Any]) -> Path:
    """Write a result to ``RUN/probes/``: one file for each protocol.

    Figures that an earlier probe of the same weights has left there are kept beside the new ones.
    """
    folder = run.path / "probes"
    folder.mkdir(exist_ok=True)
    words = (result["name"], result["protocol"]["name"], result["protocol_id"])
    path = folder / f"{'-'.join(words)}.json"
    try:
        earlier = json.loads(path.read_text())
        if earlier["weights"] == result["weights"]:
            result = {**result, "figures": {**earlier["figures"], **result["figures"]}}
    except (OSError, ValueError, KeyError, TypeError):
        pass  # there is none, or what is there is of no use
    write_json(path, result)
    return path


def read_results(run: Run, weights: str) -> tuple[dict[Path, dict[str, Any]], list[str]]:
    """The results in a run's ``probes/`` that are about its present weights.

    Returns:
        File to result; and the files that do not count, each with the reason.

    Raises:
        CheckpointError: A file cannot be read.
    """
    found, left_out = {}, []
    for file in sorted((run.path / "probes").glob("*.json")):
        try:
            result = json.loads(file.read_text())
            # Before protocols had names, there was one of them. Its figures are cheap to make
            # again: the features are kept.
            if "name" not in result["protocol"]:
                left_out.append(f"{file}: written by another version; probe the run again")
            elif result["weights"] != weights:
                left_out.append(f"{file}: about weights that the run has no longer")
            else:
                found[file] = result
        except (KeyError, TypeError):
            left_out.append(f"{file}: written by another version; probe the run again")
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{file} cannot be read: {error}") from error
    return found, left_out
