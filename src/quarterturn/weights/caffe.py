"""AlexNet as a ``.prototxt`` and a ``.caffemodel``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from quarterturn.config import DataConfig
from quarterturn.errors import ConfigError
from quarterturn.methods.base import Network
from quarterturn.runs import Run
from quarterturn.weights.caffe_folding import as_bgr255, balance, fold, take_bgr255
from quarterturn.weights.caffe_messages import net_parameter
from quarterturn.weights.check import Exported, differences
from quarterturn.weights.exported_head import classifier_head

CHECKED = ("relu5", "relu6", "relu7")
"""Compared layers: after the ReLUs, since these are in place and overwrite their input."""

CLASSIFIER = "classifier"
"""Name of the layer with a classifier's logits."""


def export_caffe(
    run: Run,
    network: Network,
    out: Path,
    images: Tensor,
    *,
    input: str = "rgb",
    sample: Tensor | None = None,
    unit: bool = False,
) -> Exported:
    """Write AlexNet for Caffe, and check it with OpenCV.

    Batch norm is folded into the layer before it. The layers are ``conv1``, ``relu1``, ``pool1``,
    ``conv2`` ... ``fc6``, ``relu6``, ``fc7``, ``relu7``, and ``classifier`` for a run of finetune.

    Args:
        run: The run, of ``alexnet``.
        network: Its network.
        out: The ``.caffemodel``; the ``.prototxt`` is written beside it.
        images: (n, 3, S, S), normalised, for the check.
        input: ``rgb``, normalised as everywhere here, or ``bgr255``: blue, green, red in 0..255
            minus the mean, with the normalisation folded into ``conv1``.
        sample: (n, 3, S, S) normalised images on which to balance the scales of the layers; None
            does not change them.
        unit: Bring the last output to a standard deviation of 1 on the sample, too.

    Raises:
        ConfigError: An extra is not installed, the network is not AlexNet, or Caffe's pools give
            larger maps at its image size.
    """
    crop = run.config.data
    if run.config.model.backbone != "alexnet":
        raise ConfigError(
            f"--format caffe takes only alexnet, and this is {run.config.model.backbone}; "
            "--format onnx takes any network"
        )
    if not pools_agree(crop.image_size):
        raise ConfigError(
            f"at {crop.image_size} px Caffe's pools, which round up, give larger maps than fc6 "
            "takes; the sizes agree at 31, 32, 33 or 34 px more than a multiple of 32, such as 63 "
            "to 66 or 223 to 226"
        )
    message = net_parameter()
    cv2 = _import_opencv()
    folded, factors = fold(network.backbone), dict[str, float]()
    if input == "bgr255":
        take_bgr255(folded, crop)
    if sample is not None:
        shown = as_bgr255(sample, crop) if input == "bgr255" else sample
        factors = balance(folded, shown, unit=unit)
    notes = _notes(crop, input, factors)
    if (head := classifier_head(network)) is not None:
        # After the balancing, of which the classifier takes back what it made of fc7.
        layer = nn.Linear(head.weight.shape[1], len(head.bias)).requires_grad_(False)
        weight = head.weight / factors["fc7"] if unit else head.weight
        layer.load_state_dict({"weight": weight, "bias": head.bias})
        folded.add_module(CLASSIFIER, layer)
        notes += (head.note,)
    prototxt = out.with_suffix(".prototxt")
    _write(message, folded, crop.image_size, prototxt, out, notes)

    theirs = cv2.dnn.readNetFromCaffe(str(prototxt), str(out))
    theirs.setInput((as_bgr255(images, crop) if input == "bgr255" else images).numpy())
    checked = [*CHECKED, *([CLASSIFIER] if head is not None else [])]
    found = {name: torch.from_numpy(theirs.forward(name)) for name in checked}
    layers = {"relu5": "conv5", "relu6": "fc6", "relu7": "fc7"}
    with torch.no_grad():
        ours = network.backbone.features(images, list(layers.values()))
        expected = {name: factors.get(layer, 1.0) * ours[layer] for name, layer in layers.items()}
        if head is not None:
            expected[CLASSIFIER] = head.logits(ours["fc7"])
    use = 'features = network.forward("relu7")'
    if head is not None:
        use = f'logits = network.forward("{CLASSIFIER}")'
    return Exported(
        (prototxt.name, out.name),
        f"OpenCV {cv2.__version__}",
        differences(expected, found),
        "import cv2\n"
        f'network = cv2.dnn.readNetFromCaffe("{prototxt.name}", "{out.name}")\n'
        f"network.setInput(images); {use}",
        notes,
    )


def pools_agree(image_size: int) -> bool:
    """Whether AlexNet's pools divide without a rest, which torch drops and Caffe pools too.

    The first map has floor((S + 4 - 11) / 4) + 1 pixels per side, and each of the three 3x3 pools
    with stride 2 divides an odd number of them without a rest. So S is 31 to 34 more than a
    multiple of 32.
    """
    return image_size % 32 in (31, 0, 1, 2)


def _write(
    message: Any,
    folded: nn.Sequential,
    side: int,
    prototxt: Path,
    caffemodel: Path,
    notes: tuple[str, ...],
) -> None:
    from google.protobuf import text_format

    net = message(name="alexnet")
    net.layer.add(name="data", type="Input", top=["data"])
    net.layer[0].input_param.shape.add(dim=[1, 3, side, side])
    blob = "data"
    for name, layer in folded.named_children():
        if isinstance(layer, nn.Flatten):
            continue  # an inner product flattens by itself
        in_place = isinstance(layer, nn.ReLU)
        top = blob if in_place else name
        written = net.layer.add(name=name, bottom=[blob], top=[top], **_settings(layer))
        blob = top
        for values in layer.parameters():
            array = values.numpy().astype("<f4")
            written.blobs.add(data=array.tobytes()).shape.dim.extend(array.shape)
    caffemodel.write_bytes(net.SerializeToString())
    for layer in net.layer:
        layer.ClearField("blobs")
    header = "".join(f"# {sentence}\n" for sentence in notes)
    prototxt.write_text(header + text_format.MessageToString(net), encoding="utf-8")


def _settings(layer: nn.Module) -> dict[str, Any]:
    """Type and parameters of a layer in Caffe's terms; square sizes are given once."""
    match layer:
        case nn.Conv2d():
            settings = {
                "num_output": layer.out_channels,
                "kernel_size": [layer.kernel_size[0]],
                "stride": [layer.stride[0]],
                "pad": [layer.padding[0]],
            }
            return {"type": "Convolution", "convolution_param": settings}
        case nn.Linear():
            settings = {"num_output": layer.out_features}
            return {"type": "InnerProduct", "inner_product_param": settings}
        case nn.MaxPool2d():
            settings = {"pool": 0, "kernel_size": layer.kernel_size, "stride": layer.stride}
            return {"type": "Pooling", "pooling_param": settings}
        case _:
            return {"type": "ReLU"}


def _notes(crop: DataConfig, input: str, factors: Mapping[str, float]) -> tuple[str, ...]:
    def listed(values: tuple[float, ...]) -> str:
        return ", ".join(f"{value:.6g}" for value in values)

    if input == "bgr255":
        mean = tuple(255 * value for value in reversed(crop.mean))
        first = f"Input: blue, green, red in 0..255, less the mean {listed(mean)}."
    else:
        first = (
            f"Input: red, green, blue in [0, 1], less the mean {listed(crop.mean)}, over the "
            f"standard deviation {listed(crop.std)}."
        )
    notes = [
        first,
        "Batch norm is folded into the layer before it; ReLUs are in place.",
        "Caffe's pools round up and torch's down: the two agree at 31 to 34 px more than a "
        f"multiple of 32, such as 63 to 66 or 223 to 226, and so here, at {crop.image_size} px.",
    ]
    if factors:
        listed_factors = ", ".join(f"{name} {factor:.4g}" for name, factor in factors.items())
        notes.append(
            "The layers' scales are balanced (Krähenbühl et al., ICLR 2016): outputs are those of "
            f"the original times {listed_factors}."
        )
    return tuple(notes)


def _import_opencv() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise ConfigError(
            "--format caffe is checked by OpenCV and needs an extra: pip install "
            "'quarterturn[caffe]'"
        ) from error
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        raise ConfigError(
            f"OpenCV {cv2.__version__} has no reader of Caffe's files: pip install "
            "'opencv-contrib-python-headless<5'"
        )
    return cv2
