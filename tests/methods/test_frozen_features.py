import numpy as np
import pytest
import torch
from torch import nn

from quarterturn.config import OptimizerConfig
from quarterturn.data.batches import Batch
from quarterturn.engine.optimizer import build_optimizer
from quarterturn.errors import ConfigError
from quarterturn.methods.base import Network
from quarterturn.methods.decoupling import DecoupledNetwork
from quarterturn.methods.frozen_features import (
    FrozenFeatures,
    HeadsNetwork,
    KeptFeaturesNetwork,
    build_classifiers,
    feature_shapes,
)
from quarterturn.methods.probe_heads_options import ProbeHeadsOptions
from quarterturn.models.backbone import Backbone

LAYERS = ("conv", "fc")
LINEAR = ProbeHeadsOptions(num_features=16)


@pytest.fixture
def source(tiny_backbone) -> Network:
    return DecoupledNetwork(tiny_backbone, 4).eval()


@pytest.fixture
def network(source) -> HeadsNetwork:
    shapes = feature_shapes(source, LAYERS, 8)
    return HeadsNetwork(source, LAYERS, build_classifiers(shapes, 3, LINEAR, seed=0))


class Dotted(Backbone):
    """Names its layers as those of timm's networks are named, and hands out the images."""

    def features(self, images, layers):
        return dict.fromkeys(layers, images)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean over images, by the definition."""
    losses = []
    for row, label in zip(logits, labels, strict=True):
        shares = np.exp(row - row.max())
        losses.append(-np.log(shares[label] / shares.sum()))
    return float(np.mean(losses))


class TestShapes:
    @pytest.mark.parametrize("training", [True, False])
    def test_are_those_of_the_parts(self, source, training):
        source.train(training)
        before = {name: value.clone() for name, value in source.state_dict().items()}
        assert feature_shapes(source, LAYERS, 8) == {
            "conv": (4, 8, 8),
            "rotation": (6,),
            "invariant": (6,),
            "both": (12,),
        }
        assert feature_shapes(source, ("conv",), 11) == {"conv": (4, 11, 11)}
        assert source.training == training
        assert all(torch.equal(value, before[n]) for n, value in source.state_dict().items())


class TestClassifiers:
    def test_do_not_depend_on_which_others_there_are(self, source):
        shapes = feature_shapes(source, LAYERS, 8)
        whole = build_classifiers(shapes, 3, LINEAR, seed=5)
        alone = build_classifiers({"both": shapes["both"]}, 3, LINEAR, seed=5)
        other = build_classifiers({"both": shapes["both"]}, 3, LINEAR, seed=6)
        assert torch.equal(whole["both"][-1].weight, alone["both"][-1].weight)
        assert not torch.equal(whole["both"][-1].weight, other["both"][-1].weight)

    def test_leave_global_random_state_untouched(self):
        before = torch.random.get_rng_state()
        build_classifiers({"a": (5,)}, 3, LINEAR, seed=5)
        assert torch.equal(torch.random.get_rng_state(), before)

    def test_settings_are_those_of_each_layer(self, monkeypatch):
        monkeypatch.setattr("quarterturn.models.probe_heads.HIDDEN_WIDTH", 8)
        settings = ProbeHeadsOptions(head="nonlinear", extra_conv=("a", "c"))
        found = build_classifiers({"a": (2, 5, 5), "b": (2, 5, 5)}, 3, settings, seed=0)
        assert isinstance(found["a"][0], nn.Conv2d)
        assert isinstance(found["b"][0], nn.MaxPool2d)
        (linear,) = build_classifiers({"a": (2, 9, 9)}, 3, LINEAR, seed=0).values()
        assert linear[-1].in_features == 2 * 3 * 3

    def test_one_that_does_not_fit_is_named(self):
        with pytest.raises(ConfigError, match=r"^fc: a convolutional head needs maps.* --layers$"):
            build_classifiers({"fc": (12,)}, 3, ProbeHeadsOptions(head="convolutional"), seed=0)


class TestNetwork:
    def test_the_backbone_stays_in_eval_mode(self, network):
        network.train()
        assert network.training
        assert all(m.training for m in network.classifiers.modules())
        assert not any(m.training for m in network.backbone.modules())
        network.eval()
        assert not any(m.training for m in network.modules())

    def test_logits_are_the_classifiers_of_the_features(self, network, source, batch):
        network.eval()
        found = network(batch.images)
        assert list(found) == ["conv", "rotation", "invariant", "both"]
        features = source.features(batch.images, LAYERS)
        for name, classifier in zip(network.names, network.classifiers, strict=True):
            assert torch.equal(found[name], classifier(features[name]))
            assert found[name].shape == (5, 3)

    def test_classifiers_are_in_float32_whatever_the_backbone_is_in(self, network, batch):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = network.train()(batch.images)
        assert {of.dtype for of in found.values()} == {torch.float32}

    def test_names_may_have_dots(self, batch):
        source = Network(Dotted([], ["blocks.0", "pool"], 3))
        classifiers = build_classifiers({"blocks.0": (3, 8, 8)}, 3, LINEAR, seed=0)
        found = HeadsNetwork(source, ("blocks.0",), classifiers)(batch.images)
        assert {name: tuple(of.shape) for name, of in found.items()} == {"blocks.0": (5, 3)}


class TestKept:
    def test_is_the_same_given_the_features(self, network, source, batch):
        shapes = feature_shapes(source, LAYERS, 8)
        kept = KeptFeaturesNetwork(shapes, build_classifiers(shapes, 3, LINEAR, seed=0))
        features = source.features(batch.images, LAYERS)
        side_by_side = torch.cat([values.flatten(1) for values in features.values()], dim=1)
        assert side_by_side.shape == (5, 4 * 8 * 8 + 6 + 6 + 12)
        for mode in (True, False):
            found, expected = kept.train(mode)(side_by_side), network.train(mode)(batch.images)
            assert list(found) == list(expected)
            torch.testing.assert_close(found, expected)


class TestLosses:
    def test_are_the_cross_entropy_of_each(self, network, batch):
        network.eval()
        method = FrozenFeatures(network)
        with torch.no_grad():
            terms = method.losses(network, batch, step=0).terms
        assert method.term_weights == dict.fromkeys(terms, 1.0)
        for name, logits in network(batch.images).items():
            expected = cross_entropy(logits.detach().numpy(), batch.labels.numpy())
            assert float(terms[name]) == pytest.approx(expected, rel=1e-5)

    def test_a_step_moves_only_the_classifiers(self, network, batch):
        method = FrozenFeatures(network)
        settings = OptimizerConfig(learning_rate=0.1, weight_decay=0.1)
        optimizer = build_optimizer(network.train(), settings)
        before = {name: value.clone() for name, value in network.state_dict().items()}
        for _ in range(2):
            optimizer.zero_grad()
            sum(method.losses(network, batch, step=0).terms.values()).backward()
            optimizer.step()
        same = {n for n, value in network.state_dict().items() if torch.equal(value, before[n])}
        assert same == {n for n in before if n.startswith("backbone.")}
        assert all(p.requires_grad for p in network.backbone.parameters())  # as they were

    def test_a_batch_brings_labels(self, network, batch):
        assert FrozenFeatures.reads_labels
        with pytest.raises(AssertionError):
            FrozenFeatures(network).losses(network, Batch(batch.indices, batch.images), step=0)
