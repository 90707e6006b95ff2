from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from quarterturn.errors import CheckpointError
from quarterturn.methods.configuration import Config
from quarterturn.presets import preset
from quarterturn.runs.bound_settings import differing_settings, require_settings, settings_record

CHECKPOINT = Path("runs/x/checkpoints/last.ckpt")
TRAINED_BY = preset("digits").with_settings(epochs=9, limit=50)


@pytest.fixture
def state(tmp_path: Path) -> dict[str, Any]:
    """As a checkpoint gives it back."""
    torch.save(settings_record(TRAINED_BY, ["cat", "dog"]), tmp_path / "state.pt")
    return torch.load(tmp_path / "state.pt", weights_only=True)


@pytest.mark.parametrize(
    "given",
    [{}, {"workers": 7}, {"device": "cpu"}, {"max_bad_fraction": 0.9}, {"max_pixels": 1000}],
)
def test_what_a_resumed_run_may_change_fits(state: dict[str, Any], given: dict[str, Any]) -> None:
    config = TRAINED_BY.with_settings(**given)
    assert differing_settings(state, config, CHECKPOINT, ["cat", "dog"]) == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"epochs": 100}, "epochs 100, trained by 9"),
        ({"learning_rate": 0.5}, "learning_rate 0.5, trained by 0.002"),
        ({"mean": (0.1, 0.1, 0.1)}, r"mean \(0.1, 0.1, 0.1\), trained by \(0.305"),
        ({"precision": "32-true"}, "precision 32-true, trained by auto"),
        ({"method": "rotnet"}, "method rotnet, trained by decoupling"),
        ({"seed": 1, "limit": None}, "limit None, trained by 50; seed 1, trained by 0"),
    ],
)
def test_other_settings_are_named(state: dict[str, Any], given: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckpointError, match=f"than the run has now: {words}.*put the settings"):
        require_settings(state, TRAINED_BY.with_settings(**given), CHECKPOINT, ["cat", "dog"])


def test_the_order_of_classes_counts(state: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="names of the classes"):
        require_settings(state, TRAINED_BY, CHECKPOINT, ["dog", "cat"])


def test_checkpoints_of_earlier_versions_fit_any_settings() -> None:
    assert differing_settings({"network": {}}, TRAINED_BY, CHECKPOINT) == []


def test_settings_that_a_later_version_adds_count_with_their_defaults(
    state: dict[str, Any],
) -> None:
    del state["settings"]["config"]["data"]["white"]
    assert differing_settings(state, TRAINED_BY, CHECKPOINT, ["cat", "dog"]) == []
    with pytest.raises(CheckpointError, match="white 4095, trained by None"):
        require_settings(state, TRAINED_BY.with_settings(white=4095), CHECKPOINT, ["cat", "dog"])


@pytest.mark.parametrize(
    "carried", [[], {}, {"config": 3, "format": 2}, {"config": {}, "format": 99, "class_names": []}]
)
def test_forged_settings_are_refused_in_words(carried: object) -> None:
    with pytest.raises(CheckpointError, match=r"the settings in .*last\.ckpt cannot be read"):
        require_settings({"settings": carried}, Config(), CHECKPOINT)
