import hashlib
import math

import numpy as np
import pytest
import torch

from quarterturn.randomness import hash64, integers, permutation, uniforms

WORD = 2**64
GOLDEN = 0x9E3779B97F4A7C15


def splitmix(z: int) -> int:
    """The finaliser of SplitMix64 in Python's unbounded integers."""
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % WORD
    return z ^ (z >> 31)


def plain_hash(seed: int, purpose: str, *counters: int) -> int:
    digest = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest()
    bits = int.from_bytes(digest, "little")
    for counter in counters:
        bits = splitmix(((bits ^ (counter % WORD)) + GOLDEN) % WORD)
    return bits


def chi_square(counts: np.ndarray) -> float:
    """Deviations from equal counts, in standard deviations of the statistic's own law."""
    expected = counts.sum() / counts.size
    statistic = ((counts - expected) ** 2 / expected).sum()
    freedom = counts.size - 1
    return float((statistic - freedom) / math.sqrt(2 * freedom))


def test_the_oracle_has_the_published_outputs_of_splitmix64():
    outputs = [splitmix((1234567 + n * GOLDEN) % WORD) for n in (1, 2, 3)]
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("seed", [0, 1, -3, 2**40])
@pytest.mark.parametrize("counters", [(), (0,), (5, 7), (-1, 2**62, 3), (2**63 - 1, -(2**63))])
def test_hash_is_the_chained_finaliser(seed, counters):
    assert hash64(seed, "noise", *counters).item() % WORD == plain_hash(seed, "noise", *counters)


def test_counters_broadcast():
    rows, columns = torch.tensor([4, 9, 2]), torch.arange(5)
    bits = hash64(3, "x", 8, rows[:, None], columns)
    assert bits.shape == (3, 5)
    assert bits.dtype == torch.int64
    for i, row in enumerate(rows.tolist()):
        for j in range(5):
            assert bits[i, j].item() % WORD == plain_hash(3, "x", 8, row, j)


def test_a_number_does_not_depend_on_its_place():
    everyone = uniforms(0, "flip", 12, torch.arange(1000))
    some = torch.tensor([999, 5, 5, 0, 321])
    assert torch.equal(uniforms(0, "flip", 12, some), everyone[some])
    assert torch.equal(uniforms(0, "flip", torch.tensor(12), some), everyone[some])


def test_uniforms_are_the_53_upper_bits():
    u = uniforms(1, "x", torch.arange(50))
    assert u.dtype == torch.float64
    assert u.tolist() == [(plain_hash(1, "x", i) >> 11) / 2**53 for i in range(50)]


NUM = 2**17
STREAMS = {
    "images": lambda: uniforms(0, "flip", 3, torch.arange(NUM)),
    "epochs": lambda: uniforms(0, "flip", torch.arange(NUM), 3),
    "grid": lambda: uniforms(7, "noise", 0, torch.arange(NUM // 32)[:, None], torch.arange(32)),
}


@pytest.mark.parametrize("stream", STREAMS)
def test_uniforms_have_the_moments_and_counts_of_the_uniform_law(stream):
    u = STREAMS[stream]().flatten()
    assert u.min() >= 0
    assert u.max() < 1
    assert abs(u.mean().item() - 1 / 2) < 4 * math.sqrt(1 / 12 / NUM)
    deviation_of_variance = math.sqrt((1 / 80 - 1 / 144) / NUM)
    assert abs(u.var().item() - 1 / 12) < 4 * deviation_of_variance
    assert abs(chi_square(np.bincount((u * 256).long().numpy(), minlength=256))) < 4
    # Neighbours: a 16 x 16 table of (this one, the next one) is even as well.
    cells = (u[:-1] * 16).long() * 16 + (u[1:] * 16).long()
    assert abs(chi_square(np.bincount(cells.numpy(), minlength=256))) < 4


def test_each_of_the_64_bits_is_set_half_the_time():
    bits = hash64(0, "bits", torch.arange(2**14))
    for place in range(64):
        share = ((bits >> place) & 1).double().mean().item()
        assert abs(share - 0.5) < 4.5 * 0.5 / math.sqrt(2**14)


OTHERS = {
    "purpose": lambda i: uniforms(0, "crop-left", 5, i),
    "seed": lambda i: uniforms(1, "crop-top", 5, i),
    "epoch": lambda i: uniforms(0, "crop-top", 6, i),
    "swapped counters": lambda i: uniforms(0, "crop-top", i, 5),
    "seed inside the purpose": lambda i: uniforms(0, "0/crop-top", 5, i),
}


@pytest.mark.parametrize("other", OTHERS)
def test_streams_differ_and_are_uncorrelated(other):
    indices = torch.arange(2**14)
    a, b = uniforms(0, "crop-top", 5, indices), OTHERS[other](indices)
    assert int((a == b).sum()) <= 1  # index 5 of the swapped counters is the same number
    correlation = np.corrcoef(a.numpy(), b.numpy())[0, 1]
    assert abs(correlation) < 4 / math.sqrt(2**14)


@pytest.mark.parametrize("high", [2, 7, 100])
def test_integers_are_even_over_their_range(high):
    drawn = integers(high, 0, "noise", 3, torch.arange(2**15))
    assert drawn.dtype == torch.int64
    counts = np.bincount(drawn.numpy(), minlength=high)
    assert len(counts) == high
    assert abs(chi_square(counts)) < 4
    assert integers(1, 0, "noise", torch.arange(9)).tolist() == [0] * 9


def test_permutation_is_a_permutation_of_its_own_for_each_epoch():
    orders = [permutation(500, 0, "order", epoch) for epoch in range(3)]
    for order in orders:
        assert order.sort().values.tolist() == list(range(500))
    for a, b in [(0, 1), (0, 2), (1, 2)]:
        assert int((orders[a] == orders[b]).sum()) < 10  # one is to be expected
    assert torch.equal(permutation(500, 0, "order", 1), orders[1])
    assert not torch.equal(permutation(500, 1, "order", 1), orders[1])
    assert permutation(1, 0, "order").tolist() == [0]
    assert permutation(0, 0, "order").tolist() == []


def test_all_orders_of_four_are_equally_frequent():
    seen: dict[tuple[int, ...], int] = {}
    for epoch in range(2400):
        order = tuple(permutation(4, 0, "order", epoch).tolist())
        seen[order] = seen.get(order, 0) + 1
    assert len(seen) == 24
    assert abs(chi_square(np.array(list(seen.values())))) < 4


def test_the_global_generators_are_untouched():
    before = torch.random.get_rng_state()
    permutation(10, 0, "order")
    integers(10, 0, "noise", torch.arange(4))
    assert torch.equal(torch.random.get_rng_state(), before)
