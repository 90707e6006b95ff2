"""Names and files of runs on the disk."""

from __future__ import annotations

from pathlib import Path

SEED_FOLDERS = "seed-*[0-9]"
"""Of several seeds, without the drafts of a command that was killed."""


def next_directory(name: str, parent: Path = Path("runs")) -> Path:
    """``runs/<name>-<n>`` with the first free n."""
    n = 1
    while (parent / f"{name}-{n}").exists():
        n += 1
    return parent / f"{name}-{n}"


def no_run(path: Path) -> str:
    """What is there in place of a run directory."""
    if not path.exists():
        return f"{path}: there is no such run or file"
    if not path.is_dir():
        return (
            f"{path} is a file; expected a run directory, which quarterturn import makes of weights"
        )
    if several := sorted(file.parent.name for file in path.glob(f"{SEED_FOLDERS}/config.json")):
        return f"{path} holds runs of several seeds: name one of them, {', '.join(several)}"
    return f"{path} is no run directory: it has no config.json"
