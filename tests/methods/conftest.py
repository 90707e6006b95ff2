"""Snapshots of a method's state: computing losses must not change it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from quarterturn.methods.base import Method


@pytest.fixture
def state_of() -> Callable[[Method], dict[str, Any]]:
    """Copies all that a method's ``losses`` may not change, to compare by `unchanged`."""

    def copy(method: Method) -> dict[str, Any]:
        state: dict[str, Any] = {
            n: p.detach().clone() for n, p in method.network.named_parameters()
        }
        state["torch RNG"] = torch.random.get_rng_state()
        state["numpy RNG"] = torch.from_numpy(np.random.get_state()[1].astype(np.int64))  # noqa: NPY002
        if "bank" in method.state_dict():
            bank = method.state_dict()["bank"]
            state["bank rows"] = bank["rows"].clone()
            z = bank["normalizer"]
            state["normalizer"] = torch.tensor(torch.nan) if z is None else z.clone()
        return state

    return copy


@pytest.fixture
def unchanged() -> Callable[[dict[str, Any], dict[str, Any]], bool]:
    """Checks that two copies of `state_of` are equal to the bit."""

    def equal(before: dict[str, Any], after: dict[str, Any]) -> bool:
        assert before.keys() == after.keys()
        changed = [n for n in before if not torch.allclose(before[n], after[n], 0, 0, True)]
        assert changed == []
        return True

    return equal
