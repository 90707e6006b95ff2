"""Every method by its name. A new one is its file, its options beside it, and a line here.

Or it is in a package of its own, with an entry point in the group ``quarterturn.methods``.
"""

from __future__ import annotations

from typing import Any

from quarterturn.config import GROUPS
from quarterturn.config.entry_points import METHODS_GROUP, loaded_from
from quarterturn.config.method import MethodOptions
from quarterturn.config.validation import field_types
from quarterturn.methods.classifier_options import ClassifierOptions
from quarterturn.methods.decoupling_options import DecouplingOptions
from quarterturn.methods.detector_options import DetectorOptions
from quarterturn.methods.distill_options import DistillOptions
from quarterturn.methods.imported_options import ImportedOptions
from quarterturn.methods.instance_options import InstanceOptions
from quarterturn.methods.multiview_options import MultiviewOptions
from quarterturn.methods.probe_heads_options import ProbeHeadsOptions
from quarterturn.methods.rotation_head_options import RotationHeadOptions
from quarterturn.methods.rotnet_options import RotNetOptions
from quarterturn.methods.simclr_options import SimCLROptions


def _why_no_method(name: str, found: Any) -> str | None:
    if not (isinstance(found, type) and issubclass(found, MethodOptions)):
        return f"{found!r} is not a class of options, derived from MethodOptions"
    if (own := getattr(found, "name", None)) != name:
        return f"its options have the name {own!r}"
    if missing := [word for word in ("title", "meaning") if not hasattr(found, word)]:
        return f"its options have no {missing[0]}"
    for group in GROUPS:
        if taken := sorted(set(field_types(found)) & set(field_types(group))):
            return f"its option {taken[0]!r} is a setting of {group.__name__} already"
    return None


METHODS: dict[str, type[MethodOptions]] = {
    "decoupling": DecouplingOptions,
    "multiview": MultiviewOptions,
    "distill": DistillOptions,
    "rotnet": RotNetOptions,
    "rotation-head": RotationHeadOptions,
    "instance": InstanceOptions,
    "simclr": SimCLROptions,
    "classifier": ClassifierOptions,
    "detector": DetectorOptions,
    "probe-heads": ProbeHeadsOptions,
    "imported": ImportedOptions,
}
METHODS |= loaded_from(METHODS_GROUP, METHODS, _why_no_method)
"""No torch is loaded for it: the options name the modules that implement them."""
