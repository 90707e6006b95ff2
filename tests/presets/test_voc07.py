"""Fine-tuning on VOC2007: constants, rates, and one step of each preset, on a small AlexNet."""

import numpy as np
import pytest
import torch
from torch import nn

from quarterturn.data.batches import Batch
from quarterturn.engine.optimizer import build_optimizer
from quarterturn.engine.schedule import learning_rate
from quarterturn.losses.sigmoid import sigmoid_loss
from quarterturn.methods.build import build_method, build_network
from quarterturn.models.alexnet import alexnet
from quarterturn.models.folded_alexnet import LastingDropout
from quarterturn.models.registry import build_backbone
from quarterturn.presets import preset, seen_as_by
from quarterturn.weights.backbone_weights import weights_for
from tests.fixtures.runs import randomize_batch_norms

NAMES = ["voc07-fc8", "voc07-fc6-8", "voc07-all", "voc07-pool5"]
SIDE = 63


@pytest.mark.parametrize("name", NAMES)
def test_constants(name):
    config = preset(name)
    optimizer, run, method = config.optimizer, config.run, config.method
    assert (run.batch_size, run.epochs * method.images_per_epoch) == (16, 80_000 * 16)
    assert run.precision == "32-true"
    assert (optimizer.optimizer, optimizer.momentum, optimizer.nesterov) == ("sgd", 0.9, False)
    assert (optimizer.weight_decay, optimizer.bias_rate) == (1e-6, 2)
    assert (optimizer.clip_gradient, optimizer.rate_in_momentum) == (10, True)
    assert (config.data.crop_pixels, config.data.flip) == ((0.5, 2.0), True)
    assert (method.loss, method.order, method.random_test_crops) == ("sigmoid", "cyclic", 10)


def test_the_rate_is_halved_every_ten_thousand_iterations():
    config = preset("voc07-fc8")
    steps = config.method.images_per_epoch // config.run.batch_size
    assert steps == 1000
    for iteration in (0, 9_999, 10_000, 19_999, 20_000, 69_999, 70_000, 79_999):
        rate = learning_rate(iteration / steps, config.run.epochs, config.optimizer)
        assert rate == 0.001 * 0.5 ** (iteration // 10_000), iteration


def test_deepclusters_constants_and_rates():
    config = preset("voc07-deepcluster")
    optimizer, method = config.optimizer, config.method
    assert (config.run.batch_size, config.run.epochs * method.images_per_epoch) == (16, 80_000 * 16)
    assert (config.data.crop_scale, config.data.crop_ratio) == ((0.1, 0.5), (1.0, 1.0))
    assert (config.data.crop_pixels, config.data.flip) == (None, True)
    assert (optimizer.weight_decay, optimizer.clip_gradient) == (1e-6, 10)
    assert (optimizer.bias_rate, optimizer.rate_in_momentum, optimizer.nesterov) == (
        1,
        False,
        False,
    )
    assert (method.loss, method.order, method.random_test_crops) == ("sigmoid", "cyclic", 10)
    for iteration in (0, 4_999, 5_000, 9_999, 10_000, 74_999, 75_000, 79_999):
        rate = learning_rate(iteration / 1000, config.run.epochs, optimizer)
        assert rate == 0.003 * 0.5 ** (iteration // 5_000), iteration


def test_a_run_of_alexnet_is_folded_and_others_are_kept():
    recipe = preset("voc07-all")
    assert seen_as_by(preset("imagenet-alexnet"), recipe).model.backbone == "alexnet-folded"
    assert seen_as_by(preset("folder"), recipe).model.backbone == "resnet18"
    pool5 = seen_as_by(preset("imagenet-alexnet"), preset("voc07-pool5"))
    assert pool5.model.backbone == "alexnet-pool5"


@pytest.fixture(scope="module")
def normalised():
    """AlexNet with batch norms that are not the identity."""
    torch.manual_seed(1)
    network = alexnet(SIDE)
    randomize_batch_norms(network)
    return network.eval()


@pytest.mark.parametrize(("name", "layer"), [("alexnet-folded", "fc7"), ("alexnet-pool5", "pool5")])
def test_folded_features_are_the_networks_own(normalised, name, layer):
    folded = build_backbone(name, SIDE).eval()
    folded.load_state_dict(weights_for(normalised, name))
    images = torch.randn(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = images
        for stage_name, stage in normalised.stages.items():
            expected = stage(expected)
            if stage_name == layer:
                break
        expected = expected.flatten(1)
        torch.testing.assert_close(folded(images), expected, rtol=1e-3, atol=1e-4)
    assert folded.feature_dim == expected.shape[1]
    assert folded.layers[-1] == layer
    assert weights_for(folded, name).keys() == folded.state_dict().keys()  # folded before


def small(name):
    """A preset's network at 63 px, with weights of a folded AlexNet."""
    config = preset(name).with_settings(image_size=SIDE)
    return config, build_network(config, num_classes=20)


@pytest.mark.parametrize("name", NAMES)
def test_the_classifier_begins_as_caffes(name):
    _, network = small(name)
    weight, bias = network.classifier.weight, network.classifier.bias
    assert float(weight.detach().std()) == pytest.approx(0.01, rel=0.1)
    assert bool((bias == 0.1).all())


@pytest.mark.parametrize(
    ("name", "first_trained"),
    [
        ("voc07-fc8", None),
        ("voc07-fc6-8", "fc6"),
        ("voc07-all", "conv1"),
        ("voc07-pool5", None),
        ("voc07-deepcluster", "fc6"),
    ],
)
def test_one_step_trains_what_is_to_be_trained(name, first_trained):
    config = preset(name).with_settings(image_size=SIDE)
    method = build_method(config, 16, class_counts=torch.full((20,), 5))
    network = method.network.train()
    generator = torch.Generator().manual_seed(0)
    label_sets = torch.randint(-1, 2, (16, 20), generator=generator).to(torch.int8)
    batch = Batch(torch.arange(16), torch.randn(16, 3, SIDE, SIDE, generator=generator), label_sets)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    loss = method.losses(network, batch, 0).terms["classification"]
    loss.backward()
    optimizer = build_optimizer(network, config.optimizer)
    optimizer.step()
    stages = [*network.backbone.stages]
    trained = stages[len(stages) if first_trained is None else stages.index(first_trained) :]
    for parameter, values in network.named_parameters():
        stage = parameter.split(".")[2] if parameter.startswith("backbone") else None
        moves = stage is None or stage in trained
        assert torch.equal(values, before[parameter]) != moves, parameter
    scales = {g.get("rate_scale", 1.0) for g in optimizer.param_groups}
    if name == "voc07-deepcluster":
        assert scales == {1.0}
        return
    assert scales == {1.0, 2.0}
    for group in optimizer.param_groups:
        assert {p.ndim == 1 for p in group["params"]} == {group["rate_scale"] == 2.0}


def test_the_loss_is_divided_by_the_batch():
    logits = torch.zeros(16, 20)
    label_sets = torch.full((16, 20), -1, dtype=torch.int8)
    label_sets[0, :3] = 1
    assert float(sigmoid_loss(logits, label_sets)) == pytest.approx(3 * np.log(2) / 16, rel=1e-6)


def test_dropout_stays_while_its_layers_are_kept():
    _, network = small("voc07-fc8")
    network.train()
    drops = [m for m in network.modules() if isinstance(m, nn.Dropout)]
    assert len(drops) == 2
    assert all(isinstance(m, LastingDropout) and m.training and m.p == 0.5 for m in drops)
    assert not network.backbone.stages["fc7"][0].training
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert not any(m.training for m in drops)
    assert torch.equal(network(images), network(images))


@pytest.mark.parametrize(("name", "layer"), [("alexnet-folded", "fc7"), ("alexnet-pool5", "pool5")])
def test_rescaled_features_have_unit_spread(normalised, name, layer):
    images = torch.randn(16, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    found = {}
    for rescaled, sample in ((False, None), (True, images)):
        folded = build_backbone(name, SIDE).eval()
        folded.load_state_dict(weights_for(normalised, name, sample))
        with torch.no_grad():
            found[rescaled] = folded(images)
    assert float(found[True].std()) == pytest.approx(1, abs=1e-4)
    factor = 1 / float(found[False].std())
    torch.testing.assert_close(found[True], factor * found[False], rtol=1e-3, atol=1e-3)
    assert layer == folded.layers[-1]
