"""timm's own pretrained weights, from its cache; fetched only where the user asks for it."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from quarterturn.errors import CheckpointError, ConfigError
from quarterturn.methods.build import build_network
from quarterturn.methods.configuration import Config
from quarterturn.models.timm_backbone import import_timm
from quarterturn.runs import Imported
from quarterturn.weights.layouts import timm_layout
from quarterturn.weights.loaded_weights import Weights, sha256
from quarterturn.weights.tensor_file import read_tensors

TIMM = "timm:"
"""What the names of timm's networks begin with."""

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""Where the weights of a repository on the hub are, the safer file first."""


def timm_config(backbone: str) -> Config:
    """The network of ``timm:NAME``, and how its weights expect images."""
    return timm_layout(backbone).config


def timm_backbone_of(path: Path) -> str | None:
    """The network of timm that a file is named after: ``resnet18d.ra2_in1k.safetensors``."""
    if find_spec("timm") is None:
        return None
    name = path.name.partition(".")[0]
    known: bool = import_timm("this file").is_model(name)
    return f"{TIMM}{name}" if known else None


def read_timm(backbone: str, *, download: bool = False) -> Weights:
    """The weights that timm offers for a network.

    Args:
        backbone: ``timm:NAME``; NAME may end in a tag, such as ``resnet18.a1_in1k``.
        download: Fetch them where the cache has none.

    Raises:
        ConfigError: timm is not installed, has no such network or no weights for it, or they are
            not in its cache.
        CheckpointError: They cannot be read, or do not fit.
    """
    timm, name = import_timm(f"the backbone {backbone!r}"), backbone.removeprefix(TIMM)
    config = timm_config(backbone)
    network = build_network(config)  # refuses names that timm does not know
    own = f"quarterturn import FILE --backbone {backbone} --out RUN, and give that run"
    about = timm.get_pretrained_cfg(name)
    if about is None or not (about.hf_hub_id or about.url):
        raise ConfigError(f"timm has no pretrained weights for {name}; if you have a file: {own}")
    source = str(about.hf_hub_id or about.url)
    path = _cached(about)
    if path is None and download:
        path = _fetched(about)
    if path is None:
        raise ConfigError(
            f"the weights of {backbone} ({source}) are not in timm's cache: give --download to "
            f"fetch them; or, if you have a file, {own}"
        )
    tensors = dict(read_tensors(path).tensors)
    try:
        # Whole, so that timm loads strictly: without its classifier it passes over what is missing.
        whole = timm.create_model(
            name,
            pretrained=True,
            num_classes=about.num_classes,
            pretrained_cfg_overlay={"state_dict": tensors, "source": None},
        ).state_dict()
        net: Any = network.backbone.stages["net"]
        net.load_state_dict({n: whole[n] for n in net.state_dict()})
    except (RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} does not fit timm's {name}: {error}") from error
    imported = Imported(
        path.name, sha256(path), f"timm's {name}", (), licence=about.license, source=source
    )
    return Weights(network.eval(), config, imported, 0)


def _cached(about: Any) -> Path | None:
    """The file of weights in the cache of the hub, or of timm's downloads."""
    if about.hf_hub_id:
        from huggingface_hub import try_to_load_from_cache

        repository, _, revision = about.hf_hub_id.partition("@")
        for file in filter(None, (about.hf_hub_filename, *HUB_FILES)):
            found = try_to_load_from_cache(repository, file, revision=revision or None)
            if isinstance(found, str):
                return Path(found)
    if about.url:
        from torch.hub import get_dir

        path = Path(get_dir(), "checkpoints", os.path.basename(urlparse(about.url).path))
        return path if path.is_file() else None
    return None


def _fetched(about: Any) -> Path:
    """The file of weights, from the hub or else from timm's address."""
    try:
        if about.hf_hub_id:
            from huggingface_hub import hf_hub_download
            from huggingface_hub.errors import EntryNotFoundError

            repository, _, revision = about.hf_hub_id.partition("@")
            for file in filter(None, (about.hf_hub_filename, *HUB_FILES)):
                try:
                    return Path(hf_hub_download(repository, file, revision=revision or None))
                except EntryNotFoundError:
                    continue
        from timm.models._hub import download_cached_file

        return Path(download_cached_file(about.url))
    except Exception as error:  # the libraries below have no common kind of network error
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"the weights of timm's {about.architecture} could not be fetched: {reason}"
        ) from error
