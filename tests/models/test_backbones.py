import sys
from itertools import pairwise

import pytest
import torch
import torchvision
from torch import nn

from quarterturn.config import ModelConfig
from quarterturn.config.options import field_docs
from quarterturn.errors import ConfigError
from quarterturn.features.network_features import NetworkFeatures
from quarterturn.methods.build import check_network
from quarterturn.methods.configuration import Config
from quarterturn.methods.decoupling import DecoupledNetwork
from quarterturn.models.alexnet import alexnet
from quarterturn.models.backbone import Backbone
from quarterturn.models.convnet import convnet
from quarterturn.models.registry import BACKBONES, build_backbone
from quarterturn.models.resnet import resnet18, resnet50

SMALL = dict.fromkeys(BACKBONES, 16) | {n: 63 for n in BACKBONES if n.startswith("alexnet")}


def check_backbone(name, image_size):
    check_network(Config().with_settings(method="rotnet", backbone=name, image_size=image_size))


@pytest.fixture(scope="module", params=list(BACKBONES))
def small(request):
    """Each backbone in eval mode with three small images."""
    side = SMALL[request.param]
    images = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0))
    return build_backbone(request.param, side).eval(), images


@pytest.fixture(scope="module")
def paper_alexnet():
    return build_backbone("alexnet", 224).eval()


class Untouchable(nn.Module):
    def forward(self, x):
        raise AssertionError("a stage beyond the last layer was computed")


@torch.no_grad()
def test_forward_gives_the_last_layer(small):
    net, images = small
    features = net(images)
    assert features.shape == (3, net.feature_dim)
    assert net.feature_dim % 2 == 0
    last = net.layers[-1]
    assert torch.equal(net.features(images, [last])[last], features)


@torch.no_grad()
def test_features_are_those_of_the_chain(small):
    net, images = small
    found = net.features(images, net.layers)
    assert tuple(found) == net.layers
    x = images
    for name, stage in net.stages.items():
        x = stage(x)
        if name in net.layers:
            assert torch.equal(found[name], x)


@torch.no_grad()
def test_features_are_not_negative_and_not_all_zero(small):
    net, images = small
    for values in net.features(images, net.layers).values():
        assert values.min() >= 0
        assert values.max() > 0


@torch.no_grad()
def test_features_stop_early(small):
    net, images = small
    expected = net.features(images, net.layers)
    names = list(net.stages)
    for layer, following in pairwise(net.layers):
        stages = [(n, m) for n, m in net.stages.items()]
        after = names.index(layer) + 1
        cut = [(n, Untouchable() if i >= after else m) for i, (n, m) in enumerate(stages)]
        early = Backbone(cut, net.layers, net.feature_dim).eval()
        assert torch.equal(early.features(images, [layer, layer])[layer], expected[layer])
        with pytest.raises(AssertionError, match="beyond"):
            early.features(images, [following])


def test_order_and_repetition_of_names_do_not_matter(small):
    net, images = small
    first, third = net.layers[0], net.layers[2]
    with torch.no_grad():
        assert list(net.features(images, [third, first, third])) == [first, third]
        assert net.features(images, []) == {}


def test_unknown_layers_are_named_with_those_there_are(small):
    net, images = small
    with pytest.raises(ValueError, match="conv99") as caught:
        net.features(images, [net.layers[0], "conv99"])
    for layer in net.layers:
        assert layer in str(caught.value)


@pytest.mark.parametrize("name", ["convnet", "nin", "resnet20", "resnet50"])
def test_weights_depend_only_on_the_seed(name):
    before = torch.random.get_rng_state()
    first = build_backbone(name, 16, seed=5).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(77)
    again = build_backbone(name, 16, seed=5).state_dict()
    other = build_backbone(name, 16, seed=6).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    weights = [key for key in first if first[key].ndim > 1]
    assert not any(torch.equal(first[key], other[key]) for key in weights)


@pytest.mark.parametrize("name", BACKBONES)
def test_checking_takes_no_weights_and_no_random_numbers(name):
    before = torch.random.get_rng_state()
    check_backbone(name, SMALL[name])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("build", [build_backbone, check_backbone])
def test_unknown_backbones_are_named_with_those_there_are(build):
    with pytest.raises(ConfigError, match=r"'vgg'; there are alexnet, .*, convnet, and timm:NAME"):
        build("vgg", 64)


@pytest.mark.parametrize("build", [build_backbone, check_backbone])
def test_a_timm_network_without_timm_says_what_to_install(build, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"needs an extra: pip install 'quarterturn\[timm\]'"):
        build("timm:resnet10t", 32)


def test_the_setting_names_every_backbone():
    words = field_docs(ModelConfig)["backbone"]
    assert words == ", ".join(BACKBONES) + ", or timm:NAME."


# AlexNet


@torch.no_grad()
def test_alexnet_has_the_papers_shapes(paper_alexnet):
    found = paper_alexnet.features(torch.randn(1, 3, 224, 224), paper_alexnet.layers)
    assert {name: tuple(values.shape[1:]) for name, values in found.items()} == {
        "conv1": (64, 55, 55),
        "pool1": (64, 27, 27),
        "conv2": (192, 27, 27),
        "pool2": (192, 13, 13),
        "conv3": (384, 13, 13),
        "conv4": (256, 13, 13),
        "conv5": (256, 13, 13),
        "pool5": (256, 6, 6),
        "fc6": (4096,),
        "fc7": (4096,),
    }
    assert paper_alexnet.feature_dim == 4096
    for number in (1, 2, 5):
        pooled = nn.functional.max_pool2d(found[f"conv{number}"], 3, 2)
        assert torch.equal(found[f"pool{number}"], pooled)


@torch.no_grad()
def test_fc_block_is_the_originals_name_of_fc7(paper_alexnet):
    images = torch.randn(1, 3, 224, 224)
    found = paper_alexnet.features(images, ["fc_block", "pool5"])
    assert torch.equal(found["fc_block"], paper_alexnet(images))
    assert found["pool5"].shape == (1, 256, 6, 6)
    network = DecoupledNetwork(paper_alexnet, 8)
    assert NetworkFeatures(network, ("fc_block",)).layers == ("fc7",)
    assert "fc_block" not in paper_alexnet.layers


def test_alexnet_has_the_papers_parameters(paper_alexnet):
    convolutions = [(3, 64, 11), (64, 192, 5), (192, 384, 3), (384, 256, 3), (256, 256, 3)]
    weights_and_biases = sum(i * o * k * k + o for i, o, k in convolutions)
    linear = 256 * 6 * 6 * 4096 + 4096 * 4096
    norms = 2 * (64 + 192 + 384 + 256 + 256 + 4096 + 4096)
    expected = weights_and_biases + linear + norms
    assert expected == 57_014_336  # 2,469,696 + 54,525,952 + 18,688
    assert sum(p.numel() for p in paper_alexnet.parameters()) == expected


def test_alexnet_has_no_dropout_and_biases_only_on_convolutions(paper_alexnet):
    kinds = [type(m) for m in paper_alexnet.modules()]
    convolutions = [m for m in paper_alexnet.modules() if isinstance(m, nn.Conv2d)]
    linears = [m for m in paper_alexnet.modules() if isinstance(m, nn.Linear)]
    assert [c.bias is not None for c in convolutions] == [True] * 5
    assert [fc.bias is None for fc in linears] == [True] * 2
    assert kinds.count(nn.BatchNorm2d) == 5
    assert kinds.count(nn.BatchNorm1d) == 2
    assert kinds.count(nn.ReLU) == 7
    assert not any(issubclass(kind, nn.modules.dropout._DropoutNd) for kind in kinds)


@torch.no_grad()
def test_alexnet_layers_are_after_relu_and_before_the_pool():
    net = alexnet(63).train()
    images = torch.randn(4, 3, 63, 63)
    conv1 = net.stages["conv1"][0](images)
    mean = conv1.mean(dim=(0, 2, 3), keepdim=True)
    variance = conv1.var(dim=(0, 2, 3), keepdim=True, unbiased=False)
    expected = ((conv1 - mean) / (variance + 1e-5).sqrt()).clamp(min=0)
    torch.testing.assert_close(net.features(images, ["conv1"])["conv1"], expected)
    pooled = nn.functional.max_pool2d(expected, 3, 2)
    found = net.features(images, ["conv2"])["conv2"]
    torch.testing.assert_close(found, net.stages["conv2"](pooled))


def test_alexnet_needs_63_pixels():
    with torch.no_grad():
        assert alexnet(63).eval()(torch.zeros(1, 3, 63, 63)).shape == (1, 4096)
    with pytest.raises(ValueError, match="63 px or more, found 62"):
        alexnet(62)
    with pytest.raises(ConfigError, match="found 62"):
        build_backbone("alexnet", 62)


# ResNet-18 and ResNet-50


@torch.no_grad()
@pytest.mark.parametrize(
    ("make", "side", "widths"),
    [(resnet18, 128, (64, 128, 256, 512)), (resnet50, 96, (256, 512, 1024, 2048))],
)
def test_resnets_are_torchvisions(make, side, widths):
    ours = make(side).eval()
    theirs = getattr(torchvision.models, make.__name__)(weights=None).eval()
    renamed = {"stem.0.": "conv1.", "stem.1.": "bn1."}
    state = {}
    for name, values in ours.state_dict().items():
        name = name.removeprefix("stages.")
        for mine, its in renamed.items():
            if name.startswith(mine):
                name = name.replace(mine, its)
        state[name] = values
    theirs.fc = nn.Identity()
    theirs.load_state_dict(state)  # every name is there: strict
    images = torch.randn(2, 3, side, side)
    found = ours.features(images, ours.layers)
    torch.testing.assert_close(found["pool"], theirs(images))
    assert {name: tuple(values.shape[1:]) for name, values in found.items()} == {
        "stem": (64, side // 2, side // 2),
        **{f"layer{i + 1}": (w, *[side // 2 ** (i + 2)] * 2) for i, w in enumerate(widths)},
        "pool": widths[-1:],
    }
    assert ours.feature_dim == widths[-1]


@torch.no_grad()
@pytest.mark.parametrize(
    ("make", "side", "stem", "layer4"),
    [
        (resnet18, 32, 32, (512, 4, 4)),
        (resnet18, 95, 95, (512, 12, 12)),
        (resnet18, 96, 48, (512, 3, 3)),
        (resnet18, 97, 49, (512, 4, 4)),
        (resnet50, 32, 32, (2048, 4, 4)),
        (resnet50, 96, 48, (2048, 3, 3)),
    ],
)
def test_resnets_keep_the_resolution_of_small_images(make, side, stem, layer4):
    net = make(side).eval()
    found = net.features(torch.randn(1, 3, side, side), ["stem", "layer4"])
    assert found["stem"].shape[1:] == (64, stem, stem)
    assert found["layer4"].shape[1:] == layer4
    assert net.stages["stem"][0].kernel_size == ((3, 3) if side < 96 else (7, 7))


def test_resnet50_has_its_parameters():
    count = sum(p.numel() for p in resnet50(96).parameters())
    assert count == 25_557_032 - 2048 * 1000 - 1000  # torchvision's, without the classifier


# Convnet


@torch.no_grad()
@pytest.mark.parametrize("side", [8, 9, 12, 16, 28, 32, 33, 63, 64, 100])
def test_convnet_takes_any_side(side):
    net = convnet(side, feature_dim=10).eval()
    found = net.features(torch.randn(1, 3, side, side), net.layers)
    assert found["fc"].shape == (1, 10)
    widths = [values.shape[1] for name, values in found.items() if name != "fc"]
    assert widths == [32, 64, 128, 256, 256][: len(widths)]
    last = found[net.layers[-2]]
    assert last.shape[2] == last.shape[3] <= 4


@pytest.mark.parametrize("width", [2, 10, 256])
def test_convnet_has_any_even_width(width):
    net = convnet(16, feature_dim=width)
    assert net.feature_dim == width
    assert net(torch.randn(2, 3, 16, 16)).shape == (2, width)


@pytest.mark.parametrize(("side", "convolutions"), [(8, 2), (16, 3), (32, 4), (64, 4)])
def test_convnet_grows_with_the_side(side, convolutions):
    net = convnet(side)
    assert net.layers == (*(f"conv{i + 1}" for i in range(convolutions)), "fc")
    assert all(m.bias is None for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear))
