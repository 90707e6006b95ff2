"""A run with all the tests that it can be compared by.

A run of ``pretrain`` is compared by its probes; one of ``finetune`` or ``detect`` by its own test
too, which is put into the form of a probe.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quarterturn.data.data_argument import short_name
from quarterturn.errors import ConfigError
from quarterturn.features.network_features import weights_fingerprint
from quarterturn.runs import RESULTS, Run
from quarterturn.runs.classifier_results import ClassifierResult, read_classifier_result
from quarterturn.runs.detection_records import (
    DETECTION,
    DetectionResult,
    read_detection_result,
    read_detections,
)
from quarterturn.runs.probes import read_results
from quarterturn.runs.protocols import CLASSIFIER, DETECTOR, protocol_id
from quarterturn.runs.records import ProbeResult, Score, Statistic, measures_in
from quarterturn.wording import counted


@dataclass(frozen=True)
class ProbedRun:
    """A run with its probes.

    Attributes:
        run: The run.
        probes: Protocol's short name to the probe's result, and to a classifier's own test.
        left_out: Result files that do not count, each with the reason.
    """

    run: Run
    probes: dict[str, ProbeResult]
    left_out: list[str]

    @classmethod
    def open(cls, path: Path | str) -> ProbedRun:
        """A run, and those results in its ``probes/`` that are about its present weights.

        Raises:
            CheckpointError: There is no such run, or a result cannot be read.
            ConfigError: The run is not finished, or has two results of one protocol.
        """
        run = Run.open(path)
        weights = weights_fingerprint(run.load_network())
        if (done := run.epochs_done()) < run.config.run.epochs:
            raise ConfigError(
                f"{run.path} has done {done:.3g} of its {counted(run.config.run.epochs, 'epoch')}; "
                f"finish it first: quarterturn {run.kind} --resume {run.path}"
            )
        results, left_out = read_results(run, weights)
        probes: dict[str, ProbeResult] = {}
        for file, result in results.items():
            name = result.protocol_id
            if name in probes:
                raise ConfigError(
                    f"{run.path} has two results of protocol {name}: {file.name} and another; "
                    "delete the one that is not wanted"
                )
            probes[name] = result
        return cls(run, probes | _own_test(run), left_out)


def _own_test(run: Run) -> dict[str, ProbeResult]:
    """The figures of a classifier's last epoch, in the form of a probe of its logits."""
    if run.kind == "detect" and (run.path / DETECTION).exists():
        return _test_of_detector(run)
    if run.kind != "finetune" or not (run.path / RESULTS).exists():
        return {}
    result = read_classifier_result(run.path)
    if result.protocol is None:  # of an earlier version
        return {}
    score = Score(
        origin="trained",
        part="logits",
        classifier=CLASSIFIER,
        view="upright",
        measures={
            measure: Statistic(result.figures[measure]) for measure in measures_in(result.figures)
        },
    )
    return _as_probe(run, result, result.protocol, score)


def _test_of_detector(run: Run) -> dict[str, ProbeResult]:
    """The figures of a detector by the rule of VOC2007, in the form of a probe of its objects."""
    result = read_detection_result(run.path)
    names = "\0".join(read_detections(run.path).names.tolist())
    protocol = {
        "name": DETECTOR,
        "training_fingerprint": run.fingerprint,
        "test_fingerprint": hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()[:16],
        "classes": result.class_names,
        "iou": result.iou,
        "rule": "11-point",
        "training_images": result.training_images,
        "test_images": result.test_images,
        "seeds": [],
    }
    worst = min(each.ap_11_point for each in result.classes)
    score = Score(
        origin="trained",
        part="objects",
        classifier=result.detector,
        view="upright",
        measures={
            "mean_ap": Statistic(result.mean_ap_11_point),
            "worst_class": Statistic(worst),
        },
    )
    return _as_probe(run, result, protocol, score)


def _as_probe(
    run: Run, result: ClassifierResult | DetectionResult, protocol: dict[str, Any], score: Score
) -> dict[str, ProbeResult]:
    assert run.data is not None
    name, epochs = protocol_id(protocol), run.config.run.epochs
    test = ProbeResult(
        run=str(run.path),
        epochs=epochs,
        epochs_done=epochs,
        data=run.data,
        name=short_name(run.data),
        test=result.test,
        weights="",
        protocol=protocol,
        protocol_id=name,
        scores=(score,),
        test_images_learned_from=result.test_images_learned_from,
        test_images_learned_with_labels=result.test_images_learned_with_labels,
    )
    return {name: test}
