"""Names and files of runs on the disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def next_directory(name: str, parent: Path = Path("runs")) -> Path:
    """``runs/<name>-<n>`` with the first free n."""
    n = 1
    while (parent / f"{name}-{n}").exists():
        n += 1
    return parent / f"{name}-{n}"


def write_json(path: Path, values: Any) -> None:
    """Write readable JSON, atomically."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(values, indent=2) + "\n")
    partial.replace(path)
