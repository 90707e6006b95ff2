"""Random colours of views against torchvision's, image by image as its users apply them.

Jitter in 80 % of the views and grey in 20 %, on float images in memory, on one thread; the two are
timed in turn, and the ratios are taken round by round, since a machine's speed drifts.

    python benchmarks/colour.py
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import torch
import tyro
from torchvision.transforms import v2

from quarterturn.data.colour import ColourLaw, apply_colours, draw_colours
from quarterturn.engine.runtime import Runtime
from timing import seconds


@dataclass(frozen=True)
class Options:
    """What to time."""

    sides: tuple[int, ...] = (32, 128)
    num_views: int = 256
    rounds: int = 9


def main(options: Options) -> None:
    torch.set_num_threads(1)
    runtime = Runtime("cpu")
    law = ColourLaw(0.8, 0.4, 0.4, 0.4, 0.1, grey=0.2)
    jitter = v2.RandomApply([v2.ColorJitter(0.4, 0.4, 0.4, 0.1)], 0.8)
    theirs = v2.Compose([jitter, v2.RandomGrayscale(0.2)])
    keys = torch.arange(options.num_views)
    for side in options.sides:
        views = torch.rand(options.num_views, 3, side, side)
        steps = {
            "quarterturn": lambda v=views: apply_colours(
                v.clone(), draw_colours(keys, law, seed=0, epoch=0)
            ),
            "torchvision": lambda v=views: [theirs(view) for view in v],
        }
        rounds = [
            {name: seconds(step, runtime) / options.num_views for name, step in steps.items()}
            for _ in range(options.rounds)
        ]
        ours, others = ([r[name] * 1e6 for r in rounds] for name in steps)
        ratios = [other / own for own, other in zip(ours, others, strict=True)]
        print(
            f"{side} px, n = {options.rounds}: {statistics.median(ours):.0f} microseconds a view, "
            f"torchvision {statistics.median(others):.0f}; {statistics.median(ratios):.1f} times "
            f"as fast ({min(ratios):.1f} to {max(ratios):.1f})"
        )


if __name__ == "__main__":
    main(tyro.cli(Options))
