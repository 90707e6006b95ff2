"""AlexNet without batch norm: with biases, and with dropout while it is trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from quarterturn.models.alexnet import alexnet
from quarterturn.models.backbone import Backbone
from quarterturn.randomness import uniforms


class LastingDropout(nn.Dropout):
    """Dropout that stays in force while the layers around it are kept as they are.

    The literature trains a classifier on frozen fc6 and fc7 so. What is dropped is a function of
    seed, step and image, as all that is random here, so that an interrupted training continues to
    the same weights.

    Attributes:
        draw: Of the batch to come: the seed, the step, the number of this layer, and (B,) numbers
            of the images. None draws by torch.
    """

    draw: tuple[int, int, int, Tensor] | None = None

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) to (B, D)."""
        if not self.training or self.draw is None:
            return super().forward(features)
        seed, step, layer, indices = self.draw
        places = torch.arange(features.shape[1], device=features.device)
        drawn = uniforms(seed, "dropout", layer, step, indices[:, None], places)
        return features * (drawn >= self.p) / (1 - self.p)


def folded_alexnet(image_size: int = 224, last: str = "fc7") -> Backbone:
    """`quarterturn.models.alexnet.alexnet` with its batch norm folded into the layers before it.

    In eval mode the two are the same map; here nothing depends on the batch. Dropout of one half is
    behind fc6 and fc7, as in Krizhevsky et al. (NeurIPS 2012).

    Args:
        image_size: Side of the input in pixels, at least 63.
        last: ``fc7``, or ``pool5`` for features without the linear layers.

    Raises:
        ValueError: The images are too small for the three pools.
    """
    normalised = alexnet(image_size)
    stages: list[tuple[str, nn.Module]] = []
    for name, stage in normalised.stages.items():
        match list(stage) if isinstance(stage, nn.Sequential) else [stage]:
            case [nn.Conv2d() as conv, *_]:
                stages.append((name, nn.Sequential(conv, nn.ReLU(inplace=True))))
            case [nn.Linear() as linear, *_]:
                if last == "pool5":
                    break
                plain = nn.Linear(linear.in_features, linear.out_features)
                stages.append((name, nn.Sequential(plain, nn.ReLU(), LastingDropout(0.5))))
            case _:
                stages.append((name, stage))
    if last == "pool5":
        fc6 = normalised.stages["fc6"][0]  # type: ignore[index]
        *before, (_, pool), (_, flatten) = stages
        stages = [*before, ("pool5", nn.Sequential(pool, flatten))]
        return Backbone(stages, [name for name, _ in stages], fc6.in_features)
    return Backbone(stages, normalised.layers, normalised.feature_dim, normalised.aliases)
