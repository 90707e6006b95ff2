"""The instance loss against a plain one: forward, backward and update of the memory bank.

The plain one is written as the literature does: noise drawn for each image, their rows gathered
to (B, K, E), probabilities by exp, the loss by logarithms (Wu et al., CVPR 2018). It is timed in
turn with ours, with noise for each image and with noise shared by the batch, and the ratios are
taken round by round, since a machine's speed drifts.

    python benchmarks/instance_loss.py
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor

from quarterturn.engine.runtime import Runtime
from quarterturn.methods.discrimination import InstanceDiscrimination
from quarterturn.methods.instance_options import InstanceOptions
from timing import over_rounds, seconds

TEMPERATURE = 0.07
MOMENTUM = 0.5


@dataclass(frozen=True)
class Options:
    """What to time."""

    batch_size: int = 192
    num_noise: int = 4096
    instances: int = 1_281_167
    embedding_dim: int = 128
    loss: Literal["nce", "infonce"] = "nce"
    rounds: int = 9
    device: str = "auto"


def main(options: Options) -> None:
    runtime = Runtime(options.device)
    steps = {
        "plain": plain_step(options, runtime.device),
        "per-image": our_step(options, "per-image", runtime.device),
        "shared": our_step(options, "shared", runtime.device),
    }
    for step in steps.values():
        step()
    rounds = [
        {name: seconds(step, runtime) for name, step in steps.items()}
        for _ in range(options.rounds)
    ]
    print(
        f"instance loss ({options.loss}), B = {options.batch_size}, K = {options.num_noise}, "
        f"N = {options.instances:,}, E = {options.embedding_dim}, {runtime.device}, "
        f"n = {options.rounds}"
    )
    figures: dict[str, object] = {"rounds": options.rounds}
    for name in steps:
        times = [r[name] for r in rounds]
        ratios = [r["plain"] / r[name] for r in rounds]
        figures[name] = {"ms": statistics.median(times) * 1e3, "speed_up": over_rounds(ratios)}
        print(
            f"  {name:10} {statistics.median(times) * 1e3:8.1f} ms, "
            f"{statistics.median(ratios):6.2f} times as fast as plain "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )
    print(json.dumps(figures))


def inputs(options: Options, device: torch.device) -> tuple[Tensor, Tensor]:
    """Embeddings that want a gradient, and the images' numbers, spread over the bank."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(options.batch_size, options.embedding_dim, generator=generator)
    indices = torch.randperm(options.instances, generator=generator)[: options.batch_size]
    return F.normalize(values, dim=1).to(device).requires_grad_(), indices.to(device)


def our_step(options: Options, noise: str, device: torch.device) -> Callable[[], object]:
    settings = InstanceOptions(
        instance_loss=options.loss,
        noise=noise,
        num_noise=options.num_noise,
        temperature=TEMPERATURE,
        bank_momentum=MOMENTUM,
    )
    discrimination = InstanceDiscrimination(
        options.instances, options.embedding_dim, settings, device=device
    )
    embedding, indices = inputs(options, device)
    counter = iter(range(1_000_000))

    def step() -> None:
        embedding.grad = None
        loss, normalizer = discrimination.loss(embedding, indices, next(counter))
        loss.backward()
        discrimination.after_step(indices, embedding.detach(), normalizer)

    return step


def plain_step(options: Options, device: torch.device) -> Callable[[], object]:
    bank = F.normalize(torch.randn(options.instances, options.embedding_dim), dim=1).to(device)
    embedding, indices = inputs(options, device)
    k, n = options.num_noise, options.instances
    z = n * 1.0

    def step() -> None:
        embedding.grad = None
        drawn = torch.randint(n, (len(indices), k + 1), device=device)
        drawn[:, 0] = indices
        rows = bank.index_select(0, drawn.flatten()).view(len(indices), k + 1, -1)
        logits = torch.bmm(rows, embedding[:, :, None]).squeeze(2) / TEMPERATURE
        if options.loss == "infonce":
            own = torch.zeros_like(drawn, dtype=torch.bool)
            own[:, 1:] = drawn[:, 1:] == indices[:, None]
            targets = torch.zeros(len(indices), dtype=torch.int64, device=device)
            loss = F.cross_entropy(logits.masked_fill(own, -torch.inf), targets)
        else:
            p = logits.exp() / z
            noise_p = k / n
            of_positive = (p[:, 0] / (p[:, 0] + noise_p)).log().sum()
            of_noise = (noise_p / (p[:, 1:] + noise_p)).log().sum()
            loss = -(of_positive + of_noise) / len(indices)
        loss.backward()
        with torch.no_grad():
            rows = bank.index_select(0, indices) * MOMENTUM + embedding * (1 - MOMENTUM)
            bank.index_copy_(0, indices, F.normalize(rows, dim=1))

    return step


if __name__ == "__main__":
    main(tyro.cli(Options))
