"""Where weights come from that were not trained here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Imported:
    """Where the weights of a run come from that was not trained here.

    Attributes:
        file: Name of the file.
        sha256: Of the file.
        layout: What kind of file it was.
        heads: The heads that came with the backbone: ``rotation_head``, ``embedding_head``.
        part: Which of the file's networks it was, such as ``state_dict_ema`` or ``encoder_q``;
            empty for the whole.
        licence: Of the weights, where it is known.
        source: From where whoever made the file offers it, where that is known.
    """

    file: str
    sha256: str
    layout: str
    heads: tuple[str, ...]
    part: str = ""
    licence: str | None = None
    source: str | None = None

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any] | None) -> Imported | None:
        """What ``config.json`` holds; None for none."""
        return None if stored is None else cls(**{**stored, "heads": tuple(stored["heads"])})
