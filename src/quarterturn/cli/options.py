"""What ``quarterturn config`` takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ConfigOptions:
    """Print the options of a command as a YAML file for its --config."""
