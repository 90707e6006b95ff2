"""What stands for the method of weights that were trained elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from quarterturn.config.method import MethodOptions


@dataclass(frozen=True)
class ImportedOptions(MethodOptions):
    """No method of ours: a backbone without heads, which nothing here trains further as it is."""

    name: ClassVar[str] = "imported"
    title: ClassVar[str] = "trained elsewhere"
    meaning: ClassVar[str] = "by what method is not known here"
    command: ClassVar[str | None] = None
