import math

import numpy as np
import pytest
import torch

from quarterturn.config import Config, DataConfig
from quarterturn.data.imageset import ArrayImages
from quarterturn.evaluation.probe import Probe, finds_itself
from quarterturn.evaluation.representation import NetworkFeatures, Pixels
from quarterturn.methods.registry import build_network

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
            f"{part}/{classifier}/{view}"
            for part in ("rotation", "invariant", "both")
            for classifier in ("knn-5", "knn-200", "linear")
            for view in ("upright", "turned")
        }
        for value in found.values():
            assert value["n"] == 20
            assert 0 <= value["top1"] <= 1
            assert list(value["per_class"]) == [f"class {c}" for c in range(CLASSES)]

    @pytest.mark.parametrize(
        ("kinds", "names"),
        [
            (("knn",), ["pixels/knn-20/upright", "pixels/knn-200/upright"]),
            (("linear",), ["pixels/linear/upright"]),
        ],
    )
    def test_only_what_is_asked(self, crop, kinds, names):
        probe = Probe(coloured(60, 0), coloured(20, 1), crop, kinds=kinds)
        found = [name for name, _ in probe.run(Pixels())]
        assert sorted(found) == sorted([*names, *(n.replace("upright", "turned") for n in names)])

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
            upright = found[f"colour/{classifier}/upright"]
            assert found[f"colour/{classifier}/turned"] == upright
            assert upright["top1"] > 0.7

    def test_another_is_worse_turned(self, crop):
        probe = Probe(patterned(200, 0), patterned(200, 1), crop, ks=(20,))
        found = dict(probe.run(Pixels()))
        for classifier in ("knn-20", "linear"):
            assert found[f"pixels/{classifier}/upright"]["top1"] > 0.95
            # A quarter of the images stays upright; the others are about chance.
            assert found[f"pixels/{classifier}/turned"]["top1"] < 0.65

    def test_training_on_turned_copies_helps(self, crop):
        probe = Probe(patterned(200, 0), patterned(200, 1), crop, ks=(20,), turn_training=True)
        found = dict(probe.run(Pixels()))
        for classifier in ("knn-20", "linear"):
            assert found[f"pixels/{classifier}/turned"]["top1"] > 0.9

    def test_training_sees_upright_images_alone_unless_asked(self, crop):
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
        assert one["pixels/knn-20/turned"] != other["pixels/knn-20/turned"]
        assert one["pixels/knn-20/upright"] == other["pixels/knn-20/upright"]

    def test_shuffled_labels_give_chance(self, crop):
        train, test = coloured(300, 0), coloured(400, 1)
        for images in (train, test):
            images.labels = np.random.default_rng(2).permutation(images.labels)
        found = dict(Probe(train, test, crop).run(sorted_colours))
        deviation = math.sqrt(0.2 * 0.8 / 400)
        for name, value in found.items():
            assert abs(value["top1"] - 0.2) < 5 * deviation, name


class TestFindsItself:
    def test_what_is_invariant_and_tells_apart_finds_all(self, noise, crop):
        def sorted_values(views: torch.Tensor) -> dict[str, torch.Tensor]:
            values = views.flatten(1).sort(dim=1).values
            return {"all": values, "one": values[:, :1]}

        found = finds_itself(sorted_values, noise(60), crop)
        assert found["all"] == 1.0
        assert found["one"] < 0.2  # one number, normalised, is but a sign

    def test_pixels_find_those_that_were_not_turned(self, crop):
        images = patterned(200, 0)
        found = finds_itself(Pixels(), images, crop)
        assert 0.15 < found["pixels"] < 0.4

    def test_constants_find_nothing(self, noise, crop):
        found = finds_itself(lambda views: {"all": torch.ones(len(views), 3)}, noise(50), crop)
        assert found == {"all": pytest.approx(1 / 50)}
