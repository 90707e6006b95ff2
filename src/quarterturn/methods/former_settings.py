"""Settings as earlier versions wrote them, in the form of today."""

from __future__ import annotations

from typing import Any

from quarterturn.config.orientation import NoiseAwareConfig
from quarterturn.config.validation import field_types, unknown
from quarterturn.methods.registry import METHODS

Groups = dict[str, dict[str, Any]]


def upgraded(groups: Groups, format: int) -> Groups:
    """The groups of an earlier format in the form of today.

    Args:
        groups: Settings by group; not changed.
        format: 1, 2 or 3.

    Raises:
        ConfigError: A setting that no version has had there.
    """
    if format < 2:
        found = _of_every_method(groups)
    else:
        found = {name: dict(settings) for name, settings in groups.items()}
        if format < 3 and "trained" in found.get("method", {}):
            found.setdefault("model", {})["trained"] = found["method"].pop("trained")
    if "tensorboard" in found.get("machine", {}):
        switch = found["machine"].pop("tensorboard")
        named = {"True": "tensorboard", "False": "none"}
        found["machine"]["logger"] = named.get(repr(switch), switch)
    return found


def _of_every_method(groups: Groups) -> Groups:
    """The groups of format 1, in which options of all methods stood side by side.

    Their ``method`` had the options of every pretext task and of the noise-aware phase,
    ``classifier`` and ``heads`` those of the other two, and ``model`` the embedding's width.
    What the run's method does not have, it did not use, and is left out.

    Args:
        groups: Settings by group; not changed.

    Raises:
        ConfigError: A setting that no version has had there.
    """
    rest = {name: dict(settings) for name, settings in groups.items()}
    former = rest.pop("method", {})
    name = former.pop("method", "decoupling")
    noise_aware = field_types(NoiseAwareConfig)
    rest["noise_aware"] = {s: former.pop(s) for s in noise_aware if s in former}
    former |= rest.pop("classifier", {}) | rest.pop("heads", {})
    if "embedding_dim" in rest.get("model", {}):
        former["embedding_dim"] = rest["model"].pop("embedding_dim")
    if (trained := former.pop("trained", None)) and name == "classifier":
        rest.setdefault("model", {})["trained"] = trained
    every = {setting for options in METHODS.values() for setting in field_types(options)}
    for setting in former:
        if setting not in every:
            raise unknown("setting of method", setting, every)
    own = field_types(METHODS[name]) if name in METHODS else {}
    rest["method"] = {"name": name} | {s: value for s, value in former.items() if s in own}
    return rest
