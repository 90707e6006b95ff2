import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from quarterturn.config import DataConfig
from quarterturn.data.imageset import ArrayImages
from quarterturn.data.labelled import LabelledData
from quarterturn.data.sources import open_source
from quarterturn.features.cache import FeatureCache
from quarterturn.features.extraction import extract_parts
from quarterturn.features.network_features import NetworkFeatures, Pixels
from quarterturn.methods.base import Network
from quarterturn.methods.build import build_network
from quarterturn.methods.configuration import Config
from quarterturn.probing.few_shot import draw, few_shot_classifier
from quarterturn.probing.fitted import Probe, finds_itself, probe_over_seeds
from quarterturn.runs.records import ScoreName

CLASSES = 5


def coloured(n: int, seed: int, strength: float = 40.0) -> ArrayImages:
    """Images of noise whose mean colour depends on the class; turns do not change it."""
    random = np.random.default_rng(seed)
    tints = np.random.default_rng(100).normal(size=(CLASSES, 3)) * strength
    labels = random.integers(0, CLASSES, n)
    pixels = 128 + tints[labels][:, None, None] + random.normal(size=(n, 8, 8, 3)) * 60
    return as_images(pixels, labels)


def patterned(n: int, seed: int) -> ArrayImages:
    """Images of a class's own pattern under noise; turned, another pattern."""
    random = np.random.default_rng(seed)
    patterns = np.random.default_rng(100).integers(0, 256, (CLASSES, 8, 8, 3))
    labels = random.integers(0, CLASSES, n)
    return as_images(patterns[labels] + random.normal(size=(n, 8, 8, 3)) * 60, labels)


def as_images(pixels: np.ndarray, labels: np.ndarray) -> ArrayImages:
    return ArrayImages(
        pixels.clip(0, 255).astype(np.uint8),
        [f"{i}" for i in range(len(pixels))],
        labels,
        [f"class {c}" for c in range(CLASSES)],
    )


def sorted_colours(views: torch.Tensor) -> dict[str, torch.Tensor]:
    """Sorted values do not know where they were: the same for all turns to the last bit."""
    return {"colour": views.flatten(2).sort(dim=2).values.mean(dim=2)}


class TestResults:
    def test_names(self, crop):
        config = Config().with_settings(backbone="convnet", image_size=8, embedding_dim=16)
        found = dict(
            Probe(coloured(60, 0), coloured(20, 1), crop, ks=(5, 200)).run(
                NetworkFeatures(build_network(config))
            )
        )
        assert set(found) == {
            ScoreName("trained", part, classifier, view)
            for part in ("rotation", "invariant", "both")
            for classifier in ("knn-5", "knn-200", "linear")
            for view in ("upright", "turned")
        }
        for value in found.values():
            assert value["n"] == 20
            assert 0 <= value["top1"] <= 1
            assert list(value["per_class"]) == [f"class {c}" for c in range(CLASSES)]

    @pytest.mark.parametrize(
        ("kinds", "classifiers"),
        [
            (("knn",), ["knn-20", "knn-200"]),
            (("linear",), ["linear"]),
        ],
    )
    def test_only_what_is_asked(self, crop, kinds, classifiers):
        probe = Probe(coloured(60, 0), coloured(20, 1), crop, kinds=kinds)
        assert {name for name, _ in probe.run(Pixels())} == {
            ScoreName("trained", "pixels", classifier, view)
            for classifier in classifiers
            for view in ("upright", "turned")
        }

    def test_pixels_are_those_of_the_centre_crop(self):
        crop = DataConfig(image_size=4, eval_crop=0.5, mean=(0, 0, 0), std=(1, 1, 1))
        images = coloured(9, 0)
        views = []

        def watching(x: torch.Tensor) -> dict[str, torch.Tensor]:
            views.append(x)
            return {"pixels": x.flatten(1)}

        list(Probe(images, images, crop, kinds=("knn",)).run(watching))
        expected = torch.from_numpy(images.pixels[:, 2:6, 2:6]).permute(0, 3, 1, 2) / 255
        torch.testing.assert_close(views[0], expected, atol=1e-5, rtol=0)


class TestViews:
    def test_an_invariant_representation_is_as_good_turned(self, crop):
        found = dict(Probe(coloured(150, 0), coloured(80, 1), crop).run(sorted_colours))
        for classifier in ("knn-20", "knn-200", "linear"):
            upright = found[ScoreName("trained", "colour", classifier, "upright")]
            assert found[ScoreName("trained", "colour", classifier, "turned")] == upright
            assert upright["top1"] > 0.7

    def test_another_is_worse_turned(self, crop):
        probe = Probe(patterned(200, 0), patterned(200, 1), crop, ks=(20,))
        found = dict(probe.run(Pixels()))
        for classifier in ("knn-20", "linear"):
            assert found[ScoreName("trained", "pixels", classifier, "upright")]["top1"] > 0.95
            # A quarter of the images stays upright; the others are about chance.
            assert found[ScoreName("trained", "pixels", classifier, "turned")]["top1"] < 0.65

    def test_training_on_turned_copies_helps(self, crop):
        probe = Probe(patterned(200, 0), patterned(200, 1), crop, ks=(20,), turn_training=True)
        found = dict(probe.run(Pixels()))
        for classifier in ("knn-20", "linear"):
            assert found[ScoreName("trained", "pixels", classifier, "turned")]["top1"] > 0.9

    def test_training_sees_only_upright_images_by_default(self, crop):
        train, test = patterned(40, 0), patterned(10, 1)
        upright = torch.from_numpy(train.pixels).permute(0, 3, 1, 2) / 127.5 - 1
        for turn_training in (False, True):
            views: list[torch.Tensor] = []

            def watching(x: torch.Tensor, views=views) -> dict[str, torch.Tensor]:
                views.append(x)
                return {"pixels": x.flatten(1)}

            probe = Probe(train, test, crop, kinds=("knn",), turn_training=turn_training)
            list(probe.run(watching))
            seen = [v for v in views if len(v) == 40]
            assert len(seen) == (4 if turn_training else 1)
            for k, view in enumerate(seen):
                torch.testing.assert_close(view, upright.rot90(k, (-2, -1)), atol=1e-5, rtol=0)

    def test_the_seed_fixes_the_turns(self, crop):
        def turned(seed: int) -> dict:
            probe = Probe(
                patterned(100, 0), patterned(200, 1), crop, kinds=("knn",), ks=(20,), seed=seed
            )
            return dict(probe.run(Pixels()))

        one, again, other = turned(0), turned(0), turned(1)
        assert one == again
        assert (
            one[ScoreName("trained", "pixels", "knn-20", "turned")]
            != other[ScoreName("trained", "pixels", "knn-20", "turned")]
        )
        assert (
            one[ScoreName("trained", "pixels", "knn-20", "upright")]
            == other[ScoreName("trained", "pixels", "knn-20", "upright")]
        )

    def test_shuffled_labels_give_chance(self, crop):
        train, test = coloured(300, 0), coloured(400, 1)
        for images in (train, test):
            images.labels = np.random.default_rng(2).permutation(images.labels)
        found = dict(Probe(train, test, crop).run(sorted_colours))
        deviation = math.sqrt(0.2 * 0.8 / 400)
        for name, value in found.items():
            assert abs(value["top1"] - 0.2) < 5 * deviation, name


class TestFewShot:
    OPTIONS = {"kinds": ("fewshot",), "shots": (1, 5), "draws": 3}  # noqa: RUF012

    def test_every_draw_is_a_value(self, crop):
        train, test = coloured(60, 0, strength=8), coloured(200, 1, strength=8)
        found = [*Probe(train, test, crop, **self.OPTIONS).run(sorted_colours)]
        names = [name for name, _ in found]
        assert {name: names.count(name) for name in names} == {
            ScoreName("trained", "colour", f"few-shot-{k}", view): 3
            for k in (1, 5)
            for view in ("upright", "turned")
        }
        by_name = {name: [v for n, v in found if n == name] for name in names}
        for shots in (1, 5):
            upright = by_name[ScoreName("trained", "colour", f"few-shot-{shots}", "upright")]
            assert (
                by_name[ScoreName("trained", "colour", f"few-shot-{shots}", "turned")] == upright
            )  # invariant features
            assert len({value["top1"] for value in upright}) > 1
            # Every class has but K training images: all are of one group.
            assert all(value["many"] is value["medium"] is None for value in upright)
        one, five = (
            by_name[ScoreName("trained", "colour", f"few-shot-{k}", "upright")] for k in (1, 5)
        )
        assert [value["C"] for value in one] == [1.0] * 3
        assert np.mean([v["top1"] for v in five]) > np.mean([v["top1"] for v in one]) + 0.1

    def test_a_classifier_is_fitted_once_for_each_draw(self, crop, monkeypatch):
        fitted = []

        def watched(train, labels):
            fitted.append((len(labels), train.tobytes()))
            return few_shot_classifier(train, labels)

        monkeypatch.setattr("quarterturn.probing.classifiers.few_shot_classifier", watched)
        split = LabelledData(coloured(60, 0), coloured(40, 1), "", open_source("digits"))
        found = probe_over_seeds(sorted_colours, split, crop, [0, 1], **self.OPTIONS)
        assert {name: len(values) for name, values in found.items()} == {
            ScoreName("trained", "colour", f"few-shot-{k}", view): 6
            for k in (1, 5)
            for view in ("upright", "turned")
        }
        # For two seeds three draws each of 5 and of 25 images, and no two of the same ones.
        assert sorted(size for size, _ in fitted) == [5] * 6 + [25] * 6
        assert len(set(fitted)) == 12

    def test_held_out_images_are_never_learned_from(self, crop, monkeypatch):
        images = coloured(60, 0)
        split = LabelledData(images, None, "", open_source("digits"))
        learned: list[set[int]] = []

        def watched(labels, indices, shots, **options):
            rows = draw(labels, indices, shots, **options)
            learned.append(set(indices[rows].tolist()))
            return rows

        monkeypatch.setattr("quarterturn.probing.classifiers.draw", watched)
        probe_over_seeds(sorted_colours, split, crop, [0, 1], **self.OPTIONS)
        held = [set(split.parts(seed)[1].tolist()) for seed in (0, 1)]
        assert held[0] != held[1]
        for i, images_of_draw in enumerate(learned):
            assert not images_of_draw & held[i // 6]


class TestStore:
    CONFIG = Config().with_settings(backbone="convnet", image_size=8, embedding_dim=16)

    @pytest.fixture
    def store(self, tmp_path) -> FeatureCache:
        return FeatureCache(tmp_path / "features")

    @pytest.fixture
    def network(self) -> Network:
        return build_network(self.CONFIG)

    @pytest.fixture
    def num_seen(self, network) -> list[int]:
        """Sizes of the batches that go through the network's first stage."""
        seen: list[int] = []
        network.backbone.stages["conv1"].register_forward_hook(
            lambda module, given, made: seen.append(len(made))
        )
        return seen

    def test_changes_no_figure(self, crop, network, store):
        train, test = coloured(60, 0), coloured(30, 1)
        options = {"ks": (5,), "many": 12, "few": 9}
        model = NetworkFeatures(network, ("conv2", "fc"), 2)
        plain = dict(Probe(train, test, crop, **options).run(model))
        written = dict(Probe(train, test, crop, store=store, **options).run(model))
        read = dict(Probe(train, test, crop, store=store, **options).run(model))
        assert written == plain
        assert read == plain
        assert len({value["top1"] for value in plain.values()}) > 3

    def test_features_are_computed_once(self, crop, network, num_seen, store):
        train, test = coloured(60, 0), coloured(30, 1)
        list(Probe(train, test, crop, kinds=("knn",), store=store).run(NetworkFeatures(network)))
        assert sum(num_seen) == 60 + 30 + 30
        list(Probe(train, test, crop, kinds=("knn",), store=store).run(NetworkFeatures(network)))
        assert sum(num_seen) == 120
        later = Probe(train, test, crop, kinds=("knn",), seed=1, store=store)
        list(later.run(NetworkFeatures(network)))
        assert sum(num_seen) == 150  # other turns of the test images, and no more

    def test_whatever_changes_features_makes_another_entry(self, crop, network, num_seen, store):
        train, test = coloured(20, 0), coloured(20, 1)
        turns = torch.arange(20) % 4
        entries = 0

        def made_anew(images, model, turns=None, **changes) -> bool:
            nonlocal entries
            before = len(num_seen)
            probe = Probe(train, test, replace(crop, **changes), store=store)
            found = probe.extract(images, model, turns)
            expected = extract_parts(images, replace(crop, **changes), model, turns=turns)
            for name, part in found.items():
                np.testing.assert_array_equal(part.values, expected[name].values)
            new = len(list(store.folder.iterdir())) - entries
            entries += new
            assert len(num_seen) - before == 1 + new  # the expected one is always computed
            return new == 1

        model = NetworkFeatures(network)
        assert made_anew(train, model)
        assert not made_anew(train, model)
        assert not made_anew(train.subset(np.arange(20)), NetworkFeatures(network, ("fc",)))
        assert not made_anew(train, model, flip=False, crop_padding=1, limit=9)  # for training
        assert made_anew(test, model)
        assert made_anew(train.subset(np.arange(20)[::-1]), model)
        assert made_anew(train, model, turns)
        assert made_anew(train, model, turns.flip(0))
        assert made_anew(train, model, torch.zeros(20, dtype=torch.int64))
        assert made_anew(train, NetworkFeatures(network, ("conv1",)), image_size=16)
        assert made_anew(train, model, eval_crop=0.75)
        assert made_anew(train, model, mean=(0.4, 0.5, 0.5))
        assert made_anew(train, model, std=(0.5, 0.5, 0.6))
        assert made_anew(train, NetworkFeatures(network, ("conv1",)))
        assert made_anew(train, NetworkFeatures(network, ("conv1",), 2))
        assert not made_anew(train, NetworkFeatures(network, ("conv1", "fc")))  # layer by layer
        with torch.no_grad():
            network.backbone.stages["fc"][1].weight[0, 0] += 1
        assert made_anew(train, NetworkFeatures(network))

    def test_files_of_one_name_and_size_in_another_folder(self, crop, network, store, tmp_path):
        """Pictures without compression are all of one size: nothing but the folder tells."""
        sets = []
        for seed, split in enumerate(("train", "test")):
            for i, pixels in enumerate(coloured(8, seed).pixels):
                (tmp_path / split).mkdir(exist_ok=True)
                Image.fromarray(pixels).save(tmp_path / split / f"{i}.bmp")
            sets.append(open_source(str(tmp_path / split)).train)
        assert sets[0].fingerprint() == sets[1].fingerprint()
        probe = Probe(*sets, crop, store=store)
        model = NetworkFeatures(network)
        for images in (*sets, *sets):
            found = probe.extract(images, model)["both"].values
            expected = extract_parts(images, crop, model)["both"].values
            np.testing.assert_array_equal(found, expected)
        assert len(list(store.folder.iterdir())) == 2

    def test_of_pixels_and_functions_nothing_is_kept(self, crop, store):
        probe = Probe(coloured(20, 0), coloured(10, 1), crop, kinds=("knn",), store=store)
        list(probe.run(Pixels()))
        list(probe.run(sorted_colours))
        assert not store.folder.exists()


class TestGroups:
    def test_are_by_the_training_images(self, crop):
        train, test = coloured(150, 0), coloured(60, 1)
        keep = np.concatenate(
            [np.flatnonzero(train.labels == c)[:n] for c, n in enumerate([20, 6, 5, 3, 2])]
        )
        probe = Probe(train.subset(keep), test, crop, kinds=("knn",), ks=(1,), many=6, few=5)
        for value in dict(probe.run(sorted_colours)).values():
            by_class = list(value["per_class"].values())
            assert value["many"] == by_class[0]
            assert value["medium"] == pytest.approx((by_class[1] + by_class[2]) / 2)
            assert value["few"] == pytest.approx((by_class[3] + by_class[4]) / 2)

    def test_turned_copies_count_once(self, crop):
        train = coloured(60, 0)
        most = int(np.bincount(train.labels).max())
        options = {"kinds": ("knn",), "ks": (1,), "many": most, "turn_training": True}
        found = dict(Probe(train, coloured(20, 1), crop, **options).run(sorted_colours))
        assert found[ScoreName("trained", "colour", "knn-1", "upright")]["many"] is None


class TestFindsItself:
    def test_what_is_invariant_and_tells_apart_finds_all(self, random_images, crop):
        def sorted_values(views: torch.Tensor) -> dict[str, torch.Tensor]:
            values = views.flatten(1).sort(dim=1).values
            return {"all": values, "one": values[:, :1]}

        found = finds_itself(sorted_values, random_images(60), crop)
        assert found["all"] == 1.0
        assert found["one"] < 0.2  # one number, normalised, is but a sign

    def test_pixels_find_those_that_were_not_turned(self, crop):
        images = patterned(200, 0)
        found = finds_itself(Pixels(), images, crop)
        assert 0.15 < found["pixels"] < 0.4

    def test_constants_find_nothing(self, random_images, crop):
        found = finds_itself(
            lambda views: {"all": torch.ones(len(views), 3)}, random_images(50), crop
        )
        assert found == {"all": pytest.approx(1 / 50)}
