"""A run directory: what a training leaves behind, and what others read from it.

The names below load what they need when they are first used: some modules here need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quarterturn.runs.closing import command_line
    from quarterturn.runs.files import next_directory
    from quarterturn.runs.imported import Imported
    from quarterturn.runs.items import write_items
    from quarterturn.runs.run import Run
    from quarterturn.runs.seeds import (
        RESULTS,
        prepare_seeds,
        seed_directory,
        seed_places,
        seed_runs,
    )

_HOME = {
    "RESULTS": "seeds",
    "Imported": "imported",
    "Run": "run",
    "command_line": "closing",
    "next_directory": "files",
    "prepare_seeds": "seeds",
    "seed_directory": "seeds",
    "seed_places": "seeds",
    "seed_runs": "seeds",
    "write_items": "items",
}

__all__ = [
    "RESULTS",
    "Imported",
    "Run",
    "command_line",
    "next_directory",
    "prepare_seeds",
    "seed_directory",
    "seed_places",
    "seed_runs",
    "write_items",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
