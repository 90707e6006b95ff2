from __future__ import annotations

import numpy as np
import pytest

from quarterturn.exploring import oddness as module
from quarterturn.exploring.oddness import oddness
from tests.exploring.test_kinds import blobs


def test_what_is_odd_in_any_layer_is_on_top() -> None:
    early, late = blobs([60, 60]), blobs([60, 60], seed=1)
    early[3], late[7] = -early[3], -late[7]
    scores = oddness({"early": early, "late": late})
    assert set(np.argsort(-scores)[:2].tolist()) == {3, 7}
    assert float(np.median(scores)) == pytest.approx(1, abs=0.1)


def test_four_copies_of_an_odd_image_stay_odd() -> None:
    values = blobs([100])
    values[:4] = -values[0]
    assert set(np.argsort(-oddness({"x": values}))[:4].tolist()) == {0, 1, 2, 3}
    values[:9] = -values[20]
    assert 0 not in np.argsort(-oddness({"x": values}))[:4]


def test_a_sample_of_a_large_collection_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    values = blobs([100, 100])
    values[[5, 150]] *= -1
    monkeypatch.setattr(module, "MOST_COMPARED", 60)
    assert set(np.argsort(-oddness({"x": values}))[:2].tolist()) == {5, 150}
