"""``quarterturn export``: a run's weights as files for other codes, checked by running them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from quarterturn.errors import ConfigError
from quarterturn.features.network_features import weights_fingerprint
from quarterturn.files import put_in_place, write_json
from quarterturn.pages.tables import Table, show
from quarterturn.runs import Run
from quarterturn.runs.results import read_results
from quarterturn.weights.check import TOLERANCE, Exported, clouds, require_close
from quarterturn.weights.formats import FORMATS
from quarterturn.weights.model_card import MARK, model_card

logger = logging.getLogger(__name__)

CARD = "MODEL_CARD.md"


def export(
    run: Path | str,
    *,
    format: str,
    out: Path | str | None = None,
    layers: Sequence[str] | None = None,
    num_classes: int | None = None,
    input: str | None = None,
    rescale: bool = False,
    sample: Path | str | None = None,
    licence: str | None = None,
    tolerance: float = TOLERANCE,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write a run's weights in another code's format, with a model card beside them.

    The files are first loaded by their consumer, whose outputs must agree with those of the run's
    network on the same images.

    Args:
        run: The run directory.
        format: ``safetensors`` (ours, with all that is needed to use it, for `load_backbone`),
            ``torchvision`` and ``timm`` (ResNets; any of timm's for timm), ``onnx``, or ``caffe``
            (AlexNet).
        out: The file; by default ``RUN/exports/<format>/<backbone><suffix>``.
        layers: For onnx: outputs by name, ``rotation`` among them; by default the last layer and
            the rotation head's logits.
        num_classes: For torchvision and timm: width of a classifier of zeros, to be trained. By
            default torchvision's is the rotation head, and timm's network has none.
        input: For caffe: ``rgb`` (normalised, the default) or ``bgr255`` (blue, green, red in
            0..255 less the mean).
        rescale: For caffe: balance the scales of the layers on a sample of images.
        sample: The DATA of that sample; by default the run's.
        licence: What the model card names as licence.
        tolerance: How far an output may be from ours, as a fraction of its largest value.
        overwrite: Replace existing files.

    Returns:
        Files, consumer and differences, as written to ``RUN/exports/<format>.json``.

    Raises:
        ConfigError: A file exists, an option is for another format, an extra is missing, or the
            consumer has no such network.
        CheckpointError: The run cannot be read, or the consumer computes something else.
    """
    if format not in FORMATS:
        raise ConfigError(f"--format is {format!r}; expected one of {', '.join(FORMATS)}")
    given = {
        "layers": layers,
        "num_classes": num_classes,
        "input": input,
        "rescale": rescale or None,
        "sample": sample,
    }
    given = {option: value for option, value in given.items() if value is not None}
    for option in [option for option in given if option not in FORMATS[format].options]:
        formats = " and ".join(name for name in FORMATS if option in FORMATS[name].options)
        flag = f"--{option.replace('_', '-')}"
        raise ConfigError(f"{flag} is for --format {formats}, not {format}")
    if num_classes is not None and num_classes < 1:
        raise ConfigError(f"--num-classes is {num_classes}; expected at least 1")
    if input not in (None, "rgb", "bgr255"):
        raise ConfigError(f"--input is {input!r}; expected rgb or bgr255")
    if sample is not None and not rescale:
        raise ConfigError("--sample is for --rescale; give both or neither")
    opened = Run.open(run)
    network = opened.load_network()
    path, card = _target(opened, format, out, overwrite=overwrite)
    images = clouds(opened.config.data)
    # On the same file system as the result, so that moving files into place is atomic.
    beside = path.parent if path.parent.is_dir() else opened.path
    with TemporaryDirectory(dir=beside, prefix=".export-") as folder:
        written = Path(folder) / path.name
        exported = FORMATS[format].write(opened, network, written, images, **given)
        require_close(exported, tolerance)
        weights = weights_fingerprint(network)
        results, _ = read_results(opened, weights)
        text = model_card(
            opened,
            network,
            exported,
            weights=weights,
            probes=[*results.values()],
            licence=licence,
        )
        written.with_name(CARD).write_text(text, encoding="utf-8")
        path.parent.mkdir(parents=True, exist_ok=True)
        for name in (*exported.files, CARD):
            put_in_place(written.with_name(name), path.with_name(name))
    result = {
        "run": str(opened.path),
        "format": format,
        "folder": str(path.parent),
        "tolerance": tolerance,
        **exported.to_dict(),
    }
    (opened.path / "exports").mkdir(exist_ok=True)
    write_json(opened.path / "exports" / f"{format}.json", result)
    show(_table(exported))
    for line in (*exported.notes, f"written: {path}, {card}", exported.loading):
        logger.info(line)
    return result


def _target(run: Run, format: str, out: Path | str | None, *, overwrite: bool) -> tuple[Path, Path]:
    """The file and its model card; refuses to overwrite what is not an earlier export."""
    suffix = FORMATS[format].suffix
    name = f"{run.config.model.backbone.removeprefix('timm:')}{suffix}"
    path = run.path / "exports" / format / name if out is None else Path(out)
    if path.suffix != suffix:
        raise ConfigError(f"--out {path} must end in {suffix}")
    if out is not None and not path.parent.is_dir():
        raise ConfigError(f"--out {path}: there is no directory {path.parent}")
    card = path.with_name(CARD)
    files = [path, card, *(path.with_suffix(suffix) for suffix in FORMATS[format].beside)]
    for file in files:
        if file.exists() and not overwrite:
            raise ConfigError(f"{file} exists; choose another folder, or give --overwrite")
    if card.exists() and not card.read_text(errors="replace").rstrip().endswith(MARK):
        raise ConfigError(
            f"{card} is not a model card written by export, so --overwrite does not replace it; "
            "choose another folder"
        )
    return path, card


def _table(exported: Exported) -> Table:
    return Table(
        f"Differences from {exported.consumer}",
        ["output", "greatest", "of the range"],
        [[d.output, d.absolute, d.relative] for d in exported.differences],
        note="on the same images; the range of an output is its largest absolute value",
        plain=("greatest", "of the range"),
    )
