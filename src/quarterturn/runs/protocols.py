"""Protocols: all that figures must have in common to stand in one table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from quarterturn.data.labelled import LabelledData

FORMAT = 1
"""Part of every protocol; raised when the same settings begin to mean other figures."""

DETECTOR = "detector"
"""Name of the protocol by which `detect` tests its detectors."""

CLASSIFIER = "classifier"
"""Name of the protocol by which `finetune` tests its classifiers."""


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
