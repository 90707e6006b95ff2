"""Names and files of runs on the disk."""

from __future__ import annotations

from pathlib import Path


def next_directory(name: str, parent: Path = Path("runs")) -> Path:
    """``runs/<name>-<n>`` with the first free n."""
    n = 1
    while (parent / f"{name}-{n}").exists():
        n += 1
    return parent / f"{name}-{n}"
