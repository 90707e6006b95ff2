"""A whole configuration: all groups of settings, to and from plain values."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from quarterturn.config.data import DataConfig
from quarterturn.config.heads import HeadsConfig
from quarterturn.config.labels import BalanceConfig, ClassifierConfig
from quarterturn.config.pretext import ImbalanceConfig, MethodConfig, UprightConfig
from quarterturn.config.training import MachineConfig, ModelConfig, OptimizerConfig, RunConfig
from quarterturn.config.validation import check_settings, converted, field_types, require, unknown
from quarterturn.errors import ConfigError


@dataclass(frozen=True)
class Config:
    """All settings of a run; each command reads the groups that concern it."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    heads: HeadsConfig = field(default_factory=HeadsConfig)
    balance: BalanceConfig = field(default_factory=BalanceConfig)
    imbalance: ImbalanceConfig = field(default_factory=ImbalanceConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)
    upright: UprightConfig = field(default_factory=UprightConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Nested plain values, as written to ``config.json``."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, dict[str, Any]]) -> Config:
        """Inverse of `to_dict`, also after a trip through JSON.

        Raises:
            ConfigError: A group or setting that this version does not know.
        """
        groups: dict[str, Any] = {}
        hints = get_type_hints(cls)
        for group, settings in values.items():
            if group not in hints:
                raise unknown("group of settings", group, hints)
            types = field_types(hints[group])
            for name in settings:
                if name not in types:
                    raise unknown(
                        f"setting of {group}", name, types, "Is this run of a newer version?"
                    )
            groups[group] = hints[group](
                **{name: converted(value, types[name]) for name, value in settings.items()}
            )
        return cls(**groups)

    def with_settings(self, **settings: Any) -> Config:
        """A copy with some settings changed, each named without its group: ``epochs=3``.

        Raises:
            ConfigError: A setting that no group has.
        """
        by_group: dict[str, dict[str, Any]] = {}
        for name, value in settings.items():
            group = self._group_of(name)
            kind = field_types(type(getattr(self, group)))[name]
            by_group.setdefault(group, {})[name] = converted(value, kind)
        return dataclasses.replace(
            self,
            **{g: dataclasses.replace(getattr(self, g), **vals) for g, vals in by_group.items()},
        )

    def differences(self, other: Config) -> list[str]:
        """Settings in which two configurations differ, as ``epochs: 10 -> 20``."""
        mine, theirs = self.to_dict(), other.to_dict()
        return [
            f"{name}: {value} -> {theirs[group][name]}"
            for group, settings in mine.items()
            for name, value in settings.items()
            if value != theirs[group][name]
        ]

    def check(self) -> None:
        """Refuse values that cannot work, before any file is touched.

        Raises:
            ConfigError: Names the setting, what was found, and what is possible.
        """
        for group in dataclasses.fields(self):
            check_settings(getattr(self, group.name))
        start = self.balance.reweight_from_epoch
        require(
            start is None or start <= self.run.epochs,
            "reweight_from_epoch",
            start,
            f"0 to --epochs {self.run.epochs}",
        )
        method, imbalance = self.method, self.imbalance
        if imbalance.of_rotation and method.method == "instance":
            raise ConfigError("--method instance has no rotation loss to balance")
        if imbalance.of_rotation and method.upright == "none":
            raise ConfigError(
                "--balance-turns and --balance-agnostic need to know what has an up: give "
                "--upright auto, or what quarterturn upright has made"
            )
        if imbalance.balance_semantic and method.method == "rotnet":
            raise ConfigError("--method rotnet has no invariance or instance loss to balance")

    @classmethod
    def read(cls, path: Path) -> Config:
        """Read a run's ``config.json``; its ``config`` key holds the settings.

        Raises:
            ConfigError: The file is damaged, or of another version.
        """
        try:
            return cls.from_dict(json.loads(path.read_text())["config"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{path} cannot be read as a run's configuration: {error}") from error

    def _group_of(self, name: str) -> str:
        group_of = {
            setting: group.name
            for group in dataclasses.fields(self)
            for setting in field_types(type(getattr(self, group.name)))
        }
        if name not in group_of:
            raise unknown("setting", name, group_of)
        return group_of[name]
