"""The table of commands: what each takes, and the one function that it calls.

A new command is a dataclass of options in its room, a function, and an entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from quarterturn.classifying.options import FinetuneOptions, PredictOptions
from quarterturn.cli.options import ConfigOptions
from quarterturn.collection.options import (
    CacheOptions,
    EmbedOptions,
    LabelOptions,
    NeighborsOptions,
)
from quarterturn.comparing.options import CompareOptions, ReportOptions
from quarterturn.copies.options import DuplicatesOptions
from quarterturn.demonstration.options import DemoOptions
from quarterturn.detection.options import DetectOptions
from quarterturn.exploring.options import ExploreOptions
from quarterturn.inspecting.options import DoctorOptions
from quarterturn.methods.configuration import Config
from quarterturn.orientation.options import OrientOptions, UprightOptions
from quarterturn.presets import (
    ROTATION_HEAD,
    classifier_preset_with_start,
    default_classifier_preset,
    default_preset,
    default_rotnet_preset,
)
from quarterturn.presets.voc07_detection import default_detector_preset
from quarterturn.pretraining.options import PretrainOptions
from quarterturn.probing.options import ProbeOptions
from quarterturn.weights.options import ExportOptions, ImportOptions

DATA_WORDS = (
    "A folder of images, .tar or .parquet shards (a folder, one file, or a pattern in quotes such "
    "as 'photos-{000..012}.tar'), a .csv manifest, a .npz file, a cache, imagenet:ROOT, "
    "places205:ROOT, "
    "voc2007:ROOT, voc:ROOT (PASCAL VOC's layout with other classes), "
    "cifar10:ROOT, cifar100:ROOT, stl10:ROOT (images with labels), stl10-unlabeled:ROOT, or digits"
)
SHOW_CONFIG = "config"
"""The command that prints the options of another one."""


@dataclass(frozen=True)
class Positional:
    """A word that is known by its place.

    Attributes:
        metavar: What it is called in ``--help``.
        help: What it may be.
        default: What stands for it where it is left out; None where nothing does.
        optional: Whether it may be left out.
        several: Whether it is one word or more.
    """

    metavar: str
    help: str
    default: str | None = None
    optional: bool = False
    several: bool = False


RUN = Positional("RUN", "The run.")
WEIGHTS = Positional("RUN", "The run; or a file of weights that import reads, or timm:NAME.")
DATA = Positional("DATA", f"{DATA_WORDS}.")


@dataclass(frozen=True)
class Training:
    """What is special about a command that trains: its settings begin with a recipe's.

    Attributes:
        resume: The function that takes up an interrupted run, as ``module:name``.
        default_preset: Names the recipe by DATA, where none is given.
        method: The method that it trains; None where ``--method`` says so.
        resume_options: Fields of the options that ``resume`` takes too.
        preset_with_start: Names the recipe by the configuration of weights to begin with, where
            there are any; None where these do not change it.
    """

    resume: str
    default_preset: Callable[[str], str]
    method: str | None = None
    resume_options: tuple[str, ...] = ()
    preset_with_start: Callable[[Config], str] | None = None


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        function: What it calls, as ``module:name``: first with the positionals, then with the
            options as keywords.
        options: Their dataclass; its docstring says what the command does.
        positionals: The words that it takes, in their order.
        training: For a command that trains.
        shared: Whether several processes of torchrun share its work; any other would do it several
            times over.
    """

    function: str
    options: type
    positionals: tuple[Positional, ...] = ()
    training: Training | None = None
    shared: bool = False


COMMANDS = {
    "demo": Command(
        "quarterturn.demonstration.demo:demo",
        DemoOptions,
        (Positional("DATA", f"{DATA_WORDS}.", default="digits", optional=True),),
    ),
    "explore": Command(
        "quarterturn.exploring.explore:explore",
        ExploreOptions,
        (
            Positional(
                "PHOTOS|RUN",
                f"{DATA_WORDS}: a small network is trained on them first. Or a run, a file of "
                "weights that import reads, or timm:NAME.",
            ),
        ),
    ),
    "doctor": Command("quarterturn.inspecting.doctor:doctor", DoctorOptions, (DATA,)),
    "duplicates": Command(
        "quarterturn.copies.duplicates:duplicates",
        DuplicatesOptions,
        (
            Positional(
                "PHOTOS|RUN",
                f"{DATA_WORDS}; nothing is trained. Or a run, whose images are looked at.",
                optional=True,
            ),
        ),
    ),
    "pretrain": Command(
        "quarterturn.pretraining.pretrain:pretrain",
        PretrainOptions,
        (DATA,),
        Training("quarterturn.pretraining.pretrain:resume", default_preset),
        shared=True,
    ),
    "upright": Command(
        "quarterturn.orientation.upright:upright",
        UprightOptions,
        (DATA,),
        Training(
            "quarterturn.orientation.upright:resume_upright",
            default_rotnet_preset,
            "rotnet",
            ("format",),
            lambda _: ROTATION_HEAD,
        ),
        shared=True,
    ),
    "orient": Command(
        "quarterturn.orientation.orient:orient",
        OrientOptions,
        (
            Positional(
                "RUN",
                "A run of upright, or of pretrain with a rotation head; its upright run is used "
                "where it has one.",
            ),
            Positional("DATA", "Images; by default all of the run's DATA.", optional=True),
        ),
    ),
    "probe": Command(
        "quarterturn.probing.probe:probe",
        ProbeOptions,
        (WEIGHTS, Positional("DATA", "Images with labels: sub-folders, or what the data brings.")),
        shared=True,
    ),
    "finetune": Command(
        "quarterturn.classifying.finetune:finetune",
        FinetuneOptions,
        (Positional("DATA", f"{DATA_WORDS}; with labels."),),
        Training(
            "quarterturn.classifying.finetune:resume_finetune",
            default_classifier_preset,
            "classifier",
            preset_with_start=classifier_preset_with_start,
        ),
        shared=True,
    ),
    "detect": Command(
        "quarterturn.detection.detect:detect",
        DetectOptions,
        (
            Positional(
                "DATA",
                "Images with boxes: voc2007:ROOT, or voc:ROOT (PASCAL VOC's layout with other "
                "classes).",
            ),
        ),
        Training("quarterturn.detection.detect:resume_detect", default_detector_preset, "detector"),
    ),
    "label": Command("quarterturn.collection.label:label", LabelOptions, (WEIGHTS,)),
    "predict": Command(
        "quarterturn.classifying.predict:predict",
        PredictOptions,
        (RUN, Positional("DATA", "Images; labels are not needed.")),
    ),
    "embed": Command(
        "quarterturn.collection.embed:embed",
        EmbedOptions,
        (WEIGHTS, Positional("DATA", "Images; by default all of the run's DATA.", optional=True)),
        shared=True,
    ),
    "neighbors": Command(
        "quarterturn.collection.neighbors:neighbors",
        NeighborsOptions,
        (
            WEIGHTS,
            Positional(
                "IMAGE|FOLDER ...",
                "An image file, or the name of an image in the collection; several of them, or a "
                "folder of image files.",
                several=True,
            ),
        ),
    ),
    "cache": Command("quarterturn.collection.caching:cache", CacheOptions, (DATA,)),
    "compare": Command(
        "quarterturn.comparing.compare:compare",
        CompareOptions,
        (
            Positional(
                "RUN ...", "Runs that have been probed, or that finetune has made.", several=True
            ),
        ),
    ),
    SHOW_CONFIG: Command(
        "quarterturn.cli.config_file:show_config",
        ConfigOptions,
        (Positional("COMMAND", "The command; its options may follow, and are in the file then."),),
    ),
    "report": Command("quarterturn.comparing.report:report", ReportOptions, (RUN,)),
    "export": Command("quarterturn.weights.export:export", ExportOptions, (RUN,)),
    "import": Command(
        "quarterturn.weights.import_checkpoint:import_checkpoint",
        ImportOptions,
        (
            Positional(
                "FILE",
                "A checkpoint of FeatureDecoupling or RotNet, weights of torchvision's or timm's "
                "resnet18 or resnet50, or a file of export --format safetensors.",
            ),
        ),
    ),
}
"""In the order of ``quarterturn --help``."""
