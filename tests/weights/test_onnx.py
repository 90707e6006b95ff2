from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from quarterturn.errors import ConfigError
from quarterturn.weights.check import clouds
from quarterturn.weights.onnx import OPSET, export_onnx
from tests.fixtures.runs import MakeRun


@torch.no_grad()
def test_onnxruntime_on_one_image_and_on_seven(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    network, out = run.load_network(), tmp_path / "model.onnx"
    exported = export_onnx(run, network, out, clouds(run.config.data))
    assert max(d.relative for d in exported.differences) < 1e-5
    assert list(tmp_path.glob("model*")) == [out]  # all is in one file
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    assert [o.name for o in session.get_outputs()] == ["fc", "rotation"]
    for number in (1, 7):
        images = torch.randn(number, 3, 16, 16)
        features, logits = session.run(None, {"images": images.numpy()})
        expected = network.backbone(images)
        np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
        turns = network.rotation_logits(expected)
        np.testing.assert_allclose(logits, turns, rtol=1e-4, atol=1e-5)


def test_chosen_layers_and_what_the_file_says(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(method="instance")
    network, out, images = run.load_network(), tmp_path / "x.onnx", clouds(run.config.data)
    with pytest.raises(ConfigError, match="no layers rotation, conv9; this run has conv1, conv2"):
        export_onnx(run, network, out, images, layers=["rotation", "fc", "conv9"])
    export_onnx(run, network, out, images, layers=["fc", "conv2"])
    model = onnx.load(out)
    onnx.checker.check_model(model)
    assert [o.name for o in model.graph.output] == ["fc", "conv2"]
    dims = model.graph.input[0].type.tensor_type.shape.dim
    assert dims[0].dim_param == "batch"
    assert [dim.dim_value for dim in dims[1:]] == [3, 16, 16]
    assert [(o.domain, o.version) for o in model.opset_import if not o.domain] == [("", OPSET)]
    about = {prop.key: prop.value for prop in model.metadata_props}
    assert about["architecture"] == "convnet"
    assert json.loads(about["mean"]) == [0.305, 0.305, 0.305]
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    maps = session.run(["conv2"], {"images": images.numpy()})[0]
    with torch.no_grad():
        expected = network.backbone.features(images, ["conv2"])["conv2"]
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("package", ["onnxruntime", "onnxscript"])
def test_onnx_is_an_extra(
    make_run: MakeRun, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    network, images = run.load_network(), clouds(run.config.data)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=r"needs an extra: pip install 'quarterturn\[onnx\]'"):
        export_onnx(run, network, tmp_path / "x.onnx", images)
