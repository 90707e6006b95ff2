"""What the pages of all runs have in common."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from quarterturn.pages.page import Page, write_page
from quarterturn.runs import Run


def write_run_page(
    run: Run,
    *,
    name: str,
    source_lines: Sequence[str],
    warnings: Sequence[str],
    **content: Any,
) -> Path:
    """Write the ``report.html`` of a run, with its settings and its environment.

    Args:
        run: The run.
        name: What was done to its data; the page's title.
        source_lines: What the data held, a line each; indented lines, which list files one by
            one, are left out: the page lists them itself.
        warnings: What the reader must not overlook.
        **content: Other attributes of the `Page`.

    Returns:
        The page's path.
    """
    path = run.path / "report.html"
    assert run.data is not None  # imported weights have no training to report
    page = Page(
        title=f"{name} on {Path(run.data).name or run.data}",
        date=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        warnings=[sentence(w) for w in warnings],
        facts=[line.rstrip(":") for line in source_lines if not line.startswith(" ")],
        settings=run.config.to_dict(),
        environment=run.read_json("environment.json"),
        **content,
    )
    write_page(path, page)
    return path


def sentence(text: str) -> str:
    """Words with a capital at their beginning and a stop at their end."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."
