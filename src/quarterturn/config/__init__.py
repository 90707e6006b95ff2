"""Groups of settings as frozen dataclasses without torch, so that ``--help`` answers at once.

The command line's flags, a run's ``config.json`` and the presets are all made of these classes; a
method has options of its own (`quarterturn.methods.registry`), and both together are a
`quarterturn.methods.configuration.Config`. The library's own constructors take plain keywords and
do not need them.

Fractions of the training are written as fractions (``90 / 245``), so that ``--epochs`` scales a
whole schedule.
"""

from quarterturn.config.data import IMAGENET_MEAN, IMAGENET_STD, DataConfig
from quarterturn.config.imbalance import BalanceConfig, ImbalanceConfig
from quarterturn.config.method import MethodOptions
from quarterturn.config.orientation import NoiseAwareConfig, UprightConfig
from quarterturn.config.training import (
    SMALL_IMAGE,
    LearningCurveConfig,
    MachineConfig,
    ModelConfig,
    OptimizerConfig,
    Precision,
    RunConfig,
)

GROUPS = (
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    NoiseAwareConfig,
    UprightConfig,
    ImbalanceConfig,
    BalanceConfig,
    LearningCurveConfig,
    MachineConfig,
)
"""All but the options of a method, which may use none of their names."""

__all__ = [
    "GROUPS",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "SMALL_IMAGE",
    "BalanceConfig",
    "DataConfig",
    "ImbalanceConfig",
    "LearningCurveConfig",
    "MachineConfig",
    "MethodOptions",
    "ModelConfig",
    "NoiseAwareConfig",
    "OptimizerConfig",
    "Precision",
    "RunConfig",
    "UprightConfig",
]
