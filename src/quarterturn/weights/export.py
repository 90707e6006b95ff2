"""``quarterturn export``: a run's weights as files for other codes, checked by running them."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from quarterturn.config.options import take_options
from quarterturn.config.validation import flag
from quarterturn.errors import ConfigError
from quarterturn.features.network_features import weights_fingerprint
from quarterturn.files import put_in_place, write_json
from quarterturn.pages.tables import Table, show
from quarterturn.progress import stage
from quarterturn.runs import Run
from quarterturn.runs.closing import log_closing
from quarterturn.runs.lock import locking_its_run
from quarterturn.runs.probes import read_results
from quarterturn.weights.check import Exported, clouds, require_close
from quarterturn.weights.formats import FORMATS
from quarterturn.weights.model_card import MARK, model_card
from quarterturn.weights.options import ExportOptions

logger = logging.getLogger(__name__)

CARD = "MODEL_CARD.md"


@locking_its_run
def export(
    run: Path | str,
    options: ExportOptions | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Write a run's weights in another code's format, with a model card beside them.

    The files are first loaded by their consumer, whose outputs must agree with those of the run's
    network on the same images.

    Args:
        run: The run directory.
        options: Which format, where to, and the format's own options; ``format`` has no
            default.
        **fields: Fields of `ExportOptions`, in place of ``options`` or of some of its values.

    Returns:
        Files, consumer and differences, as written to ``RUN/exports/<format>.json``.

    Raises:
        ConfigError: A file exists, an option is for another format, an extra is missing, or the
            consumer has no such network.
        CheckpointError: The run cannot be read, or the consumer computes something else.
    """
    options = take_options(ExportOptions, options, fields)
    given = {
        "layers": options.layers,
        "num_classes": options.num_classes,
        "input": options.input,
        "rescale": None if options.rescale == "none" else options.rescale,
        "sample": options.sample,
    }
    given = {option: value for option, value in given.items() if value is not None}
    for option in [option for option in given if option not in FORMATS[options.format].options]:
        formats = " and ".join(name for name in FORMATS if option in FORMATS[name].options)
        raise ConfigError(f"{flag(option)} is for --format {formats}, not {options.format}")
    if FORMATS[options.format].states_licence:
        given["licence"] = options.licence
    opened = Run.open(run)
    network = opened.load_network()
    path, card = _target(opened, options.format, options.out, overwrite=options.overwrite)
    images = clouds(opened.config.data)
    # On the same file system as the result, so that moving files into place is atomic.
    beside = path.parent if path.parent.is_dir() else opened.path
    with stage("export", total=2), TemporaryDirectory(dir=beside, prefix=".export-") as folder:
        written = Path(folder) / path.name
        with stage(options.format):
            exported = FORMATS[options.format].write(opened, network, written, images, **given)
        require_close(exported, options.tolerance)
        weights = weights_fingerprint(network)
        results, _ = read_results(opened, weights)
        text = model_card(
            opened,
            network,
            exported,
            weights=weights,
            probes=[*results.values()],
            licence=options.licence,
        )
        written.with_name(CARD).write_text(text, encoding="utf-8")
        path.parent.mkdir(parents=True, exist_ok=True)
        for name in (*exported.files, CARD):
            put_in_place(written.with_name(name), path.with_name(name))
    result = {
        "run": str(opened.path),
        "format": options.format,
        "folder": str(path.parent),
        "tolerance": options.tolerance,
        "class_names": list(opened.class_names),
        **exported.to_dict(),
    }
    (opened.path / "exports").mkdir(exist_ok=True)
    write_json(opened.path / "exports" / f"{options.format}.json", result)
    show(_table(exported))
    for line in (*exported.notes, exported.loading):
        logger.info(line)
    other = "onnx" if options.format == "safetensors" else "safetensors"
    own_data = opened.data or "DATA"
    log_closing(
        f"{opened.path} in the format of {exported.consumer}",
        {"weights": path, "model card": card},
        [
            ("export", opened.path, "--format", other),
            ("probe", opened.path, own_data),
            ("embed", opened.path, own_data, "--out", opened.path / "features.npz"),
        ],
    )
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
