"""Options of instance discrimination without turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from quarterturn.methods.discrimination_options import DiscriminationOptions


@dataclass(frozen=True)
class InstanceOptions(DiscriminationOptions):
    """Instance discrimination (Wu, Xiong, Yu, Lin, CVPR 2018): upright views, no turns."""

    name: ClassVar[str] = "instance"
    title: ClassVar[str] = "instance discrimination"
    meaning: ClassVar[str] = "the features learn to tell images apart; nothing is turned"
    module: ClassVar[str | None] = "quarterturn.methods.instance"
