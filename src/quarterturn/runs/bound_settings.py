"""A checkpoint is bound to the settings that its network was trained by.

It carries them, so that an edited or exchanged ``config.json`` is noticed and the message can name
what differs. Checkpoints of earlier versions carry none, and fit any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quarterturn.config import MachineConfig
from quarterturn.config.validation import field_types
from quarterturn.errors import CheckpointError, ConfigError
from quarterturn.methods.configuration import FORMAT, Config
from quarterturn.runs.phases import carries_on

LENGTH = ("epochs", "restarts")
"""Settings that a run may have more of than its checkpoint, where it was lengthened."""
FREE = frozenset({*field_types(MachineConfig), "max_bad_fraction", "max_pixels"})
"""Settings that a resumed run may change: where it runs, and which files stop it."""


def settings_record(config: Config, class_names: Sequence[str] = ()) -> dict[str, Any]:
    """What a checkpoint carries of the settings, as plain values, without those that are free.

    Args:
        config: All settings.
        class_names: Of a classifier, in the order of its logits.
    """
    groups = {
        group: {name: value for name, value in settings.items() if name not in FREE}
        for group, settings in config.to_dict().items()
    }
    return {
        "settings": {"format": FORMAT, "config": groups, "class_names": list(class_names)},
    }


def require_settings(
    state: Mapping[str, Any], config: Config, checkpoint: Path, class_names: Sequence[str] = ()
) -> None:
    """Refuse a checkpoint that was trained by other settings than its run has now.

    Raises:
        CheckpointError: Names the settings that differ; else as `differing_settings`.
    """
    if differing := differing_settings(state, config, checkpoint, class_names):
        raise CheckpointError(
            f"{checkpoint} was trained by other settings than the run has now: "
            f"{'; '.join(differing)}. config.json may have been edited: put the settings back, or "
            "begin a new run with others"
        )


def differing_settings(
    state: Mapping[str, Any], config: Config, checkpoint: Path, class_names: Sequence[str] = ()
) -> list[str]:
    """Settings of a run that are not those of its checkpoint, with both values.

    A run may have been lengthened since. Settings that later versions have added count with their
    defaults.

    Args:
        state: The checkpoint's.
        config: The run's settings.
        checkpoint: Its path, for the message.
        class_names: The run's.

    Raises:
        CheckpointError: The checkpoint's settings cannot be read.
    """
    carried = state.get("settings")
    if carried is None:
        return []
    try:
        trained_by = Config.from_dict(carried["config"], carried["format"])
        names = list(carried["class_names"])
    except (ConfigError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"the settings in {checkpoint} cannot be read: {error}") from error
    mine, now = trained_by.settings(), config.settings()
    free = FREE | {*(LENGTH if carries_on(trained_by, config) else ())}
    differing = [
        f"{name} {now.get(name)}, trained by {mine.get(name)}"
        for name in dict.fromkeys([*mine, *now])
        if name not in free and mine.get(name) != now.get(name)
    ]
    if names != list(class_names):
        differing.append("names of the classes")
    return differing
