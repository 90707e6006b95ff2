"""Faster R-CNN (Ren et al., NeurIPS 2015) as torchvision has it, on our backbones.

A feature pyramid (Lin et al., CVPR 2017) of up to four maps, a network that proposes regions, and a
classifier of them. Sampling, losses and their constants are torchvision's.

Shapes: B images; g objects and d detections in an image. Boxes are (x1, y1, x2, y2); torchvision's
last pixel is excluded, ours is included.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from quarterturn.data.region_batches import RegionBatch
from quarterturn.methods.base import Method, Network, StepOutput
from quarterturn.methods.detector_options import DetectorOptions
from quarterturn.models.backbone import Backbone
from quarterturn.models.region_features import map_layers
from quarterturn.randomness import hash64

CHANNELS = 256
STRIDES = (4, 8, 16, 32)
"""Of the maps in the pyramid, as far as the backbone has them."""
ANCHOR_CELLS = 8
"""Cells of its map that an anchor's side covers: 32 px at a stride of 4, up to 512 px at 64."""
RATIOS = (0.5, 1.0, 2.0)


class FasterRCNN(Network):
    """A backbone with a feature pyramid, region proposals and a classifier of regions.

    Args:
        backbone: One with maps; see `quarterturn.models.region_features.map_layers`.
        num_classes: C, without the background.
        options: Regions of a step, and what the test keeps.
    """

    def __init__(self, backbone: Backbone, num_classes: int, options: DetectorOptions) -> None:
        super().__init__(backbone)
        layers = [layer for layer in map_layers(backbone) if layer.stride in STRIDES]
        self.levels = [layer.name for layer in layers]
        self.pyramid = FeaturePyramidNetwork(
            [layer.channels for layer in layers], CHANNELS, LastLevelMaxPool()
        )
        # One level more than there are maps, by the extra pool.
        strides = [*(layer.stride for layer in layers), 2 * layers[-1].stride]
        sides = tuple((ANCHOR_CELLS * stride,) for stride in strides)
        names = [str(level) for level in range(len(layers))]
        body = nn.Identity()
        body.out_channels = CHANNELS  # type: ignore[assignment]
        whole = detection.FasterRCNN(
            body,
            num_classes + 1,
            rpn_anchor_generator=AnchorGenerator(sides, (RATIOS,) * len(sides)),
            box_roi_pool=MultiScaleRoIAlign(names, output_size=7, sampling_ratio=2),
            box_batch_size_per_image=options.regions_per_image,
            box_positive_fraction=options.foreground,
            box_nms_thresh=options.overlap,
            box_detections_per_img=options.per_image,
        )
        self.rpn, self.roi_heads = whole.rpn, whole.roi_heads

    def forward(
        self,
        images: Tensor,
        sizes: Sequence[tuple[int, int]],
        targets: list[dict[str, Tensor]] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """Detections, and the losses where there are targets.

        Args:
            images: (B, 3, H, W), normalised.
            sizes: Height and width of each image within.
            targets: For each image ``boxes`` (g, 4) and ``labels`` (g,), as torchvision has them.
        """
        found = self.backbone.features(images, self.levels)
        ordered = OrderedDict((str(i), found[name]) for i, name in enumerate(self.levels))
        maps = self.pyramid(ordered)
        listed = ImageList(images, list(sizes))
        proposals, of_proposals = self.rpn(listed, maps, targets)
        detections, of_regions = self.roi_heads(maps, proposals, list(sizes), targets)
        return detections, {**of_proposals, **of_regions}

    @torch.no_grad()
    def predict(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The objects in one image.

        Args:
            image: (3, H, W), normalised.

        Returns:
            (d, 4) boxes, corners included; (d,) scores; (d,) classes, from 1.
        """
        ((found,), _) = self(image[None], [(image.shape[1], image.shape[2])])
        boxes = found["boxes"].float()
        boxes[:, 2:] -= 1
        boxes[:, 2:] = boxes[:, 2:].maximum(boxes[:, :2])
        return boxes, found["scores"].float(), found["labels"]


class ProposalsAndRegions(Method):
    """The four losses of Faster R-CNN.

    Args:
        network: A `FasterRCNN`.
        seed: Of the anchors and regions that a step learns from.
    """

    reads_labels = True
    network: FasterRCNN

    def __init__(self, network: FasterRCNN, *, seed: int = 0) -> None:
        self.network, self.seed = network, seed
        names = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg")
        self.term_weights = dict.fromkeys(names, 1.0)

    def losses(  # type: ignore[override]  # a detector takes batches of its own
        self, network: nn.Module, batch: RegionBatch, step: int, progress: float = 0.0
    ) -> StepOutput:
        """The loss terms of a batch."""
        targets = [
            # Torchvision's boxes end behind the last pixel.
            {"boxes": boxes + boxes.new_tensor([0, 0, 1, 1]), "labels": classes}
            for boxes, classes in zip(batch.true_boxes, batch.true_classes, strict=True)
        ]
        device = batch.images.device
        # Torchvision samples by torch's own generator: begun anew, it is a function of the step.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            first = int(batch.indices[0])
            torch.manual_seed(int(hash64(self.seed, "faster-rcnn", step, first)))
            _, terms = network(batch.images, batch.sizes, targets)
        return StepOutput({name: terms[name] for name in self.term_weights})
