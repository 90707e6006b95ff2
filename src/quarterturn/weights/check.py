"""Check exported files: their consumer's outputs against ours, on the same images.

Shapes: n images; S side of a crop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from quarterturn.config import DataConfig
from quarterturn.data.normalisation import Normalise
from quarterturn.errors import CheckpointError
from quarterturn.randomness import uniforms

TOLERANCE = 1e-4
"""Relative to the largest value of an output; another summation order changes 1e-7 to 1e-5."""


@dataclass(frozen=True)
class Difference:
    """The difference between two computations of one output.

    Attributes:
        output: Name of the output.
        absolute: Largest absolute difference.
        relative: The same, over the largest absolute value expected.
    """

    output: str
    absolute: float
    relative: float


@dataclass(frozen=True)
class Exported:
    """The files of an export, and their check.

    Attributes:
        files: Names of the files.
        consumer: The library that loaded them for the check.
        differences: Difference of each output from ours.
        loading: Lines of Python that load them.
        notes: Sentences that users of the files must know.
    """

    files: tuple[str, ...]
    consumer: str
    differences: tuple[Difference, ...]
    loading: str
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def clouds(crop: DataConfig, number: int = 4) -> Tensor:
    """(n, 3, S, S) normalised images of coloured clouds, always the same.

    They are smooth like photos: deep layers respond alike to all images of white noise.
    """
    places = torch.arange(number * 3 * 8 * 8).view(number, 3, 8, 8)
    coarse = 255 * uniforms(0, "clouds", 0, places).float()
    side = crop.image_size
    pixels = F.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=False)
    return Normalise(crop, torch.device("cpu"))(pixels)


def differences(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor]
) -> tuple[Difference, ...]:
    """Compare named outputs.

    Raises:
        CheckpointError: The shape of an output differs from ours.
    """
    result = []
    for name, ours in expected.items():
        theirs = found[name]
        if theirs.shape != ours.shape:
            raise CheckpointError(
                f"the exported file returns {name} of shape {tuple(theirs.shape)}; expected "
                f"{tuple(ours.shape)}"
            )
        # Equal infinities have no difference: the logit of a class that is left out is -inf.
        apart = (theirs.double() - ours.double()).masked_fill(theirs == ours, 0)
        absolute = float(apart.abs().max())
        largest = float(ours.masked_fill(ours.isinf(), 0).abs().max())
        result.append(Difference(name, absolute, absolute / max(largest, 1e-12)))
    return tuple(result)


def require_close(exported: Exported, tolerance: float) -> None:
    """Refuse files whose outputs differ from ours.

    Raises:
        CheckpointError: Names the outputs beyond the tolerance.
    """
    # Not "greater than": NaN is not close either.
    wrong = [d for d in exported.differences if not d.relative <= tolerance]
    if wrong:
        raise CheckpointError(
            f"{exported.consumer} computes other values from the exported files, so they were "
            f"deleted (the limit --tolerance is {tolerance:g}): "
            + ", ".join(f"{d.output} differs by {d.relative:.2g} of its range" for d in wrong)
        )
