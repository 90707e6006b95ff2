"""Where the time of a training goes."""

import json

import pytest
import torch

from quarterturn.engine.profile import BARE, PARTS, PROFILE, TRACE
from quarterturn.errors import ConfigError
from quarterturn.methods.configuration import Config
from quarterturn.pretraining.pretrain import pretrain
from quarterturn.timing import Timing, count_step, measured, timed

from ..fixtures.runs import QUICK

SETTINGS = {**QUICK, "image_size": 12, "backbone": "convnet", "epochs": 1, "batch_size": 4}


def nothing() -> None:
    """There is no device to wait for."""


def test_a_part_is_counted_without_the_parts_within(monkeypatch):
    times = iter([0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0])
    monkeypatch.setattr("quarterturn.timing.time.perf_counter", lambda: next(times))
    with measured(nothing, nothing) as timing:  # 0
        with timed("losses"), timed("forward"):  # from 1, and within from 3 to 7
            pass
        with timed("losses"):  # to 15, again from 31 to 63
            pass
    assert timing.seconds == {"losses": 2.0 + 8.0 + 32.0, "forward": 4.0}


def test_nothing_is_measured_unasked():
    with timed("forward"):
        count_step(3)
    steps: list[int] = []
    with measured(nothing, lambda: steps.append(1)) as timing:
        count_step(3)
        count_step(4)
    count_step(5)
    assert (timing.steps, timing.images, len(steps)) == (2, 7, 2)
    assert isinstance(timing, Timing)
    assert timing.seconds == {}


def test_an_error_ends_its_part():
    with measured(nothing, nothing) as timing:
        with pytest.raises(ZeroDivisionError), timed("forward"):
            raise ZeroDivisionError
        with timed("backward"):
            pass
    assert timing.seconds.keys() == {"forward", "backward"}


def test_a_profiled_training_is_the_same_training(tmp_path, caplog):
    settings = {**SETTINGS, "limit": 90, "holdout": 0.1}
    with caplog.at_level("INFO", logger="quarterturn"):
        run = pretrain("digits", out=tmp_path / "profiled", profile=True, **settings)
    plain = pretrain("digits", out=tmp_path / "plain", **settings)
    found = json.loads((run.path / PROFILE).read_text())
    assert found["steps"] > 15
    assert found["parts"].keys() == {*PARTS, "other"}
    assert sum(of["share"] for of in found["parts"].values()) == pytest.approx(1)
    assert all(of["seconds"] > 0 for of in found["parts"].values())
    bare = sum(found["parts"][name]["share"] for name in BARE)
    assert found["share_of_forward_and_backward"] == pytest.approx(bare)
    assert f"profile of {found['steps']} steps" in caplog.text
    names = {
        event.get("name") for event in json.loads((run.path / TRACE).read_text())["traceEvents"]
    }
    assert {"forward", "backward", "optimizer", "wait for data"} <= names
    assert not (plain.path / PROFILE).exists()
    one, other = (r.load_network().state_dict() for r in (run, plain))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_it_is_refused_with_compile():
    with pytest.raises(ConfigError, match="--profile is True; expected false with --compile"):
        Config().with_settings(profile=True, compile=True).check()
