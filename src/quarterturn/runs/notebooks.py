"""A run in a notebook: as a small table in place of its ``repr``, and as tables of pandas."""

from __future__ import annotations

from contextlib import suppress
from html import escape
from types import ModuleType
from typing import TYPE_CHECKING

from quarterturn.errors import ConfigError, QuarterturnError
from quarterturn.wording import counted

if TYPE_CHECKING:
    from quarterturn.runs.run import Run


def require_pandas(name: str) -> ModuleType:
    """The module, for what gives tables.

    Args:
        name: What needs it.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ConfigError(
            f"{name} gives a table of pandas, which is not installed: pip install pandas"
        ) from error
    module: ModuleType = pandas
    return module


def run_as_html(run: Run) -> str:
    """What a run is, in a few lines, with a link to its page where it has one."""
    config = run.config
    facts = {
        "made by": f"quarterturn {run.kind}",
        "method": config.method.name,
        "backbone": f"{config.model.backbone}, at {config.data.image_size} px",
        "images": run.data,
        "began with": run.began_with,
        "classes": ", ".join(run.class_names),
        "weights": _weights(run),
    }
    rows = "".join(
        f"<tr><th style='text-align: left'>{escape(name)}</th>"
        f"<td style='text-align: left'>{escape(words)}</td></tr>"
        for name, words in facts.items()
        if words
    )
    page = run.path / "report.html"
    link = ""
    if page.is_file():
        link = f"<p><a href='{escape(page.resolve().as_uri())}'>report.html</a></p>"
    return f"<div><b>{escape(str(run.path))}</b><table>{rows}</table>{link}</div>"


def _weights(run: Run) -> str:
    """How far the training has come."""
    if run.imported is not None:
        return f"imported from {run.imported.file}"
    with suppress(QuarterturnError, OSError):
        return f"after {run.epochs_done():g} of {counted(run.config.run.epochs, 'epoch')}"
    return "none yet"
