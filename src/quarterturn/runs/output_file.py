"""A file that a command is to write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from quarterturn.errors import ConfigError


def check_out(
    out: Path, suffixes: Sequence[str], *, overwrite: bool, beside: Sequence[str] = ()
) -> None:
    """Refuse what cannot be written, before anything is computed for it.

    Args:
        out: The file.
        suffixes: What it may end in.
        overwrite: Whether it may be there already.
        beside: Endings of further files of the same name.

    Raises:
        ConfigError: Another ending, a file that exists, or no such folder.
    """
    if out.suffix not in suffixes:
        raise ConfigError(f"--out {out} must end in {' or '.join(suffixes)}")
    for path in (out, *(out.with_suffix(suffix) for suffix in beside)):
        if path.exists() and not overwrite:
            raise ConfigError(f"{path} exists; choose another --out, or give --overwrite")
    if not out.parent.is_dir():
        raise ConfigError(f"--out {out}: there is no directory {out.parent}")
