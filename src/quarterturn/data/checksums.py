"""Which files of a torchvision data set are missing or damaged, by checksum."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def describe_damage(folder: Path, files: Iterable[tuple[str, str]], error: Exception) -> str:
    """Describe which files are missing or damaged.

    Args:
        folder: Folder that should hold them.
        files: Names and MD5 checksums.
        error: The error that torchvision raised, quoted if all files are as published.
    """
    from torchvision.datasets.utils import check_integrity

    remedy = "pretrain, upright, finetune and probe fetch them with --download"
    expected = list(files)
    if missing := [name for name, _ in expected if not (folder / name).is_file()]:
        return f"{folder} should hold {', '.join(missing)}, which are missing; {remedy}"
    if damaged := [name for name, md5 in expected if not check_integrity(folder / name, md5)]:
        return f"damaged files in {folder} (by checksum): {', '.join(damaged)}; {remedy}"
    return f"{folder} cannot be read: {error}"
