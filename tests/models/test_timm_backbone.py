import numpy as np
import pytest
import torch
from torch import nn

from quarterturn.errors import ConfigError
from quarterturn.methods.build import check_network
from quarterturn.methods.configuration import Config
from quarterturn.models.registry import build_backbone
from quarterturn.models.timm_backbone import TimmBackbone

timm = pytest.importorskip("timm")

SIDE = 32
NAMES = ["resnet10t", "mobilenetv3_small_050", "vit_tiny_patch16_224"]


def check_backbone(name, image_size):
    check_network(Config().with_settings(method="rotnet", backbone=name, image_size=image_size))


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def net(name):
    return build_backbone(f"timm:{name}", SIDE).eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, SIDE, SIDE)


@torch.no_grad()
def test_features_are_timms_own(name, net, images):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        size = {"img_size": SIDE} if name.startswith("vit") else {}
        theirs = timm.create_model(name, num_classes=0, **size).eval()
    outputs = {}
    for layer in net.layers[:-1]:
        theirs.get_submodule(layer).register_forward_hook(
            lambda _module, _inputs, output, layer=layer: outputs.update({layer: output.clone()})
        )
    features = theirs(images)
    found = net.features(images, net.layers)
    assert tuple(found) == net.layers == (*outputs, "pool")
    assert torch.equal(net(images), features)
    assert torch.equal(found.pop("pool"), features)
    assert features.shape == (2, net.feature_dim)
    for layer, values in found.items():
        expected = outputs[layer]
        if expected.ndim == 3:  # a class token, then one token a patch
            expected = expected[:, 1:].transpose(1, 2).unflatten(2, values.shape[2:])
        assert torch.equal(values, expected)


def test_layers_and_widths_are_known():
    shapes = {}
    for name in NAMES:
        net = build_backbone(f"timm:{name}", SIDE).eval()
        with torch.no_grad():
            found = net.features(torch.randn(1, 3, SIDE, SIDE), net.layers)
        shapes[name] = {layer: tuple(values.shape[1:]) for layer, values in found.items()}
    assert shapes["resnet10t"] == {
        "act1": (64, 16, 16),
        "layer1": (64, 8, 8),
        "layer2": (128, 4, 4),
        "layer3": (256, 2, 2),
        "layer4": (512, 1, 1),
        "pool": (512,),
    }
    assert shapes["mobilenetv3_small_050"]["pool"] == (1024,)  # wider than its last convolution
    assert shapes["vit_tiny_patch16_224"] == {
        **{f"blocks.{i}": (192, 2, 2) for i in range(12)},
        "pool": (192,),
    }


@torch.no_grad()
def test_features_stop_early(net, images):
    called = []
    inner = net.stages["net"]
    handles = [
        inner.get_submodule(layer).register_forward_pre_hook(
            lambda _module, _inputs, layer=layer: called.append(layer)
        )
        for layer in net.layers[:-1]
    ]
    try:
        expected = net.features(images, net.layers)
        for i, layer in enumerate(net.layers[:-1]):
            called.clear()
            assert torch.equal(net.features(images, [layer, layer])[layer], expected[layer])
            assert called == list(net.layers[: i + 1])
        assert torch.equal(net.features(images, ["pool"])["pool"], expected["pool"])
    finally:
        for handle in handles:
            handle.remove()


def test_layers_come_in_any_order_and_unknown_ones_are_refused(net, images):
    first, third = net.layers[0], net.layers[2]
    with torch.no_grad():
        assert list(net.features(images, ["pool", third, first, third])) == [first, third, "pool"]
        assert list(net.features(images, [third, first])) == [first, third]
        assert net.features(images, []) == {}
    with pytest.raises(ValueError, match=f"conv99.*{first}, .*, pool"):
        net.features(images, ["conv99"])


def test_weights_depend_only_on_the_seed(name):
    before, numpys = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = build_backbone(f"timm:{name}", SIDE, seed=5)
    check_backbone(f"timm:{name}", SIDE)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpys)  # noqa: NPY002
    torch.manual_seed(77)
    again = build_backbone(f"timm:{name}", SIDE, seed=5).state_dict()
    other = build_backbone(f"timm:{name}", SIDE, seed=6).state_dict()
    same = first.state_dict()
    assert all(torch.equal(same[key], again[key]) for key in same)
    assert not all(torch.equal(same[key], other[key]) for key in same)


def test_a_new_network_has_seen_no_image():
    net = build_backbone("timm:resnet10t", SIDE)
    assert all(module.training for module in net.modules())
    for norm in [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]:
        assert norm.num_batches_tracked == 0
        assert (norm.running_mean == 0).all()
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("build", [build_backbone, check_backbone])
@pytest.mark.parametrize(
    ("name", "side"), [("vit_tiny_patch16_224", 8), ("inception_v3", 32), ("crossvit_9_240", 64)]
)
def test_a_size_that_a_network_does_not_take_is_refused(build, name, side):
    with pytest.raises(ConfigError, match=f"timm:{name} does not accept images of {side} px"):
        build(f"timm:{name}", side)


@pytest.mark.parametrize("build", [build_backbone, check_backbone])
def test_unknown_networks_are_named_with_those_close_to_them(build):
    with pytest.raises(ConfigError, match=r"no network 'resnet10'; similar names: .*resnet10t"):
        build("timm:resnet10", SIDE)
    # A name on a hub would be downloaded.
    for name in ["", "qqqqqqqq", "hf-hub:timm/resnet18.a1_in1k", "local-dir:/tmp"]:
        with pytest.raises(ConfigError, match=f"timm has no network '{name}'"):
            build(f"timm:{name}", SIDE)


def test_offers_only_the_pool_where_layers_are_ambiguous():
    class Plain(nn.Module):
        def forward(self, x):
            return x.mean(dim=(2, 3))

    class Twice(Plain):
        feature_info = ({"module": "blocks.0"}, {"module": "blocks.0"})

        def forward_intermediates(self, x):
            raise AssertionError("two layers of one name")

    for inner in (Plain(), Twice()):
        net = TimmBackbone(inner, feature_dim=3)
        assert net.layers == ("pool",)
        assert net.features(torch.ones(2, 3, 4, 4), ["pool"])["pool"].shape == (2, 3)


def test_it_is_parted_at_timms_layers(name, net):
    """Depths are timm's own, from the stem on; parts before a layer hold nothing of it."""
    depths = net.depths()
    assert depths.keys() == {n for n, _ in net.named_parameters()}
    assert min(depths.values()) == 0
    layer = net.parting_layers[1]
    before = {id(p) for part in net.before(layer) for p in parameters_of(part)}
    inside = {id(p) for p in net.stages["net"].get_submodule(layer).parameters()}
    assert before
    assert not before & inside
    stem = {id(p) for n, p in net.named_parameters() if depths[n] == 0}
    assert stem <= before
    assert [id(part) for part in net.before(None)] == [id(net.stages["net"])]


def parameters_of(part):
    return part.parameters() if isinstance(part, nn.Module) else [part]
