"""The model card that lies beside exported weights: what they are, and how to load them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from quarterturn.data.data_argument import short_name
from quarterturn.methods.base import Network
from quarterturn.pages.probe_tables import main_table
from quarterturn.pages.tables import numbers
from quarterturn.runs import Imported, Run
from quarterturn.runs.records import ProbeResult
from quarterturn.weights.check import Exported

MARK = "Written by `quarterturn export`."
"""The last line of every card, which tells earlier cards from files of the user."""


def model_card(
    run: Run,
    network: Network,
    exported: Exported,
    *,
    weights: str,
    probes: Sequence[ProbeResult] = (),
    licence: str | None = None,
) -> str:
    """A model card in Markdown.

    Args:
        run: The run that the weights are of.
        network: Its network.
        exported: What was written.
        weights: Fingerprint of the weights.
        probes: Results of ``quarterturn probe`` on these very weights.
        licence: Under which the weights are given away; by default that of the weights they began
            with, where it is known.
    """
    known = None if run.provenance is None else run.provenance.licence
    facts = _facts(run, network, weights) | {
        "licence": licence or known or "not stated; ask whoever trained the weights",
        "written by": f"quarterturn {version('quarterturn')}",
    }
    parts = [
        f"# {run.config.model.backbone}: {run.config.method.title}",
        _markdown(["", ""], [[name, value] for name, value in facts.items()]),
        "## How to load",
        f"```python\n{exported.loading}\n```",
        *exported.notes,
        *_classes(run.class_names),
        "## Checked",
        f"On the same images, {exported.consumer} gives what quarterturn gives, but for:",
        _markdown(
            ["output", "greatest difference", "of the output's range"],
            [[d.output, f"{d.absolute:.2g}", f"{d.relative:.2g}"] for d in exported.differences],
        ),
        "## Probes",
        *([part for result in probes for part in _probe(result)] or ["None has been made."]),
        MARK,
    ]
    return "\n\n".join(parts) + "\n"


def _facts(run: Run, network: Network, weights: str) -> dict[str, str]:
    config, backbone = run.config, network.backbone
    side, crop = config.data.image_size, config.data.centre_crop
    whole = run.epochs_done() == config.run.epochs
    epochs = f"{run.epochs_done():.3g}" + ("" if whole else f" of {config.run.epochs}")
    if run.imported is not None and not config.run.epochs:
        epochs = "not known"
    if getattr(config.method, "solver", "") == "exact":
        epochs = "none: the classifier was solved exactly, on frozen features"
    facts = {
        "network": f"{config.model.backbone}, {backbone.feature_dim} features; layers "
        + ", ".join(backbone.layers),
        "parts": "the features as a whole",
        "heads": ", ".join(network.heads).replace("_", " ") or "none",
        "method": f"{config.method.title}: {config.method.meaning}",
        "epochs": epochs,
        "learned from": "not known" if run.data is None else short_name(run.data),
        "fingerprint of the images": run.fingerprint or "not known",
        "fingerprint of the weights": weights,
        "input": f"RGB, {side} by {side} pixels, values in [0, 1] less the mean "
        f"{numbers(config.data.mean)}, over the standard deviation {numbers(config.data.std)}",
        "crop": f"the centre square of {crop}"
        if isinstance(crop, str)
        else f"the centre square of {crop:g} of the short side",
    }
    if network.decoupled:
        half = backbone.feature_dim // 2
        facts["parts"] = (
            f"rotation half: features 0 to {half - 1}; invariant half: {half} to {2 * half - 1}"
        )
    if run.imported is not None:
        facts["imported from"] = _file(run.imported)
    if run.start is not None and run.origin is None:
        facts["began with"] = f"the weights of another run, {Path(run.start).name}"
    if run.origin is not None:
        facts["began with" if run.start else "first trained elsewhere"] = _file(run.origin)
    return facts


def _file(origin: Imported) -> str:
    """Whose weights these are, in one line."""
    part = f"its {origin.part}; " if origin.part else ""
    words = f"{origin.file} ({origin.layout}; {part}sha256 {origin.sha256})"
    words += f", offered at {origin.source}" if origin.source else ""
    return words + (f"; licence: {origin.licence}" if origin.licence else "")


def _classes(names: Sequence[str]) -> list[str]:
    """What a classifier's logits stand for."""
    if not names:
        return []
    rows = [[str(position), name] for position, name in enumerate(names)]
    return ["## Classes", _markdown(["logit", "class"], rows)]


def _probe(result: ProbeResult) -> list[str]:
    table = main_table(result)
    return [
        f"On {result.name}, by {result.protocol['name']}; {table.note}:",
        _markdown(table.columns, table.cells()),
    ]


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in escaped)
