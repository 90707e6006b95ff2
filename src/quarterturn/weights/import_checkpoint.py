"""``quarterturn import``: a file of weights becomes a run directory."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from quarterturn.config.options import take_options
from quarterturn.pages.tables import numbers
from quarterturn.runs import Run
from quarterturn.runs.closing import log_closing
from quarterturn.weights.loaded_weights import Weights
from quarterturn.weights.options import ImportOptions
from quarterturn.weights.reading import read_weights
from quarterturn.weights.start import write_weights

logger = logging.getLogger(__name__)


def import_checkpoint(
    file: Path | str,
    options: ImportOptions | None = None,
    **fields: Any,
) -> Run:
    """Make a run of weights that were trained elsewhere, to probe, embed and export them.

    Nothing in the file is executed, and nothing is written unless all of it fits.

    Args:
        file: A checkpoint of the original codes, FeatureDecoupling (``feature_net_epochN``, with
            ``classifier_net_epochN`` and ``norm_net_epochN`` where they lie beside it) and RotNet;
            weights of torchvision's or timm's ``resnet18`` and ``resnet50``; or a file that
            ``export --format safetensors`` has written.
        options: The run directory, the backbone, and which of the file's tensors are the network;
            ``out`` has no default.
        **fields: Fields of `ImportOptions`, in place of ``options`` or of some of its values.

    Returns:
        The run. It has no DATA of its own, and no training to resume.

    Raises:
        CheckpointError: The file is missing, damaged, holds more than tensors, does not fit, or
            its weights are not finite.
        ConfigError: ``out`` exists, or the weights are for another backbone.
    """
    options = take_options(ImportOptions, options, fields)
    weights = read_weights(file, options.backbone, prefix=options.prefix, ema=options.ema)
    run = Run(
        options.out,
        None,
        weights.config,
        weights.fingerprint,
        "import",
        class_names=weights.class_names,
        imported=replace(weights.imported, licence=options.licence or weights.imported.licence),
        origin=weights.origin,
    )
    write_weights(run, weights.network, weights.epochs, overwrite=options.overwrite)
    for line in _summary(weights):
        logger.info(line)
    log_closing(
        f"a run of the weights in {weights.imported.file}",
        {"run": run.path},
        [
            *(
                [("predict", run.path, "DATA", "--out", run.path / "labels.csv")]
                if run.class_names
                else []
            ),
            ("probe", run.path, "DATA"),
            ("embed", run.path, "DATA", "--out", run.path / "features.npz"),
            ("export", run.path, "--format", "safetensors"),
        ],
    )
    return run


def _summary(weights: Weights) -> list[str]:
    config, heads = weights.config, weights.imported.heads
    lines = [
        f"{weights.imported.layout}: all {len(weights.network.state_dict())} tensors that "
        f"{config.model.backbone} needs; heads: {', '.join(heads).replace('_', ' ') or 'none'}",
        f"images: {config.data.image_size} px, mean {numbers(config.data.mean)}, standard "
        f"deviation {numbers(config.data.std)}",
    ]
    if weights.left_out:
        lines.append(f"left out, since there is no such head: {', '.join(weights.left_out)}")
    return lines
