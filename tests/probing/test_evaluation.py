"""``quarterturn probe --evaluate-only``: trained classifiers are kept, and tested again."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import quarterturn.runs.life_cycle as life_cycle
from quarterturn import probe
from quarterturn.data.imageset import ImageSet
from quarterturn.errors import CheckpointError, ConfigError, DataError
from quarterturn.runs import Run
from quarterturn.runs.records import ProbeResult
from tests.fixtures.runs import write_run

MAPS: dict[str, Any] = {
    "preset": "imagenet-linear",
    "layers": ("conv1", "conv2"),
    "epochs": 2,
    "batch_size": 32,
    "limit": 120,
    "device": "cpu",
    "workers": 0,
}
pytestmark = pytest.mark.usefixtures("without_page")

AGAIN = {"preset": "imagenet-linear", "evaluate_only": True, "device": "cpu", "workers": 0}


@pytest.fixture(scope="module")
def probed(tmp_path_factory) -> tuple[Run, ProbeResult]:
    """A run whose classifiers were trained on the first digits, and what they scored."""
    run = write_run(tmp_path_factory.mktemp("kept") / "run", image_size=8, num_noise=16)
    result = probe(run.path, "digits", **MAPS)
    assert result is not None
    return run, result


@pytest.fixture
def _no_training(monkeypatch) -> None:
    def refuse(*given: object, **named: object) -> None:
        raise AssertionError("a classifier is trained")

    monkeypatch.setattr(life_cycle, "train", refuse)
    monkeypatch.setattr("quarterturn.probing.heads_training.train", refuse)


def write_digits(folder: Path, images: ImageSet, names: dict[int, str]) -> Path:
    """A folder of some digits, in sub-folders of the given names."""
    assert images.labels is not None
    for index, label in enumerate(images.labels):
        if label in names:
            place = folder / names[int(label)]
            place.mkdir(parents=True, exist_ok=True)
            image, _ = images.read_sized(index, lambda size: 1.0)
            Image.fromarray(np.asarray(image)).save(place / f"{index}.png")
    return folder


@pytest.mark.usefixtures("_no_training")
class TestSameImages:
    def test_give_the_same_figures_to_the_last_digit(self, probed):
        run, trained = probed
        (path,) = (run.path / "probes").glob("digits-*.json")
        before = path.read_bytes()
        again = probe(run.path, "digits", limit=120, **AGAIN)
        assert again.scores == trained.scores
        assert again.protocol_id == trained.protocol_id
        assert path.read_bytes() == before

    def test_tell_which_classifiers_are_kept(self, probed):
        run, _ = probed
        with pytest.raises(ConfigError, match=r"fc: .*\(kept: conv1 conv2\)"):
            probe(run.path, "digits", limit=120, layers=("fc",), **AGAIN)
        with pytest.raises(ConfigError, match=r"--seed 7: .*\(kept: 0\)"):
            probe(run.path, "digits", limit=120, seed=7, **AGAIN)
        with pytest.raises(ConfigError, match=r"epochs 5 are kept \(kept: imagenet-linear on dig"):
            probe(run.path, "digits", limit=120, epochs=5, **AGAIN)
        with pytest.raises(ConfigError, match="none of imagenet-nonlinear are kept"):
            probe(run.path, "digits", **{**AGAIN, "preset": "imagenet-nonlinear"})

    def test_may_be_of_fewer_layers_and_networks(self, probed):
        run, trained = probed
        again = probe(run.path, "digits", limit=120, layers=("conv2",), untrained=False, **AGAIN)
        assert [(name.origin, name.part, name.view) for name in again.names] == [
            ("trained", "conv2", "upright"),
            ("trained", "conv2", "turned"),
        ]
        assert again.score("trained", "conv2", "linear") in trained.scores


@pytest.mark.usefixtures("_no_training")
class TestOtherImages:
    def test_are_matched_by_the_names_of_classes(self, probed, digits_source, tmp_path):
        # Without 0, 1 and 2 each class has another number than in the training.
        names = {label: str(label) for label in range(3, 10)}
        other = write_digits(tmp_path / "other", digits_source.test.subset(np.arange(90)), names)
        run, _ = probed
        result = probe(run.path, str(other), **AGAIN)
        own = probe(run.path, "digits", limit=120, test=str(other), **AGAIN)
        assert result.score("trained", "conv1", "linear").repeats == (
            own.score("trained", "conv1", "linear").repeats
        )
        assert result.protocol["test_images"] == len(list(other.rglob("*.png"))) > 50
        assert result.protocol["training_images"] == 120
        assert result.test == f"all of {other}; classifiers that have learned from digits"
        scored = result.score("trained", "conv1", "linear").repeats[0]["per_class"]
        assert [name for name, value in scored.items() if value is None] == ["0", "1", "2"]

    def test_of_unknown_classes_are_refused(self, probed, digits_source, tmp_path):
        other = write_digits(
            tmp_path / "x", digits_source.test.subset(np.arange(40)), {0: "0", 1: "cat", 2: "dog"}
        )
        with pytest.raises(DataError, match=r"cat, dog\. They know 0, 1, 2, 3"):
            probe(probed[0].path, str(other), **AGAIN)

    def test_to_learn_from_must_be_those_of_the_training(self, probed):
        with pytest.raises(ConfigError, match="none that have learned from digits, as these opt"):
            probe(probed[0].path, "digits", limit=120, long_tail=0.1, **AGAIN)


class TestKinds:
    def test_nonlinear_classifiers_are_kept_for_each_seed(self, probed, caplog):
        run, _ = probed
        settings: dict[str, Any] = {"kind": "nonlinear", "limit": 60, "device": "cpu", "workers": 0}
        settings["layers"] = ("conv2", "fc")
        trained = probe(run.path, "digits", epochs=1, seeds=2, **settings)
        with caplog.at_level(logging.INFO):
            again = probe(run.path, "digits", evaluate_only=True, **settings)
        assert again.scores == trained.scores
        assert again.protocol == json.loads(json.dumps(trained.protocol))
        assert len(again.score("trained", "invariant", "multilayer").repeats) == 2

    @pytest.mark.parametrize("which", [{"kind": "linear"}, {}, {"preset": "voc07-svm"}])
    def test_that_are_fitted_are_not_kept(self, probed, which):
        with pytest.raises(ConfigError, match="fitted anew each time"):
            probe(probed[0].path, "digits", evaluate_only=True, **which)


def test_damaged_classifier_is_named(probed, tmp_path):
    run, _ = probed
    (path,) = run.path.glob("classifiers/*/trained-conv1-*.ckpt")
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:700] + bytes([whole[700] ^ 1]) + whole[701:])
        with pytest.raises(CheckpointError, match="delete it, and probe without --evaluate-only"):
            probe(run.path, "digits", limit=120, **AGAIN)
    finally:
        path.write_bytes(whole)


def test_without_anything_kept(tmp_path):
    run = write_run(tmp_path / "run", image_size=8, num_noise=16)
    with pytest.raises(ConfigError, match="nothing is kept in"):
        probe(run.path, "digits", **AGAIN)


def test_images_trained_with_are_refused(tmp_path, photos):
    run = write_run(tmp_path / "run", image_size=16, num_noise=16)
    own: dict[str, Any] = {**MAPS, "limit": None, "epochs": 1, "untrained": False}
    first = probe(run.path, str(photos), **own)
    again = probe(run.path, str(photos), **AGAIN)  # the held-out ones
    assert again.scores == first.scores
    with pytest.raises(DataError, match=r"40 of the 40 images of .* were trained with"):
        probe(run.path, str(photos), limit=40, **AGAIN)
