"""From a configuration to a method ready to train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quarterturn.config import Config
from quarterturn.errors import ConfigError
from quarterturn.losses.focal import FocalLoss
from quarterturn.losses.ldam import LDAMLoss
from quarterturn.losses.logit_adjustment import LogitAdjustedLoss, log_prior
from quarterturn.losses.weights import effective_number_weights
from quarterturn.methods.balance import build_balance
from quarterturn.methods.base import Method, Network
from quarterturn.methods.classifier import (
    Classification,
    ClassificationLoss,
    ClassifierNetwork,
)
from quarterturn.methods.decoupling import DecoupledNetwork, Decoupling
from quarterturn.methods.discrimination import InstanceDiscrimination
from quarterturn.methods.instance import Instance, InstanceNetwork
from quarterturn.methods.rotnet import RotationNetwork, RotNet
from quarterturn.models.backbone import Backbone
from quarterturn.models.registry import build_backbone


def build_network(config: Config, num_classes: int = 0) -> Network:
    """The network of ``config.method``, its weights fixed by the seed.

    Args:
        config: The whole configuration.
        num_classes: C, of a classifier; the other methods have none.
    """
    model, seed = config.model, config.run.seed
    scale = config.balance.scale if config.imbalance.of_rotation else None
    backbone = build_backbone(model.backbone, config.data.image_size, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)  # the heads, whatever the backbone has drawn
        match config.method.method:
            case "decoupling":
                return DecoupledNetwork(backbone, model.embedding_dim, rotation_scale=scale)
            case "rotnet":
                return RotationNetwork(backbone, rotation_scale=scale)
            case "instance":
                return InstanceNetwork(backbone, model.embedding_dim)
            case "imported":
                return Network(backbone)
            case "classifier":
                return _classifier_network(config, backbone, num_classes)
            case other:
                raise ConfigError(f"unknown method {other!r}")


def _classifier_network(config: Config, backbone: Backbone, num_classes: int) -> ClassifierNetwork:
    cosine = config.classifier.loss == "ldam"
    return ClassifierNetwork(
        backbone,
        num_classes,
        cosine=cosine,
        scale=config.balance.scale if cosine else 1.0,
        post_hoc_adjustment=config.classifier.post_hoc_adjustment,
        trained=config.classifier.trained,
    )


def check_network(config: Config) -> None:
    """Refuse what `build_network` would refuse, without the time and memory of the weights."""
    with torch.device("meta"):
        build_network(config, num_classes=2)


def build_classification(
    config: Config, class_counts: Tensor, *, device: torch.device | str = "cpu"
) -> Classification:
    """A classifier on its device, at the beginning of a run.

    Args:
        config: The whole configuration.
        class_counts: (C,) training images of each class.
        device: Where network and weights live.

    Raises:
        ValueError: A class has no image, and the configuration does not leave it out.
    """
    settings, balance = config.classifier, config.balance
    leave_out_empty = settings.leave_out_empty
    network = build_network(config, len(class_counts))
    assert isinstance(network, ClassifierNetwork)
    network.log_priors.copy_(log_prior(class_counts, leave_out_empty=leave_out_empty))
    weights = None
    if settings.reweight != "none":
        weights = effective_number_weights(
            class_counts, balance.beta, leave_out_empty=leave_out_empty
        ).to(device)
    return Classification(
        network.to(device).to(memory_format=torch.channels_last),
        _classification_loss(config, class_counts, device),
        class_counts=class_counts,
        class_weights=weights,
        reweight_from=balance.start(config.run.epochs) if settings.reweight == "drw" else 0.0,
    )


def _classification_loss(
    config: Config, class_counts: Tensor, device: torch.device | str
) -> ClassificationLoss:
    settings, balance = config.classifier, config.balance
    leave_out_empty = settings.leave_out_empty
    loss: nn.Module
    match settings.loss:
        case "cross-entropy":
            return F.cross_entropy
        case "ldam":
            loss = LDAMLoss(
                class_counts, balance.max_margin, balance.scale, leave_out_empty=leave_out_empty
            )
        case "focal":
            loss = FocalLoss(settings.focal_gamma)
        case "balanced-softmax":
            loss = LogitAdjustedLoss(class_counts, leave_out_empty=leave_out_empty)
        case "logit-adjusted":
            loss = LogitAdjustedLoss(
                class_counts, settings.adjustment, leave_out_empty=leave_out_empty
            )
        case other:
            raise ConfigError(f"unknown loss {other!r}")
    return loss.to(device)


def build_method(
    config: Config,
    num_instances: int,
    *,
    p_upright: Tensor | None = None,
    agnostic: Tensor | None = None,
    labels: Tensor | None = None,
    device: torch.device | str = "cpu",
    mean_over_processes: Callable[[Tensor], Tensor] = lambda value: value,
) -> Method:
    """A method that reads no labels on its device, at the beginning of a run.

    Args:
        config: The whole configuration.
        num_instances: N, images to learn from.
        p_upright: (N, 4) for the noise-aware phase and for balanced turns, or None; see
            `quarterturn.losses.rotation`.
        agnostic: (N,) scores from 0 (the turn can be told) to 1 (there is no "up"), for balanced
            groups, or None.
        labels: (N,) int64 classes to count, where the configuration counts labels, or None.
        device: Where network and bank live.
        mean_over_processes: Averages a scalar over all processes.
    """
    # Channels last is what convolutions compute in fastest, on processors and GPUs.
    network = build_network(config).to(device).to(memory_format=torch.channels_last)
    settings = config.method
    balance = build_balance(
        config, p_upright=p_upright, agnostic=agnostic, labels=labels, device=device
    )
    noise_aware: Any = {
        "p_upright": None if p_upright is None else p_upright.to(device),
        "gamma": settings.gamma,
        "noise_aware_from": config.optimizer.noise_aware_from,
        "balance": balance,
    }
    if isinstance(network, RotationNetwork):
        return RotNet(network, rotation_weight=settings.rotation_weight, **noise_aware)
    discrimination = InstanceDiscrimination(
        num_instances,
        config.model.embedding_dim,
        settings,
        seed=config.run.seed,
        device=device,
        mean_over_processes=mean_over_processes,
    )
    if isinstance(network, InstanceNetwork):
        return Instance(
            network, discrimination, instance_weight=settings.instance_weight, balance=balance
        )
    assert isinstance(network, DecoupledNetwork)
    return Decoupling(
        network,
        discrimination,
        rotation_weight=settings.rotation_weight,
        invariance_weight=settings.invariance_weight,
        instance_weight=settings.instance_weight,
        **noise_aware,
    )
