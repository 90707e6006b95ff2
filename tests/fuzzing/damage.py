"""Damage to files, drawn from a generator."""

import numpy as np

HEAD_BYTES = 120


def damaged(draw: np.random.Generator, content: bytes) -> bytes:
    """Cut short, with bytes changed (most often near the head), or with a part taken out."""
    changed = bytearray(content)
    for _ in range(int(draw.integers(0, 6))):
        end = len(changed) if draw.random() < 0.4 else min(HEAD_BYTES, len(changed))
        changed[int(draw.integers(0, end))] = int(draw.integers(0, 256))
    if draw.random() < 0.3:
        del changed[int(draw.integers(0, len(changed))) :]
    if draw.random() < 0.2 and changed:
        start = int(draw.integers(0, len(changed)))
        del changed[start : start + int(draw.integers(1, 40))]
    return bytes(changed)
