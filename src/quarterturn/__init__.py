"""Image representations without labels, learned by the quarter turn.

Public names load what they need when they are first used, so that importing the package is quick.
"""

import logging
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quarterturn.classifying.finetune import finetune, resume_finetune
    from quarterturn.classifying.predict import predict
    from quarterturn.collection.caching import cache
    from quarterturn.collection.embed import embed
    from quarterturn.collection.embedder import Embedder
    from quarterturn.collection.label import label
    from quarterturn.collection.neighbors import neighbors
    from quarterturn.comparing.compare import compare
    from quarterturn.comparing.report import report
    from quarterturn.copies.duplicates import duplicates
    from quarterturn.data.long_tail import long_tail_counts, long_tail_indices
    from quarterturn.demonstration.demo import demo
    from quarterturn.detection.detect import detect, resume_detect
    from quarterturn.errors import CheckpointError, ConfigError, DataError, QuarterturnError
    from quarterturn.exploring.explore import explore
    from quarterturn.inspecting.doctor import doctor
    from quarterturn.losses.focal import FocalLoss
    from quarterturn.losses.instance import infonce_loss, nce_loss
    from quarterturn.losses.invariance import invariance_loss
    from quarterturn.losses.ldam import LDAMLoss, ldam_margins
    from quarterturn.losses.logit_adjustment import LogitAdjustedLoss
    from quarterturn.losses.rotation import pu_weights, rotation_loss
    from quarterturn.losses.weights import effective_number_weights
    from quarterturn.methods.configuration import Config
    from quarterturn.metrics.average_precision import average_precision
    from quarterturn.metrics.detection import detection_average_precision
    from quarterturn.models.bank import InstanceBank
    from quarterturn.orientation.orient import orient
    from quarterturn.orientation.upright import upright
    from quarterturn.pretraining.pretrain import pretrain, resume
    from quarterturn.probing.probe import probe
    from quarterturn.rotation import rotate4
    from quarterturn.runs.run import Run
    from quarterturn.weights.export import export
    from quarterturn.weights.import_checkpoint import import_checkpoint
    from quarterturn.weights.loading import load_backbone

_HOME = {
    "CheckpointError": "errors",
    "Config": "methods.configuration",
    "ConfigError": "errors",
    "DataError": "errors",
    "Embedder": "collection.embedder",
    "FocalLoss": "losses.focal",
    "InstanceBank": "models.bank",
    "LDAMLoss": "losses.ldam",
    "LogitAdjustedLoss": "losses.logit_adjustment",
    "QuarterturnError": "errors",
    "Run": "runs.run",
    "average_precision": "metrics.average_precision",
    "cache": "collection.caching",
    "compare": "comparing.compare",
    "demo": "demonstration.demo",
    "detect": "detection.detect",
    "detection_average_precision": "metrics.detection",
    "doctor": "inspecting.doctor",
    "duplicates": "copies.duplicates",
    "effective_number_weights": "losses.weights",
    "embed": "collection.embed",
    "explore": "exploring.explore",
    "export": "weights.export",
    "finetune": "classifying.finetune",
    "import_checkpoint": "weights.import_checkpoint",
    "infonce_loss": "losses.instance",
    "invariance_loss": "losses.invariance",
    "label": "collection.label",
    "ldam_margins": "losses.ldam",
    "load_backbone": "weights.loading",
    "long_tail_counts": "data.long_tail",
    "long_tail_indices": "data.long_tail",
    "nce_loss": "losses.instance",
    "neighbors": "collection.neighbors",
    "orient": "orientation.orient",
    "predict": "classifying.predict",
    "pretrain": "pretraining.pretrain",
    "probe": "probing.probe",
    "pu_weights": "losses.rotation",
    "report": "comparing.report",
    "resume": "pretraining.pretrain",
    "resume_detect": "detection.detect",
    "resume_finetune": "classifying.finetune",
    "rotate4": "rotation",
    "rotation_loss": "losses.rotation",
    "upright": "orientation.upright",
}

__all__ = [
    "CheckpointError",
    "Config",
    "ConfigError",
    "DataError",
    "Embedder",
    "FocalLoss",
    "InstanceBank",
    "LDAMLoss",
    "LogitAdjustedLoss",
    "QuarterturnError",
    "Run",
    "average_precision",
    "cache",
    "compare",
    "demo",
    "detect",
    "detection_average_precision",
    "doctor",
    "duplicates",
    "effective_number_weights",
    "embed",
    "explore",
    "export",
    "finetune",
    "import_checkpoint",
    "infonce_loss",
    "invariance_loss",
    "label",
    "ldam_margins",
    "load_backbone",
    "long_tail_counts",
    "long_tail_indices",
    "nce_loss",
    "neighbors",
    "orient",
    "predict",
    "pretrain",
    "probe",
    "pu_weights",
    "report",
    "resume",
    "resume_detect",
    "resume_finetune",
    "rotate4",
    "rotation_loss",
    "upright",
]


# A library is silent until somebody configures logging; the command line does.
logging.getLogger("quarterturn").addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("quarterturn")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
