"""Every method by its name. A new one is its file, its options beside it, and a line here."""

from __future__ import annotations

from quarterturn.config.method import MethodOptions
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
"""No torch is loaded for it: the options name the modules that implement them."""
