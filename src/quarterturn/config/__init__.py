"""Every setting of a run, as frozen dataclasses without torch, so that ``--help`` answers at once.

The command line's flags, a run's ``config.json`` and the presets are all made of these classes.
The library's own constructors take plain keywords and do not need them.

Fractions of the training are written as fractions (``90 / 245``), so that ``--epochs`` scales a
whole schedule.
"""

from quarterturn.config.data import IMAGENET_MEAN, IMAGENET_STD, DataConfig, LongTail
from quarterturn.config.heads import HeadName, HeadsConfig
from quarterturn.config.labels import BalanceConfig, ClassifierConfig, Resampling
from quarterturn.config.pretext import ImbalanceConfig, MethodConfig, MethodName, UprightConfig
from quarterturn.config.training import (
    MachineConfig,
    ModelConfig,
    OptimizerConfig,
    Precision,
    RunConfig,
)
from quarterturn.config.whole import Config

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "BalanceConfig",
    "ClassifierConfig",
    "Config",
    "DataConfig",
    "HeadName",
    "HeadsConfig",
    "ImbalanceConfig",
    "LongTail",
    "MachineConfig",
    "MethodConfig",
    "MethodName",
    "ModelConfig",
    "OptimizerConfig",
    "Precision",
    "Resampling",
    "RunConfig",
    "UprightConfig",
]
