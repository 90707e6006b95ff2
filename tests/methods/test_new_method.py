"""A method that only the registry knows is trained, shown and read like those that are built in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from torch import Tensor, nn

from quarterturn.cli import main
from quarterturn.config import MethodOptions
from quarterturn.data.batches import Batch
from quarterturn.methods.base import Method, Network, StepOutput, TrainingFacts
from quarterturn.methods.configuration import Config
from quarterturn.methods.registry import METHODS
from quarterturn.models.backbone import Backbone
from quarterturn.runs import Run


@dataclass(frozen=True)
class BrightnessOptions(MethodOptions):
    """Predict how bright an image is."""

    name: ClassVar[str] = "brightness"
    title: ClassVar[str] = "brightness prediction"
    meaning: ClassVar[str] = "the features learn how bright an image is"
    module: ClassVar[str | None] = __name__

    brightness_weight: float = 1.0
    """Weight of the loss."""


class BrightnessNetwork(Network):
    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.head = nn.Linear(backbone.feature_dim, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images))[:, 0]


class Brightness(Method):
    def __init__(self, network: Network, weight: float) -> None:
        self.network, self.term_weights = network, {"brightness": weight}

    def losses(
        self, network: nn.Module, batch: Batch, step: int, progress: float = 0.0
    ) -> StepOutput:
        error = network(batch.images) - batch.images.mean(dim=(1, 2, 3))
        return StepOutput({"brightness": error.square().mean()})


def build_network(config: Config, backbone: Backbone, num_classes: int) -> Network:
    return BrightnessNetwork(backbone)


def build_method(config: Config, network: Network, facts: TrainingFacts) -> Method:
    return Brightness(network, config.method_as(BrightnessOptions).brightness_weight)


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setitem(METHODS, "brightness", BrightnessOptions)
    words = "--method brightness --brightness-weight 0.5 --epochs 3 --limit 60 --log-every 1"
    settings = [*words.split(), "--device", "cpu", "--precision", "32-true"]
    assert main(["pretrain", "digits", *settings, "--out", str(tmp_path / "run")]) == 0
    return Run.open(tmp_path / "run")


def test_one_entry_in_the_registry_is_enough(trained: Run, capsys: pytest.CaptureFixture[str]):
    assert trained.config.method == BrightnessOptions(brightness_weight=0.5)
    lines = trained.read_metrics("train")
    totals = [line["loss"] for line in lines]
    assert totals == pytest.approx([0.5 * line["brightness"] for line in lines], rel=1e-6)
    assert len(totals) == 3
    assert isinstance(trained.load_network(), BrightnessNetwork)
    assert "brightness prediction" in (trained.path / "report.html").read_text("utf-8")
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["pretrain", "digits", "--method", "brightness", "--help-all"])
    assert "--brightness-weight" in capsys.readouterr().out


def test_other_methods_refuse_its_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(METHODS, "brightness", BrightnessOptions)
    assert main(["pretrain", "digits", "--method", "rotnet", "--brightness-weight", "2"]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "--brightness-weight is an option of brightness" in told
