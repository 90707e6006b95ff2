"""What the options of all methods have in common; each method has its own beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class MethodOptions:
    """The options of one method, in a file beside it; torch-free, so that ``--help`` is quick.

    The fields of a derived class are its settings. The class attributes say what the method is, for
    whoever would otherwise have to ask for it by name.

    Attributes:
        name: On the command line and in ``config.json``.
        title: What it is called on a page.
        meaning: What it teaches the features; the end of a sentence.
        module: The module that implements it, with ``build_network`` and ``build_method``; None
            where it has no network of its own: imported weights, classifiers on the network of
            another run.
        command: The command that trains it; None where none does.
        has_instance_loss: Whether it tells images apart.
        has_halves: Whether its features are a rotation half and an invariant half.
        reads_labels: Whether it learns from labels.
        compares_views: Whether several views of each image are compared with those of the other
            images of a batch; the options are then `quarterturn.methods.view_options.ViewOptions`.
        needs_start: Whether it learns from the weights that the training begins with.
        counts_iterations: Whether a training is as long as its iterations: its epochs are parts of
            it, which mean nothing to a reader.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    meaning: ClassVar[str]
    module: ClassVar[str | None] = None
    command: ClassVar[str | None] = "pretrain"
    has_instance_loss: ClassVar[bool] = False
    has_halves: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = False
    compares_views: ClassVar[bool] = False
    needs_start: ClassVar[bool] = False
    counts_iterations: ClassVar[bool] = False

    @property
    def has_rotation_loss(self) -> bool:
        """Whether it predicts the turns of images."""
        return False

    @property
    def views_in_words(self) -> str:
        """How each image is shown in a step, where it is not by itself; empty where it is."""
        return ""

    def images_in_words(self, side: int) -> str:
        """What the network is shown of an image.

        Args:
            side: Of the crops, in pixels.
        """
        return f"crops of {side} by {side} pixels"

    def input_shapes(self, num_images: int, side: int) -> list[tuple[int, ...]]:
        """Shapes of what the network takes in a step.

        Args:
            num_images: Images of a batch.
            side: Of the crops, in pixels.
        """
        return [(num_images, 3, side, side)]
