"""What is wrong with the files of a data set that torchvision knows by their checksums."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def describe_damage(folder: Path, files: Iterable[tuple[str, str]], error: Exception) -> str:
    """Which files are missing or damaged, in words.

    Args:
        folder: Where they should be.
        files: Their names and MD5 checksums.
        error: What torchvision said of them, for where they are all as they should be.
    """
    from torchvision.datasets.utils import check_integrity

    help_ = "pretrain, upright, finetune and probe fetch them with --download"
    expected = list(files)
    if missing := [name for name, _ in expected if not (folder / name).is_file()]:
        return f"{folder} should hold {', '.join(missing)}, which are not there; {help_}"
    if damaged := [name for name, md5 in expected if not check_integrity(folder / name, md5)]:
        return f"in {folder}, {', '.join(damaged)} are not as published (by checksum); {help_}"
    return f"{folder} cannot be read: {error}"
