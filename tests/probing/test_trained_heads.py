from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import ten_crop

import quarterturn.engine.loop as loop
from quarterturn.config import DataConfig
from quarterturn.data.imageset import ArrayImages
from quarterturn.data.labelled import LabelledData
from quarterturn.data.source import Source
from quarterturn.data.sources import open_source
from quarterturn.engine.runtime import Runtime
from quarterturn.errors import ConfigError, DataError
from quarterturn.features.cache import FeatureCache
from quarterturn.features.extraction import Features, extract_parts, random_turns
from quarterturn.methods.base import Network
from quarterturn.methods.configuration import Config
from quarterturn.methods.decoupling import DecoupledNetwork
from quarterturn.probing.heads_training import (
    HeadsOnFeatures,
    HeadsOnImages,
    HeadsTraining,
    _read_in_all,
)
from quarterturn.probing.trained_heads import HeadsProbe, heads_protocol
from quarterturn.runs.records import ScoreName

from ..data.pictures import truncate

MEAN = STD = (0.5, 0.5, 0.5)
RECIPE = Config(data=DataConfig(image_size=8, eval_crop=1.0, mean=MEAN, std=STD)).with_settings(
    method="probe-heads",
    layers=("conv", "fc"),
    num_features=64,
    epochs=3,
    batch_size=8,
    precision="32-true",
    learning_rate=0.01,
    schedule="step",
    workers=0,
)
AS_IT_IS = {"crop_fraction": 1.0, "flip": False}
"""Random crops that are no others than the centre crops."""
PARTS = ("conv", "rotation", "invariant", "both")


@pytest.fixture
def network(tiny_backbone) -> Network:
    return DecoupledNetwork(tiny_backbone, 4).eval()


def tinted(number: int, seed: int) -> ArrayImages:
    """Noise of three classes that differ in hue, brighter at the top."""
    pixels = np.random.default_rng(seed).integers(0, 120, (number, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(number) % 3
    for i, label in enumerate(labels):
        pixels[i, :, :, label] += 80
    pixels[:, :3] += 40
    return ArrayImages(pixels, [f"{seed}-{i}" for i in range(number)], labels, list("abc"))


@pytest.fixture
def split() -> LabelledData:
    train = tinted(30, seed=1)
    return LabelledData(train, tinted(15, seed=2), "a test part", Source("x", train))


@pytest.fixture
def make_probe(tmp_path: Path, split: LabelledData) -> Callable[..., HeadsProbe]:
    """Makes a probe by settings that differ from ``RECIPE``; each has folders of its own."""
    made: list[HeadsProbe] = []

    def make(split: LabelledData = split, folder="", **settings) -> HeadsProbe:
        place = tmp_path / (folder or str(len(made)))
        made.append(
            HeadsProbe(
                split,
                RECIPE.with_settings(**settings),
                Runtime("cpu", "32-true"),
                folder=place / "x.training",
                store=FeatureCache(place / "features"),
            )
        )
        return made[-1]

    return make


@pytest.fixture
def images_seen(network) -> list[int]:
    """For each pass of the backbone, how many images it saw."""
    seen: list[int] = []
    network.backbone.stages["conv"].register_forward_hook(
        lambda _, images, maps: seen.append(len(maps))
    )
    return seen


def names_of(classifier: str, origin: str = "trained") -> list[ScoreName]:
    return [
        ScoreName(origin, part, classifier, view)
        for view in ("upright", "turned")
        for part in PARTS
    ]


class TestFigures:
    @pytest.mark.parametrize("augment", [True, False])
    def test_are_of_every_part_view_and_seed(self, make_probe, network, augment):
        probe = make_probe(augment=augment, learning_rate=0.05, epochs=8)
        found = probe.run(network, "trained", [0, 1])
        assert list(found) == names_of("linear")
        for by_seed in found.values():
            assert len(by_seed) == 2
            assert all(set(metrics["per_class"]) == set("abc") for metrics in by_seed)
        assert (
            found[ScoreName("trained", "conv", "linear", "upright")][0]["top1"] > 0.8
        )  # hues are easy to tell

    def test_of_a_layer_do_not_depend_on_the_others(self, make_probe, network):
        whole = make_probe().run(network, "trained", [3])
        alone = make_probe(layers=("conv",)).run(network, "trained", [3])
        assert set(alone) == {
            ScoreName("trained", "conv", "linear", view) for view in ("upright", "turned")
        }
        assert all(whole[name] == values for name, values in alone.items())

    def test_without_layers_are_of_the_last(self, make_probe, network):
        found = make_probe(layers=(), epochs=1).run(network, "x", [0])
        assert list(found) == [n for n in names_of("linear", "x") if n.part != "conv"]

    @pytest.mark.parametrize("augment", [True, False])
    def test_leave_the_network_as_it_was(self, make_probe, network, augment):
        before = {name: value.clone() for name, value in network.state_dict().items()}
        make_probe(augment=augment, epochs=1).run(network, "trained", [0])
        assert all(torch.equal(value, before[n]) for n, value in network.state_dict().items())
        assert all(p.requires_grad and p.grad is None for p in network.parameters())
        assert not network.training

    @pytest.mark.parametrize("augment", [True, False])
    def test_of_images_that_are_held_out_by_seed(self, make_probe, network, augment, images_seen):
        images = tinted(30, seed=1)
        alone = LabelledData(images, None, "20 % held out", Source("x", images))
        found = make_probe(alone, augment=augment, epochs=1).run(network, "trained", [0, 1])
        for name, by_seed in found.items():
            assert [sum(m["per_class"].values()) * 2 for m in by_seed] == pytest.approx(
                [m["top1"] * 6 for m in by_seed]
            ), name  # two of each class

    def test_unreadable_test_images_are_left_out(self, make_probe, network, tmp_path):
        for i, pixels in enumerate(tinted(30, seed=1).pixels):
            (tmp_path / "photos" / "abc"[i % 3]).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "photos" / "abc"[i % 3] / f"{i:02d}.png")
        source = open_source(str(tmp_path / "photos"))
        truncate(source.train.path(4))
        files = LabelledData(source.train, None, "20 % held out", source)
        on_images = make_probe(files, max_bad_fraction=0.2, **AS_IT_IS)
        on_features = make_probe(files, max_bad_fraction=0.2, augment=False)
        found = on_images.run(network, "trained", [0])
        assert on_features.run(network, "trained", [0]) == found


class TestKeptFeatures:
    def test_give_the_figures_of_the_very_same_crops(self, make_probe, network):
        on_images = make_probe(**AS_IT_IS).run(network, "trained", [0, 1])
        on_features = make_probe(augment=False).run(network, "trained", [0, 1])
        assert on_images == on_features
        # Random crops are others; were they not used, this would say nothing.
        assert make_probe().run(network, "trained", [0, 1]) != on_images

    def test_give_the_same_probabilities(self, make_probe, network):
        held, turns = np.arange(15), random_turns(15, seed=0)
        said = []
        for settings in (AS_IT_IS, {"augment": False}):
            training = make_probe(**settings)._training(network)
            trained = training.train(np.arange(24), seed=0, name="x")
            said.append([training.predict(trained, held, t) for t in (None, turns)])
        for one, other in zip(*said, strict=True):
            assert list(one) == list(other) == list(PARTS)
            for name, (probabilities, truth) in one.items():
                np.testing.assert_allclose(probabilities, other[name][0], atol=1e-5)
                np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
                assert truth.tolist() == other[name][1].tolist() == [i % 3 for i in range(15)]

    def test_are_extracted_once(self, make_probe, network, images_seen):
        probe = make_probe(augment=False, epochs=4, layers=("conv",), folder="kept")
        probe.run(network, "trained", [0, 1])
        # Training images, test images, and these in the turns of either seed.
        assert sorted(images_seen) == [15, 15, 15, 30]
        make_probe(augment=False, epochs=7, layers=("conv",), folder="kept").run(network, "t", [1])
        assert len(images_seen) == 4  # another training, by what the store has

    def test_of_layers_whose_unreadable_files_differ(self, make_probe, network, tmp_path):
        """As after a disk that was away while the second was extracted."""
        for i, pixels in enumerate(tinted(30, seed=1).pixels):
            (tmp_path / "photos" / "abc"[i % 3]).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "photos" / "abc"[i % 3] / f"{i:02d}.png")
        source = open_source(str(tmp_path / "photos"))
        files, whole = LabelledData(source.train, None, "", source), source.train.path(4)
        own = {"max_bad_fraction": 0.2, "augment": False, "epochs": 1}
        make_probe(files, layers=("conv",), folder="kept", **own).run(network, "trained", [0])
        truncate(whole)
        probe = make_probe(files, folder="kept", **own)
        probe.run(network, "trained", [0])
        kept = probe._training(network)._known
        assert [len(kept[name].indices) for name in PARTS] == [30, 29, 29, 29]
        for part in _read_in_all(kept, np.array([9, 4, 2])).values():
            assert part.indices.tolist() == [2, 9]
            assert part.labels.tolist() == source.train.labels[[2, 9]].tolist()

    def test_with_augmentation_every_epoch_sees_every_image(self, make_probe, network, images_seen):
        make_probe(epochs=4, layers=("conv",)).run(network, "trained", [0])
        # Four epochs in batches of 8, the test images twice, and black for the shapes.
        assert sum(images_seen) == 1 + 4 * 30 + 2 * 15
        assert images_seen.count(8) == 4 * 3

    def test_of_a_linear_head_are_pooled_and_others_whole(self, make_probe, network):
        for head, shape in [("linear", (30, 4, 4, 4)), ("multilayer", (30, 4, 8, 8))]:
            training = make_probe(head=head, augment=False, layers=("conv",))._training(network)
            assert isinstance(training, HeadsOnFeatures)
            assert training._known["conv"].values.shape == shape


class TestTenCrops:
    def test_are_the_mean_over_torchvisions(self, make_probe, network):
        random = np.random.default_rng(0)
        pixels = random.integers(0, 256, (9, 16, 16, 3), dtype=np.uint8)
        images = ArrayImages(pixels, list("abcdefghi"), np.arange(9) % 3, list("xyz"))
        split = LabelledData(images, images, "itself", Source("x", images))
        probe = make_probe(
            split, layers=("conv",), image_size=14, eval_crop=0.875, test_crops=10, flip=False
        )
        training = probe._training(network)
        assert isinstance(training, HeadsOnImages)
        trained = training.train(np.arange(9), seed=0, name="x").eval()
        said, truth = training.predict(trained, np.arange(9), None)["conv"]
        values = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
        with torch.no_grad():
            by_crop = [trained(crop)["conv"].softmax(dim=1) for crop in ten_crop(values, 14)]
        expected = torch.stack(by_crop).mean(dim=0).numpy()
        np.testing.assert_allclose(said, expected, atol=1e-5)
        assert truth.tolist() == [i % 3 for i in range(9)]
        centre = replace(training, recipe=probe.recipe.with_settings(test_crops=1))
        one, _ = centre.predict(trained, np.arange(9), None)["conv"]
        np.testing.assert_allclose(one, by_crop[4].numpy(), atol=1e-5)
        assert np.abs(one - said).max() > 0.01

    def test_leaves_out_images_unreadable_in_a_view(self, make_probe, network, monkeypatch):
        training = make_probe(test_crops=10, layers=("conv",))._training(network)
        trained = training.train(np.arange(30), seed=0, name="x")
        whole, _ = training.predict(trained, np.arange(15), None)["conv"]
        views = iter(range(10))

        def going(*arguments, **options) -> dict[str, Features]:
            gone, found = next(views), extract_parts(*arguments, **options)
            there = next(iter(found.values())).indices != gone
            return {
                name: Features(of.values[there], of.indices[there], of.labels[there])
                for name, of in found.items()
            }

        monkeypatch.setattr("quarterturn.probing.heads_training.extract_parts", going)
        said, truth = training.predict(trained, np.arange(15), None)["conv"]
        assert truth.tolist() == [i % 3 for i in range(10, 15)]
        np.testing.assert_allclose(said, whole[10:], atol=1e-6)


class TestInterrupted:
    @pytest.fixture
    def interrupt(self, monkeypatch) -> Callable[[int], None]:
        """Stops the training before its n-th step from now on."""

        def after(steps: int) -> None:
            left, step = iter(range(steps)), loop.training_step

            def stopping(*arguments, **options):
                if next(left, None) is None:
                    monkeypatch.undo()
                    raise KeyboardInterrupt
                return step(*arguments, **options)

            monkeypatch.setattr(loop, "training_step", stopping)

        return after

    @pytest.mark.parametrize("augment", [True, False])
    @pytest.mark.parametrize("steps", [1, 5, 12, 19])  # twelve make a training
    def test_resumes_to_the_same_figures(self, make_probe, network, interrupt, augment, steps):
        settings = {"augment": augment, "checkpoint_every": 3}
        expected = make_probe(**settings).run(network, "trained", [0, 1])
        probe = make_probe(**settings)
        interrupt(steps)
        with pytest.raises(KeyboardInterrupt):
            probe.run(network, "trained", [0, 1])
        assert probe.folder.is_dir()
        assert probe.run(network, "trained", [0, 1]) == expected  # to the bit
        probe.finish()
        assert not probe.folder.exists()

    def test_does_not_start_over(self, make_probe, network, interrupt):
        probe = make_probe(checkpoint_every=3)
        interrupt(7)
        with pytest.raises(KeyboardInterrupt):
            probe.run(network, "trained", [0])
        interrupt(6)  # from the sixth of twelve on
        found = probe.run(network, "trained", [0])
        assert list(found) == names_of("linear")

    def test_other_layers_begin_their_own_training(self, make_probe, network, interrupt):
        first = make_probe(layers=("conv",), folder="same")
        interrupt(5)
        with pytest.raises(KeyboardInterrupt):
            first.run(network, "trained", [0])
        other = make_probe(folder="same")
        assert other.folder == first.folder
        assert other.run(network, "trained", [0]) == make_probe().run(network, "trained", [0])
        other.finish()
        assert first.folder.is_dir()  # what the first has begun is kept
        interrupt(9)
        first.run(network, "trained", [0])
        first.finish()
        assert not first.folder.exists()

    def test_finishing_what_never_began_leaves_nothing(self, make_probe):
        probe = make_probe()
        probe.finish()
        assert not probe.folder.exists()


class TestImagesOfEachClass:
    def test_one_training_for_each_number(self, make_probe, network, monkeypatch):
        learned: dict[str, list[int]] = {}
        train = HeadsOnImages.train

        def noting(self: HeadsTraining, chosen, seed, name):
            learned[name] = chosen.tolist()
            return train(self, chosen, seed, name)

        monkeypatch.setattr(HeadsOnImages, "train", noting)
        probe = make_probe(images_per_class=(2, 4), epochs=1, layers=("conv",))
        found = replace(probe, few=3, many=5).run(network, "trained", [0])
        assert list(found) == [
            ScoreName("trained", "conv", f"linear-{k}", view)
            for k in (2, 4)
            for view in ("upright", "turned")
        ]
        assert learned == {
            "trained-linear-2-seed-0": list(range(6)),
            "trained-linear-4-seed-0": list(range(12)),
        }
        for k, group in [(2, "few"), (4, "medium")]:  # not by the ten that there are
            metrics = found[ScoreName("trained", "conv", f"linear-{k}", "upright")][0]
            assert [g for g in ("many", "medium", "few") if metrics[g] is not None] == [group]

    def test_are_shown_as_often_as_is_asked(self, make_probe, network, images_seen):
        make_probe(images_per_class=(2,), images_per_epoch=50, epochs=2, layers=("conv",)).run(
            network, "trained", [0]
        )
        assert sum(images_seen) == 1 + 2 * 50 + 2 * 15

    def test_more_than_some_class_has_are_left_out(self, make_probe, network, caplog):
        caplog.set_level(logging.INFO)
        probe = make_probe(
            images_per_class=(5, 10, 11, 20),
            epochs=1,
            layers=("conv",),
        )
        found = probe.run(network, "trained", [0])
        assert {name.classifier for name in found} == {"linear-5", "linear-10"}
        assert "left out: 11 20 images of each class; the smallest class has 10" in caplog.text

    def test_more_than_every_class_has_are_refused(self, make_probe, network):
        with pytest.raises(DataError, match=r"--images-per-class is 11 20; expected at most 10, "):
            make_probe(images_per_class=(11, 20)).run(network, "trained", [0])


class TestErrors:
    def test_a_layer_that_is_not_there(self, make_probe, network):
        with pytest.raises(ConfigError, match=r"no layers conv9; the backbone has conv, fc"):
            make_probe(layers=("conv", "conv9")).run(network, "trained", [0])

    def test_a_head_that_does_not_fit(self, make_probe, network):
        with pytest.raises(ConfigError, match=r"rotation: a nonlinear head needs maps, .* of 6;"):
            make_probe(layers=("fc",), head="nonlinear").run(network, "trained", [0])


class TestProtocol:
    def protocol(self, split, name="x", **settings):
        recipe = RECIPE.with_settings(**settings)
        found = heads_protocol(name, split, [0, 1], recipe, many=100, few=20)
        return json.loads(json.dumps(found))

    def test_is_changed_by_whatever_changes_figures(self, split):
        own = self.protocol(split)
        assert (own["name"], own["seeds"], own["training_images"]) == ("x", [0, 1], 30)
        for settings in [
            {"head": "multilayer"},
            {"num_features": 65},
            {"augment": False},
            {"test_crops": 10},
            {"images_per_epoch": 100},
            {"eval_crop": 0.9},
            {"extra_conv": ("conv",)},
            {"epochs": 4},
            {"batch_size": 9},
            {"learning_rate": 0.02},
            {"weight_decay": 0.1},
            {"crop_padding": 2},
            {"flip": False},
            {"crop_fraction": 0.5},
            {"crop_scale": (0.5, 1.0)},
            {"fixed_crop": 6},
            {"precision": "bf16-mixed"},
        ]:
            assert self.protocol(split, **settings) != own, settings

    def test_is_not_changed_by_what_figures_are_named_after(self, split):
        own = self.protocol(split)
        assert self.protocol(split, layers=("conv",)) == own
        assert self.protocol(split, images_per_class=(3,)) == own

    def test_without_augmentation_crops_do_not_count(self, split):
        own = self.protocol(split, augment=False)
        assert self.protocol(split, augment=False, flip=False, crop_fraction=0.5) == own
