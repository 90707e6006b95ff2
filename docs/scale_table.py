"""Calculates the table of ``scale.md``: what 10^7 and 10^9 images ask of each process.

``make results`` writes it between the two comments that name it. The figures that it begins with
were measured elsewhere in these documents; the rest is arithmetic, and nothing of it was run.
"""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parent / "scale.md"
BLOCK = re.compile(r"(<!-- calculated -->)\n.*?(<!-- end of calculated -->)", re.DOTALL)

BANK_BYTES = 128 * 4  # an embedding in float32
FILE_BYTES, MEMBER_BYTES = 350, 620  # of a process's list, measured: an image file, one in a .tar
GRADIENT_BYTES = 4 * 11.2e6  # ResNet-18 in float32
ROW_BYTES = BANK_BYTES + 8  # an embedding and its image's number
BATCH = 256  # images of a process
SPEED = 2000  # images a second of a process: assumed
HEADER = (
    "| images | processes | bank | list of files | list of .tar | moved a step | an epoch |\n"
    "|---:|---:|---:|---:|---:|---:|---:|"
)


def table() -> str:
    """The table in Markdown."""
    rows = [
        f"| 10^{power} | {processes} | {gigabytes(images * BANK_BYTES)} "
        f"| {gigabytes(images * FILE_BYTES)} | {gigabytes(images * MEMBER_BYTES)} "
        f"| {moved_bytes(processes) / 1e6:.0f} MB | {duration(images / SPEED / processes)} |"
        for power, images in ((7, 10**7), (9, 10**9))
        for processes in (1, 8, 64)
    ]
    return "\n".join([HEADER, *rows])


def moved_bytes(processes: int) -> float:
    """Bytes that a process sends in a step of ``decoupling``.

    Gradients go around a ring in two passes, each of all but one share; then every process has the
    embeddings of all images.
    """
    share = (processes - 1) / processes
    return 2 * share * GRADIENT_BYTES + (processes - 1) * BATCH * ROW_BYTES


def gigabytes(num_bytes: float) -> str:
    """A number of bytes in words."""
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes < 1e11 else f"{num_bytes / 1e9:,.0f} GB"


def duration(seconds: float) -> str:
    """A time in words."""
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"


def rendered(text: str) -> str:
    """The page with its table calculated anew."""
    return BLOCK.sub(lambda block: f"{block[1]}\n{table()}\n{block[2]}", text)


if __name__ == "__main__":
    PAGE.write_text(rendered(PAGE.read_text("utf-8")), "utf-8")
