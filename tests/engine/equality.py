"""Whether two trainings ended with the same bits."""

from __future__ import annotations

import json
from pathlib import Path

import torch


def metrics_without_times(run: Path) -> list[dict[str, object]]:
    """The lines of metrics.jsonl, less what depends on the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [
        {k: v for k, v in line.items() if k not in ("elapsed_s", "images_per_s")} for line in lines
    ]


def assert_same_checkpoint(one: Path, other: Path) -> None:
    """Two runs ended with the same bits: weights, optimizer, bank."""
    states = [
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True) for run in (one, other)
    ]
    for state in states:
        del state["telemetry"]  # times, and bytes of lines that hold times
        del state["settings"]  # what was asked for, not what came of it
    assert_same(states[0], states[1], "checkpoint")


def assert_same(one: object, other: object, where: str) -> None:
    """Equal to the last bit, through nested lists and dicts."""
    assert type(one) is type(other), where
    if isinstance(one, dict) and isinstance(other, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple):
        assert len(one) == len(other), where
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}/{i}")
    elif isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other, where
