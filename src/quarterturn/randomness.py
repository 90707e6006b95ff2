"""Counter-based random numbers: pure functions of seed, purpose and counters.

A number is a hash of (seed, purpose, counters), such as (seed, "noise", step, image index). So a
run draws the same order, crops, flips and noise with any number of workers or processes, resumed
or not. The hash chains the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) over the
counters, in int64 tensors, whose products wrap around as the algorithm requires.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed integer
_MIX1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX2 = -7723592293110705685  # 0x94D049BB133111EB


def hash64(seed: int, purpose: str, *counters: Tensor | int) -> Tensor:
    """64 random bits for each combination of counters.

    Args:
        seed: The run's seed.
        purpose: What the bits are for; different purposes have independent streams.
        counters: Integers or integer tensors that broadcast together.

    Returns:
        int64 tensor of the counters' common shape, on their device.
    """
    digest = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest()
    # Plain integers become zero-dimensional tensors, whose overflow wraps around. On the CPU they
    # combine with a device's tensors without a copy that waits for the device.
    bits = torch.tensor(int.from_bytes(digest, "little", signed=True))
    for counter in counters:
        bits = _splitmix((bits ^ torch.as_tensor(counter, dtype=torch.int64)) + _GOLDEN)
    return bits


def uniforms(seed: int, purpose: str, *counters: Tensor | int) -> Tensor:
    """Float64 uniforms in [0, 1), with 53 random bits; arguments as for `hash64`."""
    return _shift_right(hash64(seed, purpose, *counters), 11).double() * 2.0**-53


def integers(high: int, seed: int, purpose: str, *counters: Tensor | int) -> Tensor:
    """Integers uniform in 0..high-1; other arguments as for `hash64`."""
    return _shift_right(hash64(seed, purpose, *counters), 1) % high


def permutation(size: int, seed: int, purpose: str, *counters: int) -> Tensor:
    """A random permutation of 0..size-1; other arguments as for `hash64`."""
    return torch.argsort(hash64(seed, purpose, *counters, torch.arange(size)), stable=True)


def _splitmix(z: Tensor) -> Tensor:
    z = (z ^ _shift_right(z, 30)) * _MIX1
    z = (z ^ _shift_right(z, 27)) * _MIX2
    return z ^ _shift_right(z, 31)


def _shift_right(z: Tensor, bits: int) -> Tensor:
    """Logical right shift: torch's int64 shift copies the sign bit, which is masked off here."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)
