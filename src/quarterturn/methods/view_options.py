"""Options of the methods that compare several views of each image, within a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from quarterturn.config.bounds import (
    Bounds,
    Fraction,
    Positive,
    PositiveFraction,
    PositiveOrZero,
    SmallViews,
    Width,
)
from quarterturn.config.method import MethodOptions
from quarterturn.config.validation import require


@dataclass(frozen=True)
class ViewOptions(MethodOptions):
    """Views of each image, their colours, the embedding and the instance loss."""

    compares_views: ClassVar[bool] = True
    has_instance_loss: ClassVar[bool] = True

    num_views: Annotated[int, Bounds(at_least=1, at_most=64)] = 2
    """Full views of each image: different crops of --image-size."""
    num_small_views: SmallViews = 4
    """Small views of each image, beside the full ones; 0 for none."""
    small_scale: PositiveFraction = 0.5
    """Side of a small view, as a fraction of --image-size."""
    same_crop: bool = False
    """The small views of an image are one crop in several turns, in place of different crops."""
    same_turn: Fraction = 0.0
    """Share of the images whose full views all have the same turn."""
    colour_jitter: Fraction = 0.8
    """Share of the views whose colours are jittered."""
    brightness: PositiveOrZero = 0.4
    """Jitter multiplies the brightness by up to 1 plus or minus this."""
    contrast: PositiveOrZero = 0.4
    """Jitter multiplies the contrast by up to 1 plus or minus this."""
    saturation: PositiveOrZero = 0.4
    """Jitter multiplies the saturation by up to 1 plus or minus this."""
    hue: Annotated[float, Bounds(at_least=0, at_most=0.5)] = 0.1
    """Jitter moves the hue by up to this share of the colour circle, either way."""
    grey: Fraction = 0.2
    """Share of the views that lose their colour."""
    blur: Fraction = 0.0
    """Share of the views that are blurred."""
    instance_weight: PositiveOrZero = 1.0
    """Weight of the instance loss in the total."""
    temperature: Positive = 0.2
    """Divides the similarities in the instance loss."""
    embedding_head: Literal["mlp", "linear"] = "mlp"
    """The map from features to the embedding: two layers with batch norm, or one."""
    head_width: Width = 512
    """Width between the two layers of that map."""
    embedding_dim: Width = 128
    """Width of the normalised embedding that the instance loss compares."""

    @property
    def views_in_words(self) -> str:
        """Full views and small ones."""
        small = f" and {self.num_small_views} small ones" if self.num_small_views else ""
        return f"each in {self.num_views} views{small}"

    def small_side(self, side: int) -> int:
        """Side of a small view in pixels; ``side`` is that of a full one."""
        return round(self.small_scale * side)

    def input_shapes(self, num_images: int, side: int) -> list[tuple[int, ...]]:
        """See `MethodOptions.input_shapes`; views are an axis of their own."""
        small = self.small_side(side)
        numbers = [(self.num_views, side), (self.num_small_views, small)]
        return [(num_images, views, 3, side, side) for views, side in numbers if views]

    def check(self) -> None:
        """Refuse values that do not go together; see `quarterturn.config.validation`."""
        require(
            self.num_views + self.num_small_views > 1,
            "num_views",
            self.num_views,
            "2 or more without small views: an image's views are compared with each other",
        )
        require(
            2 <= self.num_small_views <= 4 or not self.same_crop,
            "num_small_views",
            self.num_small_views,
            "2 to 4 with --same-crop: a fifth view of one crop repeats a turn",
        )
        require(
            self.num_views > 1 or not self.same_turn,
            "same_turn",
            self.same_turn,
            "0 with --num-views 1: a single full view shares its turn with no other",
        )
