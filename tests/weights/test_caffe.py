"""OpenCV's reader of Caffe's files computes what AlexNet computes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from quarterturn.data.normalisation import Normalise
from quarterturn.errors import ConfigError
from quarterturn.runs import Run
from quarterturn.weights.caffe import export_caffe, pools_agree
from quarterturn.weights.caffe_messages import net_parameter
from quarterturn.weights.check import clouds
from tests.fixtures.runs import MakeRun

SIDE = 66
LAYERS = {"relu5": "conv5", "relu6": "fc6", "relu7": "fc7"}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.fixture
def alexnet(make_run: MakeRun) -> Run:
    return make_run(backbone="alexnet", image_size=SIDE, mean=MEAN, std=STD, embedding_dim=8)


@torch.no_grad()
@pytest.mark.parametrize("input", ["rgb", "bgr255"])
def test_opencv_at_the_relus(alexnet: Run, input: str, tmp_path: Path) -> None:
    network, out = alexnet.load_network(), tmp_path / "alexnet.caffemodel"
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    exported = export_caffe(alexnet, network, out, clouds(alexnet.config.data), input=input)
    assert max(d.relative for d in exported.differences) < 1e-5
    assert all(torch.equal(before[n], tensor) for n, tensor in network.state_dict().items())

    pixels = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    images = Normalise(alexnet.config.data, torch.device("cpu"))(
        torch.from_numpy(pixels).permute(0, 3, 1, 2)
    )
    if input == "bgr255":  # as OpenCV and Caffe read images
        fed = pixels[..., ::-1].astype(np.float32) - np.float32([103.53, 116.28, 123.675])
        fed = np.ascontiguousarray(fed.transpose(0, 3, 1, 2))
        assert "# Input: blue, green, red in 0..255, less the mean 103.53, 116.28, 123.675." in (
            out.with_suffix(".prototxt").read_text(encoding="utf-8")
        )
    else:
        fed = images.numpy()
    expected = network.backbone.features(images, [*LAYERS.values()])
    theirs = cv2.dnn.readNetFromCaffe(str(out.with_suffix(".prototxt")), str(out))
    theirs.setInput(fed)
    for relu, layer in LAYERS.items():
        values = expected[layer].numpy()
        assert values.std() > 0.01
        np.testing.assert_allclose(theirs.forward(relu), values, rtol=1e-3, atol=1e-4)


def test_the_layers_have_caffes_names(alexnet: Run, tmp_path: Path) -> None:
    out = tmp_path / "alexnet.caffemodel"
    export_caffe(alexnet, alexnet.load_network(), out, clouds(alexnet.config.data))
    theirs = cv2.dnn.readNetFromCaffe(str(out.with_suffix(".prototxt")), str(out))
    names = (
        "conv1 relu1 pool1 conv2 relu2 pool2 conv3 relu3 conv4 relu4 conv5 relu5 pool5 "
        "fc6 relu6 fc7 relu7"
    )
    assert " ".join(theirs.getLayerNames()) == names
    text = out.with_suffix(".prototxt").read_text(encoding="utf-8")
    assert "blobs" not in text
    assert text.count("pool: MAX") == 3
    assert 'bottom: "conv5"\n  top: "conv5"' in text  # in place


@torch.no_grad()
@pytest.mark.parametrize("input", ["rgb", "bgr255"])
def test_balanced_outputs_are_the_same_up_to_a_factor(
    alexnet: Run, input: str, tmp_path: Path
) -> None:
    network, out = alexnet.load_network(), tmp_path / "alexnet.caffemodel"
    images = clouds(alexnet.config.data, 6)
    exported = export_caffe(alexnet, network, out, images[:2], input=input, sample=images)
    assert max(d.relative for d in exported.differences) < 1e-5
    theirs = cv2.dnn.readNetFromCaffe(str(out.with_suffix(".prototxt")), str(out))
    std = torch.tensor(STD)[:, None, None]
    fed = images if input == "rgb" else (images * 255 * std).flip(1).contiguous()
    theirs.setInput(fed.numpy())
    expected = network.backbone.features(images, [*LAYERS.values()])
    for relu, layer in LAYERS.items():
        found, values = torch.from_numpy(theirs.forward(relu)), expected[layer]
        factor = found.sum() / values.sum()
        assert factor > 0
        torch.testing.assert_close(found, factor * values, rtol=1e-3, atol=1e-5)
        if relu == "relu7":
            assert factor.item() == pytest.approx(1, abs=1e-4)
        else:
            assert abs(factor.item() - 1) > 0.1
            assert f"{layer} {factor.item():.3g}"[:-1] in exported.notes[-1]


def test_where_caffes_pools_agree() -> None:
    for side in range(63, 300):
        maps, agree = torch.empty(1, 1, (side - 7) // 4 + 1, (side - 7) // 4 + 1), True
        for _ in range(3):
            down, up = F.max_pool2d(maps, 3, 2), F.max_pool2d(maps, 3, 2, ceil_mode=True)
            agree, maps = agree and down.shape == up.shape, down
        assert pools_agree(side) == agree, side
    assert pools_agree(224)
    assert not pools_agree(227)


def test_other_sizes_and_networks_are_refused(make_run: MakeRun, tmp_path: Path) -> None:
    out = tmp_path / "x.caffemodel"
    for name, settings, words in [
        ("size", {"backbone": "alexnet", "image_size": 67}, "at 67 px Caffe's pools, which round"),
        ("network", {}, "takes only alexnet, and this is convnet"),
    ]:
        run = make_run(name, **settings, embedding_dim=8)
        with pytest.raises(ConfigError, match=words):
            export_caffe(run, run.load_network(), out, clouds(run.config.data))
    assert not out.exists()


def test_protobuf_and_opencv_are_an_extra(
    alexnet: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, images = alexnet.load_network(), clouds(alexnet.config.data)

    def refusal() -> str:
        net_parameter.cache_clear()
        with pytest.raises(ConfigError) as caught:
            export_caffe(alexnet, network, tmp_path / "x.caffemodel", images)
        return str(caught.value)

    for package in ("cv2", "google.protobuf"):
        with monkeypatch.context() as without:
            without.setitem(sys.modules, package, None)
            assert "needs an extra: pip install 'quarterturn[caffe]'" in refusal()
    monkeypatch.delattr(cv2.dnn, "readNetFromCaffe")
    assert (
        "has no reader of Caffe's files: pip install 'opencv-contrib-python-headless<5'"
        in refusal()
    )


def test_a_message_on_the_wire() -> None:
    """Byte by byte as the protocol buffers' encoding has it, by the numbers of caffe.proto."""
    net: Any = net_parameter()()
    layer = net.layer.add(name="fc", type="InnerProduct")
    layer.inner_product_param.num_output = 2
    layer.blobs.add(data=np.float32([1, 2]).tobytes()).shape.dim.extend([2, 1])
    floats = bytes.fromhex("2a08 0000803f 00000040")  # field 5, 8 bytes
    shape = bytes.fromhex("3a04 0a02 0201")  # field 7: field 1, packed 2 and 1
    blob = b"\x3a" + bytes([len(floats + shape)]) + floats + shape  # field 7
    product = bytes.fromhex("aa07 02 0802")  # field 117: field 1 is 2
    inside = b"\x0a\x02fc" + b"\x12\x0cInnerProduct" + blob + product
    assert net.SerializeToString() == bytes.fromhex("a206") + bytes([len(inside)]) + inside
