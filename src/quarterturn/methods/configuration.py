"""A whole configuration: the groups of `quarterturn.config` and the options of a method.

It is here, above the groups, since a method's options are part of it and are the method's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from quarterturn.config.data import DataConfig
from quarterturn.config.imbalance import BalanceConfig, ImbalanceConfig
from quarterturn.config.method import MethodOptions
from quarterturn.config.orientation import NoiseAwareConfig, UprightConfig
from quarterturn.config.training import (
    LearningCurveConfig,
    MachineConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
)
from quarterturn.config.validation import (
    check_settings,
    converted,
    field_types,
    flag,
    require,
    unknown,
)
from quarterturn.errors import CheckpointError, ConfigError
from quarterturn.kept_files import read_object
from quarterturn.methods.decoupling_options import DecouplingOptions
from quarterturn.methods.former_settings import upgraded
from quarterturn.methods.registry import METHODS

FORMAT = 4
"""Of the settings in ``config.json``; 1 had one group for the options of all methods, 2 had
``trained`` among those of the classifier, and 3 a switch for TensorBoard as the only logger."""

Options = TypeVar("Options", bound=MethodOptions)
Group = TypeVar("Group")


@dataclass(frozen=True)
class Config:
    """All settings of a run; each command reads the groups that concern it."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    method: MethodOptions = field(default_factory=DecouplingOptions)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)
    noise_aware: NoiseAwareConfig = field(default_factory=NoiseAwareConfig)
    upright: UprightConfig = field(default_factory=UprightConfig)
    imbalance: ImbalanceConfig = field(default_factory=ImbalanceConfig)
    balance: BalanceConfig = field(default_factory=BalanceConfig)
    learning_curve: LearningCurveConfig = field(default_factory=LearningCurveConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)

    def method_as(self, kind: type[Options]) -> Options:
        """The method's options, where it is known whose they are.

        Args:
            kind: The class of the options.

        Raises:
            TypeError: They are another method's.
        """
        if not isinstance(self.method, kind):
            raise TypeError(f"options of {self.method.name}; expected {kind.__name__}")
        return self.method

    @property
    def first_phase_epochs(self) -> int:
        """Epochs of the schedule before it begins again, if it does; more of them come later."""
        return next(iter(self.optimizer.restarts), self.run.epochs)

    @property
    def rotation_scale(self) -> float | None:
        """What multiplies the cosines of a balanced rotation head; None for a linear head."""
        return self.balance.scale if self.imbalance.balances_rotation else None

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Nested plain values, as written to ``config.json``."""
        return dataclasses.asdict(self) | {
            "method": {"name": self.method.name, **dataclasses.asdict(self.method)}
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Mapping[str, Any]], format: int = FORMAT) -> Config:
        """Inverse of `to_dict`, also after a trip through JSON.

        Args:
            values: Groups of settings; what is missing has its default.
            format: Of the values; earlier ones are read too.

        Raises:
            ConfigError: As of `with_groups`; or the method has no name.
        """
        config = cls().with_groups(values, format)
        if format != 1 and "method" in values and "name" not in values["method"]:
            raise ConfigError("the method's name is None; expected a word")
        return config

    def with_groups(self, values: Mapping[str, Mapping[str, Any]], format: int = FORMAT) -> Config:
        """A copy with the settings of some groups changed.

        Args:
            values: Groups of settings, as of `to_dict`; what is missing stays as it is. Another
                method begins with its own defaults.
            format: Of the values; earlier ones are read too.

        Raises:
            ConfigError: A group or setting that this version does not know.
        """
        if not isinstance(format, int) or format < 1:
            raise ConfigError(f"format is {format!r}; expected a whole number, 1 or more")
        if format > FORMAT:
            raise ConfigError(
                f"the settings are of format {format}, and this version reads up to {FORMAT}: "
                "update quarterturn"
            )
        for name, settings in [("settings", values), *dict(values).items()]:
            if not isinstance(settings, Mapping):
                found = type(settings).__name__
                raise ConfigError(f"{name} is a {found}; expected names with values")
        groups = {name: dict(settings) for name, settings in values.items()}
        if format < FORMAT:
            groups = upgraded(groups, format)
        before = self._groups
        name = groups.get("method", {}).pop("name", self.method.name)
        if not isinstance(name, str):
            raise ConfigError(f"the method's name is {name!r}; expected a word")
        if name not in METHODS:
            raise unknown("method", name, METHODS, "(those of other packages need these installed)")
        if name != self.method.name:
            before["method"] = METHODS[name]()
        found = {}
        for name, settings in groups.items():
            if name not in before:
                raise unknown("group of settings", name, before)
            found[name] = _with(before[name], settings, f"setting of {name}")
        return dataclasses.replace(self, **found)

    def with_settings(self, **settings: Any) -> Config:
        """A copy with some settings changed, each named without its group: ``epochs=3``.

        Args:
            **settings: ``method`` is a name of `METHODS`, or a method's options; by its name, the
                new method keeps what it shares with the one before, unless that was a default.

        Raises:
            ConfigError: A setting that neither a group nor the method has.
        """
        config = self
        if (method := settings.pop("method", None)) is not None:
            config = dataclasses.replace(config, method=_method_after(config.method, method))
        by_group: dict[str, dict[str, Any]] = {}
        groups = config._groups
        group_of = {name: group for group in groups for name in field_types(type(groups[group]))}
        for name, value in settings.items():
            if name not in group_of:
                raise unknown_setting(name, config.method)
            by_group.setdefault(group_of[name], {})[name] = value
        return dataclasses.replace(
            config, **{group: _with(groups[group], vals) for group, vals in by_group.items()}
        )

    def settings(self) -> dict[str, Any]:
        """Every setting by its name, without the groups; ``method`` is the method's name."""
        found: dict[str, Any] = {}
        for name, group in self._groups.items():
            found |= {"method": self.method.name} if name == "method" else {}
            found |= {setting: getattr(group, setting) for setting in field_types(type(group))}
        return found

    def differences(self, other: Config) -> list[str]:
        """Settings in which two configurations differ, as ``epochs: 10 -> 20``.

        Of two methods those are compared that both have.
        """
        mine, theirs = self.settings(), other.settings()
        return [
            f"{name}: {value} -> {theirs[name]}"
            for name, value in mine.items()
            if name in theirs and value != theirs[name]
        ]

    def check(self) -> None:
        """Refuse values that cannot work, before any file is touched.

        Raises:
            ConfigError: Names the setting, what was found, and what is possible.
        """
        self.check_values()
        start, restarts = self.balance.reweight_from_epoch, self.optimizer.restarts
        require(
            not restarts or restarts[-1] < self.run.epochs,
            "restarts",
            restarts,
            f"epochs below --epochs {self.run.epochs}",
        )
        require(
            not restarts or not self.method.counts_iterations,
            "restarts",
            restarts,
            f"none with --method {self.method.name}, which counts iterations",
        )
        require(
            start is None or start <= self.first_phase_epochs,
            "reweight_from_epoch",
            start,
            f"0 to --epochs {self.run.epochs}"
            if not restarts
            else f"0 to the first of --restarts, {restarts[0]}",
        )
        method, imbalance, upright = self.method, self.imbalance, self.noise_aware.upright
        require(
            method.command is not None,
            "method",
            method.name,
            "a method that is trained here: "
            + ", ".join(name for name, options in METHODS.items() if options.command),
        )
        require(
            upright == "none" or method.has_rotation_loss,
            "upright",
            upright,
            f"none with --method {method.name}, which has no rotation loss",
        )
        if method.compares_views:
            self._check_views()
        if imbalance.balances_rotation and not method.has_rotation_loss:
            raise ConfigError(f"--method {method.name} has no rotation loss to balance")
        if imbalance.balances_rotation and upright == "none":
            raise ConfigError(
                "--balance-turns and --balance-agnostic need to know what has an up: give "
                "--upright auto, or what quarterturn upright has made"
            )
        if imbalance.balance_semantic and not method.has_instance_loss:
            raise ConfigError(
                f"--method {method.name} has no invariance or instance loss to balance"
            )

    def _check_views(self) -> None:
        name = self.method.name
        require(
            self.run.accumulate == 1,
            "accumulate",
            self.run.accumulate,
            f"1 with --method {name}, which compares all images of a batch with each other",
        )
        require(
            not self.data.crop_padding,
            "crop_padding",
            self.data.crop_padding,
            f"0 with --method {name}, whose views are random resized crops of several sizes",
        )
        sides = [shape[-1] for shape in self.method.input_shapes(1, self.data.image_size)]
        require(
            min(sides) >= 8,
            "small_scale",
            min(sides) / self.data.image_size,
            f"small views of 8 px or more, found {min(sides)}",
        )

    def check_values(self) -> None:
        """Refuse values that no command would take; raises as `check` does.

        What a file holds may have been edited, or written by a version with other rules on what
        goes together.
        """
        for group in self._groups.values():
            check_settings(group)

    @classmethod
    def read(cls, path: Path) -> Config:
        """Read a run's ``config.json``; its ``config`` key holds the settings.

        Raises:
            ConfigError: The file is damaged, of a newer version, or holds impossible values.
        """
        try:
            stored = read_object(path)
            config = cls.from_dict(stored["config"], stored.get("format", 1))
            config.check_values()
        except (OSError, CheckpointError, ConfigError) as error:
            raise ConfigError(f"{path} cannot be read as a run's configuration: {error}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{path} is no run's configuration: {error!r}") from error
        return config

    @property
    def _groups(self) -> dict[str, Any]:
        return {group.name: getattr(self, group.name) for group in dataclasses.fields(self)}


def setting_names() -> set[str]:
    """The settings that a configuration can have, whatever its method."""
    methods = {name for options in METHODS.values() for name in field_types(options)}
    return methods | Config().settings().keys()


def method_named(name: str) -> type[MethodOptions]:
    """The options of a method by its name.

    Raises:
        ConfigError: There is no such method; the message names the closest.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[name]


def _method_after(before: MethodOptions, method: str | MethodOptions) -> MethodOptions:
    if isinstance(method, MethodOptions):
        return method
    kind = method_named(method)
    shared = field_types(kind).keys() & field_types(type(before)).keys()
    values = {name: getattr(before, name) for name in shared}
    # Defaults are each method's own: a loss has another weight where it has another form.
    defaults = type(before)()
    return kind(**{name: v for name, v in values.items() if v != getattr(defaults, name)})


def _with(group: Group, settings: Mapping[str, Any], what: str = "setting") -> Group:
    """A copy of a group of settings with some of them changed."""
    types = field_types(type(group))
    for name in settings:
        if name not in types:
            raise unknown(what, name, types)
    changes = {name: converted(value, types[name]) for name, value in settings.items()}
    return dataclasses.replace(group, **changes)  # type: ignore[type-var]


def unknown_setting(name: str, method: MethodOptions) -> ConfigError:
    """The error for a setting that a configuration does not have: whose it is, or what is close.

    Args:
        name: Of the setting.
        method: That of the configuration.
    """
    owners = [other for other, options in METHODS.items() if name in field_types(options)]
    if owners:
        *others, last = owners
        named = f"{', '.join(others)} and {last}" if others else last
        return ConfigError(f"{flag(name)} is an option of {named}, not of --method {method.name}")
    return unknown("setting", name, Config(method=method).settings())
