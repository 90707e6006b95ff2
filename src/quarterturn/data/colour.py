"""Random colours of views: brightness, contrast, saturation, hue, grey and blur.

Colours are drawn on the CPU, as pure functions of (seed, epoch, view), and applied to a batch on
its device, where each view has parameters and an order of its own. Each operation is that of
torchvision's `ColorJitter`, `RandomGrayscale` and `GaussianBlur` on float images.

Shapes: n views; S side of a view.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from quarterturn.randomness import hash64, uniforms

LUMA = (0.2989, 0.587, 0.114)
"""Red, green and blue in a grey value (ITU-R 601)."""
BLUR_SIGMA = (0.1, 2.0)
"""Smallest and largest standard deviation of a blur, in pixels (Chen et al., ICML 2020)."""
CACHED = 2**18
"""Values of a block of images that fits into a processor's cache."""


@dataclass(frozen=True)
class ColourLaw:
    """How colours are drawn; by default they stay as they are.

    Attributes:
        jitter: Share of the views whose colours are jittered.
        brightness: Their brightness is multiplied by up to 1 plus or minus this; likewise the next
            two.
        contrast: Of the difference to the view's mean grey value.
        saturation: Of the difference to each pixel's grey value.
        hue: Their hue moves by up to this share of the colour circle, either way.
        grey: Share of the views that lose their colour.
        blur: Share of the views that are blurred.
    """

    jitter: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grey: float = 0.0
    blur: float = 0.0


@dataclass(frozen=True)
class Colours:
    """Parameters of n views, on the CPU.

    Attributes:
        factors: (n, 4) float32: of brightness, contrast and saturation, and the shift of the hue.
        order: (n, 4) int64: columns of ``factors``, in the order in which they are applied.
        jittered: (n,) bool.
        grey: (n,) bool.
        sigmas: (n,) float32, standard deviations of the blur in pixels; 0 for none.
    """

    factors: Tensor
    order: Tensor
    jittered: Tensor
    grey: Tensor
    sigmas: Tensor


def draw_colours(keys: Tensor, law: ColourLaw, *, seed: int, epoch: int) -> Colours:
    """Draw the colours of views.

    Args:
        keys: (n,) int64, one number for each view of the data set.
        law: How they are drawn.
        seed: The run's seed.
        epoch: Colours differ between epochs.
    """

    def draw(purpose: str, *counters: Tensor) -> Tensor:
        return uniforms(seed, f"colour-{purpose}", epoch, *counters)

    strengths = torch.tensor([law.brightness, law.contrast, law.saturation, law.hue])
    centres = torch.tensor([1.0, 1.0, 1.0, 0.0])
    low = (centres - strengths).clamp(min=0)
    low[3] = -law.hue
    spans = centres + strengths - low
    columns = torch.arange(4)
    order = hash64(seed, "colour-order", epoch, keys[:, None], columns).argsort(dim=1, stable=True)
    smallest, largest = BLUR_SIGMA
    sigmas = smallest + (largest - smallest) * draw("sigma", keys)
    return Colours(
        factors=(low + spans * draw("factor", keys[:, None], columns)).float(),
        order=order,
        jittered=draw("jitter", keys) < law.jitter,
        grey=draw("grey", keys) < law.grey,
        sigmas=torch.where(draw("blur", keys) < law.blur, sigmas, 0.0).float(),
    )


def apply_colours(images: Tensor, colours: Colours) -> Tensor:
    """Jitter, grey and blur, in this order.

    Args:
        images: (n, 3, S, S) float32 in [0, 1]; changed in place.
        colours: Of n views.

    Returns:
        ``images``.
    """
    operations: list[Callable[[Tensor, Tensor], Tensor]] = [
        brightened,
        contrasted,
        saturated,
        with_hue_shifted,
    ]
    for place in range(4):
        for column, operation in enumerate(operations):
            chosen = colours.jittered & (colours.order[:, place] == column)
            _apply(images, chosen, operation, colours.factors[:, column])
    _apply(images, colours.grey, lambda views, _: grey_values(views).expand_as(views))
    _apply(images, colours.sigmas > 0, blurred, colours.sigmas)
    return images


def _apply(
    images: Tensor,
    chosen: Tensor,
    operation: Callable[[Tensor, Tensor], Tensor],
    values: Tensor | None = None,
) -> None:
    """Change some of the images in place; ``chosen`` and ``values`` (n,) are on the CPU."""
    rows = chosen.nonzero()[:, 0]  # on the CPU: the device is not waited for
    to_device: Any = {"device": images.device, "non_blocking": True}
    # A processor is twice as quick on blocks that its cache holds.
    block = max(1, CACHED // images[0].numel()) if images.device.type == "cpu" else len(images)
    for part in rows.split(block) if len(rows) else ():
        of_part = part if values is None else values[part].to(**to_device)
        part = part.to(**to_device)
        images.index_copy_(0, part, operation(images.index_select(0, part), of_part))


def grey_values(images: Tensor) -> Tensor:
    """(n, 3, S, S) to (n, 1, S, S)."""
    red, green, blue = images.split(1, dim=1)
    return (LUMA[0] * red).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def brightened(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply (n, 3, S, S) images in [0, 1] by (n,) factors, each by its own."""
    return (images * factors[:, None, None, None]).clamp_(0, 1)


def contrasted(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply the differences to each image's mean grey value; arguments as for `brightened`."""
    return _blended(grey_values(images).mean(dim=(1, 2, 3), keepdim=True), images, factors)


def saturated(images: Tensor, factors: Tensor) -> Tensor:
    """Multiply the differences to each pixel's grey value; arguments as for `brightened`."""
    return _blended(grey_values(images), images, factors)


def _blended(start: Tensor, images: Tensor, factors: Tensor) -> Tensor:
    return torch.lerp(start, images, factors[:, None, None, None]).clamp_(0, 1)


def with_hue_shifted(images: Tensor, shifts: Tensor) -> Tensor:
    """Turn the colour circle by (n,) shifts, in whole circles; value and chroma stay.

    With hue h in sixths of the circle, a channel is ``max - chroma * clamp(2 - |k - 2|, 0, 1)``,
    where k = h + 5, h + 3 and h + 1 modulo 6 for red, green and blue.
    """
    red, green, blue = images.unbind(dim=1)  # (n, S, S) each
    largest = images.amax(dim=1)
    chroma = largest - images.amin(dim=1)
    # Where the chroma is 0, so are the differences. Masks are blended in, since torch.where takes
    # ten times as long on a processor.
    sixths = 1 / chroma.clamp(min=1e-12)
    hue = (red - green).mul_(sixths).add_(4)
    hue.lerp_((blue - red).mul_(sixths).add_(2), (largest == green).float())
    hue.lerp_((green - blue).mul_(sixths), (largest == red).float())
    hue += 6 * shifts[:, None, None]
    centres = torch.tensor([3.0, 5.0, 7.0]).to(images.device)[:, None, None]
    away = hue[:, None] - centres  # k - 2, (n, 3, S, S)
    away.sub_((away / 6).round_(), alpha=6).abs_()
    return torch.addcmul(largest[:, None], away.sub_(2).clamp_(-1, 0), chroma[:, None])


def blurred(images: Tensor, sigmas: Tensor) -> Tensor:
    """Blur by Gaussians of (n,) standard deviations in pixels, with mirrored borders.

    The kernel is about a tenth of the side wide (Chen et al., ICML 2020, appendix A).
    """
    num_images, _, height, width = images.shape
    reach = max(1, round(width / 20))
    places = torch.arange(-reach, reach + 1, device=images.device)
    kernels = torch.exp(-0.5 * (places / sigmas[:, None]) ** 2)  # (n, 2 * reach + 1)
    kernels = (kernels / kernels.sum(dim=1, keepdim=True)).repeat_interleave(3, dim=0)[:, None]
    planes = F.pad(images, [reach] * 4, mode="reflect").flatten(0, 1)[None]  # (1, n * 3, ...)
    rows = F.conv2d(planes, kernels[:, :, :, None], groups=3 * num_images)
    return F.conv2d(rows, kernels[:, :, None], groups=3 * num_images).view(
        num_images, 3, height, width
    )
