"""Batch norm over several processes: converted without a change but that, refused without GPUs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from quarterturn.cli import main
from quarterturn.errors import ConfigError
from quarterturn.methods.build import build_network
from quarterturn.methods.configuration import Config
from quarterturn.runs.batch_statistics import check_device, statistics_words, synchronise

SYNCHRONISED = Config().with_settings(sync_batch_norm=True, batch_size=12)
NETWORK = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))


def on(device: str) -> SimpleNamespace:
    return SimpleNamespace(device=torch.device(device))


@pytest.mark.parametrize("backbone", ["resnet18", "convnet", "timm:resnet10t"])
def test_only_the_kind_of_the_norms_changes(backbone: str) -> None:
    config = Config().with_settings(backbone=backbone, image_size=32)
    torch.manual_seed(0)
    network, plain = build_network(config), build_network(config)
    plain.load_state_dict(network.state_dict())
    norms = [name for name, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)]
    parameters = list(network.parameters())
    synchronise(network)
    assert norms
    for name in norms:
        assert isinstance(network.get_submodule(name), nn.SyncBatchNorm)
    assert not any(isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) for m in network.modules())
    assert all(a is b for a, b in zip(network.parameters(), parameters, strict=True))
    assert network.state_dict().keys() == plain.state_dict().keys()
    images = torch.randn(4, 3, 32, 32)  # by itself, a process computes what it did
    for mode in (True, False):
        found = network.train(mode).backbone(images)
        torch.testing.assert_close(found, plain.train(mode).backbone(images), rtol=0, atol=0)


def test_what_is_frozen_stays_frozen() -> None:
    config = Config().with_settings(backbone="resnet18", image_size=32)
    network = build_network(config)
    network.freeze("whole", statistics=True)
    synchronise(network)
    network.train()
    norms = [m for m in network.modules() if isinstance(m, nn.SyncBatchNorm)]
    assert len(norms) == 20
    assert not any(norm.training for norm in norms)


def test_a_processor_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    check_device(SYNCHRONISED, on("cuda:1"))
    check_device(Config(), on("cpu"))
    with pytest.raises(ConfigError, match="--sync-batch-norm needs NVIDIA or AMD GPUs"):
        check_device(SYNCHRONISED, on("cpu"))
    assert main(["pretrain", "digits", "--sync-batch-norm", "--device", "cpu"]) == 2
    assert "the device is cpu: leave it out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("network", "config", "processes", "words"),
    [
        (NETWORK, Config(), 1, ""),
        (NETWORK, SYNCHRONISED, 1, "--sync-batch-norm has no effect in one process"),
        (NETWORK[0], SYNCHRONISED, 2, "has no effect: the network has no batch norm"),
        (NETWORK[0], Config(), 2, ""),
        (NETWORK, SYNCHRONISED, 3, "3 processes: batch norm takes its statistics over the whole"),
        (NETWORK, Config().with_settings(batch_size=12), 3, "over each one's own 4 images of a"),
    ],
)
def test_the_user_is_told_over_what(
    network: nn.Module, config: Config, processes: int, words: str
) -> None:
    found = statistics_words(network, config, processes)
    assert words in found
    assert bool(found) == bool(words)
