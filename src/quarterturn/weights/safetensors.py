"""Our portable format: a ``.safetensors`` file with all that is needed to use it as metadata."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from quarterturn.data.data_argument import short_name
from quarterturn.errors import CheckpointError, ConfigError
from quarterturn.methods.base import Network
from quarterturn.methods.build import build_network
from quarterturn.methods.configuration import FORMAT, Config
from quarterturn.runs import Imported, Run
from quarterturn.weights.check import Exported, differences
from quarterturn.weights.loaded_weights import Weights, require_finite, sha256

OWN = "quarterturn"
"""The metadata key that marks our files; its value is the version."""


def export_safetensors(
    run: Run, network: Network, out: Path, images: Tensor, /, *, licence: str | None = None
) -> Exported:
    """Write backbone and heads, and read them back.

    The metadata are strings, in JSON unless they are plain words: ``architecture``, ``method``,
    ``image_size``, ``eval_crop``, ``mean``, ``std``, ``split`` (first and last feature of each
    part), ``heads``, ``class_names`` in the order of the classifier's logits, ``epochs``, ``data``
    and ``fingerprint`` of the images, ``origin`` where somebody else trained the weights or those
    that they began with, with the licence, the ``licence`` of the weights themselves, the
    ``config`` without the machine's settings, its ``config_format``, and the version.

    Args:
        run: The run, for the metadata.
        network: Its network.
        out: A file ending in ``.safetensors``.
        images: (n, 3, S, S) to check by.
        licence: Under which the weights are given away, where it is stated.
    """
    config = run.config
    settings = config.to_dict()
    del settings["machine"]
    metadata = {
        OWN: version("quarterturn"),
        "format": "pt",  # what other readers of safetensors look for
        "architecture": config.model.backbone,
        "method": config.method.name,
        "image_size": str(config.data.image_size),
        "eval_crop": json.dumps(config.data.centre_crop),
        "mean": json.dumps(config.data.mean),
        "std": json.dumps(config.data.std),
        "split": json.dumps(_split(network)),
        "heads": json.dumps(network.heads),
        "class_names": json.dumps(run.class_names),
        "epochs": json.dumps(run.epochs_done()),
        "data": json.dumps(None if run.data is None else short_name(run.data)),
        "fingerprint": json.dumps(run.fingerprint),
        "origin": json.dumps(None if run.provenance is None else asdict(run.provenance)),
        "licence": json.dumps(licence),
        "config": json.dumps(settings),
        "config_format": str(FORMAT),
    }
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    # save_file would make a file that only its owner may read
    out.write_bytes(save(state, metadata))
    return Exported(
        (out.name,),
        f"quarterturn {version('quarterturn')}",
        differences(_outputs(network, images), _outputs(read_safetensors(out).network, images)),
        "import quarterturn\n"
        f'backbone = quarterturn.load_backbone("{out.name}")\n'
        'features = backbone(backbone.transform("photo.jpg")[None])',
        ("backbone.classify(images) gives the probabilities of backbone.class_names.",)
        if run.class_names
        else (),
    )


def is_own(path: Path) -> bool:
    """Whether a file was written by `export_safetensors`."""
    return path.suffix == ".safetensors" and path.is_file() and OWN in _metadata(path)


def read_safetensors(path: Path) -> Weights:
    """Read what `export_safetensors` wrote.

    Raises:
        CheckpointError: The file is damaged, or of another version.
    """
    metadata = _metadata(path)
    try:
        config = Config.from_dict(
            json.loads(metadata["config"]), int(metadata.get("config_format", 1))
        )
        heads = tuple(json.loads(metadata["heads"]))
        class_names = tuple(json.loads(metadata.get("class_names", "[]")))
        network = build_network(config, len(class_names))
        network.keep_heads(heads)
        state = load_file(path)
        priors = "log_priors"  # -inf for a class that is left out
        require_finite({name: tensor for name, tensor in state.items() if name != priors})
        network.load_state_dict(state)
        layout = f"safetensors of quarterturn {metadata[OWN]}"
        licence = json.loads(metadata.get("licence", "null"))
        return Weights(
            network.eval(),
            config,
            Imported(path.name, sha256(path), layout, heads, licence=licence),
            float(json.loads(metadata["epochs"])),
            json.loads(metadata["fingerprint"]),
            class_names=class_names,
            origin=Imported.from_dict(json.loads(metadata.get("origin", "null"))),
        )
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except (ConfigError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def _metadata(path: Path) -> dict[str, str]:
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged, or no safetensors file: {error}") from error


def _split(network: Network) -> dict[str, list[int]]:
    """First feature of each part of the last layer, and the one after its last."""
    width = network.backbone.feature_dim
    parts = network.parts(torch.arange(width))
    return {name: [int(part[0]), int(part[-1]) + 1] for name, part in parts.items()}


@torch.no_grad()
def _outputs(network: Network, images: Tensor) -> dict[str, Tensor]:
    """All layers, and the heads' outputs."""
    found = network.backbone.features(images, network.backbone.layers)
    return found | network.head_outputs(found[network.backbone.layers[-1]])
