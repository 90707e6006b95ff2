import inspect
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.transforms.functional import center_crop

from quarterturn.config import DataConfig
from quarterturn.data.batches import TrainingBatches
from quarterturn.data.evaluation_batches import evaluation_batches
from quarterturn.data.imageset import ArrayImages
from quarterturn.data.views import list_views
from quarterturn.engine.loop import training_step
from quarterturn.engine.runtime import Runtime
from quarterturn.engine.schedule import learning_rate
from quarterturn.errors import ConfigError
from quarterturn.methods.build import build_network
from quarterturn.methods.configuration import Config
from quarterturn.methods.frozen_features import (
    HeadsNetwork,
    build_classifiers,
    feature_shapes,
)
from quarterturn.presets.protocols import PROTOCOLS, protocol_for
from quarterturn.probing.heads_training import FrozenFeaturesTraining
from quarterturn.probing.options import ProbeOptions
from quarterturn.runs.life_cycle import prepare

LINEAR = [0.01] * 5 + [0.002] * 20 + [0.0004] * 20 + [0.00008] * 20
CONVOLUTIONAL = [0.1] * 35 + [0.02] * 35 + [0.004] * 15 + [0.0008] * 15
RATES = {
    "imagenet-linear": LINEAR,
    "places205-linear": LINEAR,
    "imagenet-nonlinear": [0.01] * 10 + [0.002] * 10 + [0.0004] * 10 + [0.00008] * 10,
    "cifar10-multilayer": [0.1] * 20 + [0.02] * 20 + [0.004] * 5 + [0.0008] * 55,
    "cifar10-convolutional": CONVOLUTIONAL,
    "cifar10-semi-supervised": CONVOLUTIONAL,
}
"""The learning rate of every epoch."""


@pytest.mark.parametrize("name", RATES)
def test_learning_rates(name):
    config = PROTOCOLS[name]()
    assert config.run.epochs == len(RATES[name])
    found = [learning_rate(e, config.run.epochs, config.optimizer) for e in range(len(RATES[name]))]
    assert found == pytest.approx(RATES[name], rel=1e-12)


@pytest.mark.parametrize("name", RATES)
def test_constants(name):
    config = PROTOCOLS[name]()
    o = config.optimizer
    assert (o.optimizer, o.momentum, o.nesterov, o.weight_decay) == ("sgd", 0.9, True, 5e-4)
    assert config.run.batch_size == (128 if name.startswith("cifar10") else 192)
    assert config.run.precision == "32-true"
    assert config.method.augment
    assert config.method.test_crops == 1
    assert config.data.flip
    if name.startswith("cifar10"):
        assert (config.data.crop_padding, config.data.crop_fraction) == (4, 0)
        assert config.method.layers == ("block2",)
    else:
        of_places = name == "places205-linear"
        assert config.data.crop_padding == 0
        assert config.data.crop_fraction == (0 if of_places else 0.875)
        assert config.data.fixed_crop == (224 if of_places else 0)
    assert (config.method.images_per_epoch is not None) == (name == "cifar10-semi-supervised")


def test_heads_and_their_layers():
    convs = ("conv1", "conv2", "conv3", "conv4", "conv5")
    of = {name: make().method for name, make in PROTOCOLS.items()}
    for name in ("imagenet-linear", "places205-linear"):
        assert (of[name].head, of[name].layers, of[name].num_features) == ("linear", convs, 9000)
    nonlinear = of["imagenet-nonlinear"]
    assert (nonlinear.head, nonlinear.layers) == ("nonlinear", ("conv4", "conv5"))
    assert nonlinear.extra_conv == ("conv4",)
    assert of["cifar10-multilayer"].head == "multilayer"
    assert of["cifar10-convolutional"].head == "convolutional"
    few = of["cifar10-semi-supervised"]
    assert (few.head, few.images_per_epoch) == ("convolutional", 50_000)
    assert few.images_per_class == (20, 100, 400, 1000, 5000)
    assert not of["nonlinear"].augment


@pytest.mark.parametrize("name", PROTOCOLS)
def test_docstring_names_paper_command_and_expectation(name):
    text = " ".join(PROTOCOLS[name].__doc__.split())
    assert "Paper: " in text
    option = "--kind nonlinear" if name == "nonlinear" else f"--preset {name}"
    assert option in text.split("Command: ``quarterturn probe RUN ")[1].split("``")[0]
    assert "Expected: " in text


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_trip_through_json_changes_nothing(name):
    config = PROTOCOLS[name]()
    config.check()
    assert Config.from_dict(config.to_dict()) == config


def test_the_command_line_names_them_all():
    words = " ".join(inspect.getsource(ProbeOptions).split())
    for name in RATES:
        assert f" {name}" in words


class TestProtocolFor:
    RUN = Config().with_settings(
        backbone="nin",
        image_size=48,
        eval_crop=1.0,
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
        max_bad_fraction=0.2,
        flip=False,
        crop_scale=(0.5, 0.6),
        limit=50,
        long_tail=0.1,
        epochs=7,
        batch_size=9,
        learning_rate=3.0,
    )

    @pytest.mark.parametrize("name", PROTOCOLS)
    def test_normalises_as_the_run_and_trains_as_the_protocol(self, name):
        recipe, own = protocol_for(name, self.RUN), PROTOCOLS[name]()
        d = recipe.data
        # Resize 256 and a crop of 224, or whole squares; the quick one takes what the run took.
        eval_crop = 0.875 if name.startswith("imagenet") else 1.0
        assert (d.image_size, d.eval_crop, d.max_bad_fraction) == (48, eval_crop, 0.2)
        assert (d.mean, d.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
        assert recipe.model == self.RUN.model
        assert (recipe.method, recipe.optimizer, recipe.run) == (own.method, own.optimizer, own.run)
        shown = {
            "image_size": 48,
            "eval_crop": eval_crop,
            "max_bad_fraction": 0.2,
            "mean": d.mean,
            "std": d.std,
        }
        assert d == replace(own.data, **shown)  # crops, flips and which images: the protocol's

    def test_tests_are_cropped_as_large_as_trainings(self):
        run = self.RUN.with_settings(eval_crop=0.7)
        crops = {name: protocol_for(name, run).data.eval_crop for name in PROTOCOLS}
        assert crops.pop("nonlinear") == 0.7
        assert crops == {
            name: 0.875 if name.startswith("imagenet") else 1.0
            for name in PROTOCOLS
            if name in crops
        }

    def test_an_unknown_one_is_refused_with_the_closest(self):
        with pytest.raises(ConfigError, match="'imagenet-lin'; did you mean 'imagenet-linear'"):
            protocol_for("imagenet-lin", Config())


RUNS = {
    "imagenet": Config().with_settings(backbone="alexnet", image_size=64),
    "places205": Config().with_settings(backbone="alexnet", image_size=64),
    "cifar10": Config().with_settings(backbone="nin", image_size=32),
    "nonlinear": Config().with_settings(backbone="convnet", image_size=8),
}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_one_training_step(name, random_images, monkeypatch):
    monkeypatch.setattr("quarterturn.models.probe_heads.HIDDEN_WIDTH", 64)  # 4,096 take seconds
    run = RUNS[name.split("-")[0]]
    recipe = protocol_for(name, run).with_settings(batch_size=8, workers=0)
    recipe.check()
    source = build_network(run).eval()
    layers = recipe.method.layers or source.backbone.layers[-1:]
    shapes = feature_shapes(source, layers, recipe.data.image_size)
    network = HeadsNetwork(source, layers, build_classifiers(shapes, 3, recipe.method, seed=0))
    before = {n: value.clone() for n, value in network.state_dict().items()}
    training = prepare(
        FrozenFeaturesTraining(
            config=recipe,
            images=random_images(12, 72),
            runtime=Runtime("cpu", "32-true"),
            network=network,
            batches=None,
        )
    )
    batches = training.batches
    assert batches.steps_per_epoch == (6250 if name == "cifar10-semi-supervised" else 2)
    terms = training_step(training, network.train(), next(iter(batches.epoch(0))))
    assert set(terms) == {"loss", *shapes}
    assert all(math.isfinite(float(value)) for value in terms.values())
    total = sum(float(value) for term, value in terms.items() if term != "loss")
    assert float(terms["loss"]) == pytest.approx(total, rel=1e-5)
    moved = {n for n, value in network.state_dict().items() if not torch.equal(value, before[n])}
    assert {n for n, _ in network.classifiers.named_parameters("classifiers")} <= moved
    assert not any(n.startswith("backbone") for n in moved)


def test_imagenet_crops_match_resize_and_random_crop():
    assert PROTOCOLS["imagenet-linear"]().data == DataConfig(crop_fraction=224 / 256)


class TestPlaces205:
    """Crops of 224 pixels without a resize, in training and in the test."""

    RUN = Config().with_settings(backbone="alexnet", image_size=224, eval_crop=0.875)

    def test_crops_are_the_runs_where_nothing_is_augmented(self):
        run = self.RUN.with_settings(fixed_crop=100)
        crops = {name: protocol_for(name, run).data.fixed_crop for name in PROTOCOLS}
        assert (crops.pop("places205-linear"), crops.pop("nonlinear")) == (224, 100)
        assert set(crops.values()) == {0}

    @pytest.mark.parametrize("size", [(256, 256), (256, 341), (300, 260), (500, 375)])
    def test_are_pieces_of_images_of_any_size(self, size):
        pixels = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)
        images = ArrayImages(pixels, list("abc"), np.zeros(3, np.int64), ["x"])
        crop = protocol_for("places205-linear", self.RUN).data
        std, mean = (torch.tensor(v).view(3, 1, 1) for v in (crop.std, crop.mean))
        (tested,) = evaluation_batches(images, crop)
        (trained,) = TrainingBatches(images, replace(crop, flip=False), batch_size=3, seed=5).epoch(
            0
        )
        for i in range(3):
            whole = torch.from_numpy(pixels[i]).permute(2, 0, 1) / 255
            assert torch.allclose(tested.images[i] * std + mean, center_crop(whole, 224), atol=1e-6)
            found = trained.images[trained.indices.tolist().index(i)] * std + mean
            row = found[0, 0, :8]
            top, left = (
                ((whole[0].unfold(1, 8, 1) - row).abs().amax(dim=2) < 1e-6).nonzero()[0].tolist()
            )
            piece = whole[:, top : top + 224, left : left + 224]
            assert torch.allclose(found, piece, atol=1e-6)

    def test_squares_of_256_pixels_give_the_bits_of_imagenets(self):
        pixels = np.random.default_rng(1).integers(0, 256, (4, 256, 256, 3), dtype=np.uint8)
        images = ArrayImages(pixels, list("abcd"), np.zeros(4, np.int64), ["x"])
        one, other = (
            protocol_for(name, self.RUN).data for name in ("places205-linear", "imagenet-linear")
        )
        for epoch in range(2):
            (found,), (expected,) = (
                TrainingBatches(images, crop, batch_size=4, seed=3).epoch(epoch)
                for crop in (one, other)
            )
            assert torch.equal(found.images, expected.images)
        (found,), (expected,) = (evaluation_batches(images, crop) for crop in (one, other))
        assert torch.equal(found.images, expected.images)
        for mine, its in zip(list_views(one, 5), list_views(other, 5), strict=True):
            sizes = np.array([[256, 256]])
            boxes = [view.crops(1).crops(sizes).boxes for view in (mine, its)]
            assert torch.equal(*boxes)
