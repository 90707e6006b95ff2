"""A run directory: what a training leaves behind, and what others read from it."""

from quarterturn.runs.environment import command_line, environment
from quarterturn.runs.files import next_directory
from quarterturn.runs.items import write_items
from quarterturn.runs.run import Imported, Run
from quarterturn.runs.seeds import RESULTS, prepare_seeds, seed_directory, seed_runs

__all__ = [
    "RESULTS",
    "Imported",
    "Run",
    "command_line",
    "environment",
    "next_directory",
    "prepare_seeds",
    "seed_directory",
    "seed_runs",
    "write_items",
]
