"""The weights that a training begins with: those of a run, of a file, or of timm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from quarterturn.engine.checkpoint import save_checkpoint
from quarterturn.errors import ConfigError
from quarterturn.methods.base import Network
from quarterturn.methods.build import build_network
from quarterturn.methods.configuration import Config
from quarterturn.presets import FOLDED, preset, seen_as_by
from quarterturn.runs import Run
from quarterturn.runs.bound_settings import settings_record
from quarterturn.runs.start import warn_unfinished
from quarterturn.weights.backbone_weights import weights_for
from quarterturn.weights.loaded_weights import Weights
from quarterturn.weights.reading import read_weights
from quarterturn.weights.timm_weights import TIMM, read_timm, timm_config


@dataclass(frozen=True)
class Start:
    """Weights to begin with.

    Attributes:
        words: Where they are from, for the run's ``config.json``: a path, or ``timm:NAME``.
        run: A run of them: the one named, or what ``import`` would make of the file; its directory
            is only there in the first case.
        network: Backbone and heads in eval mode, on the CPU.
        epochs: Epochs of their own training; 0 if they are not known.
    """

    words: str
    run: Run
    network: Network
    epochs: float

    @property
    def index(self) -> Path | None:
        """Where what is known of image files is kept, if the weights are a run's."""
        return self.run.index if self.run.path.is_dir() else None

    def keep(self, draft: Run) -> None:
        """Write the weights into the directory of the run that begins with them.

        So the training resumes, and is compared with them, wherever they were from.
        """
        write_weights(self.run.at(draft.kept_start), self.network, self.epochs)


def write_weights(run: Run, network: Network, epochs: float, *, overwrite: bool = False) -> None:
    """Make the directory of a run of weights that are trained already, whole or not at all.

    Args:
        run: The run.
        network: Its network.
        epochs: Epochs done.
        overwrite: Delete the run that is there.

    Raises:
        ConfigError: The directory is there already.
    """
    state: dict[str, Any] = {"network": network.state_dict(), "epochs_done": float(epochs)}
    state |= settings_record(run.config, run.class_names)
    with run.draft(overwrite=overwrite) as draft:
        save_checkpoint(draft.checkpoint, state)


def run_directory(words: Path | str) -> Path | None:
    """The run that is named, by its directory or by a checkpoint in it; None for weights.

    Args:
        words: As for `open_start`.
    """
    path = Path(words)
    in_checkpoints = path.suffix == ".ckpt" and path.parent.name == "checkpoints"
    # Other codes have folders of this name too.
    if in_checkpoints and (path.parent.parent / "config.json").is_file():
        return path.parent.parent
    return None if str(words).startswith(TIMM) or path.is_file() else path


def open_start(words: Path | str, backbone: str | None = None, *, download: bool = False) -> Start:
    """Read weights to begin with.

    Args:
        words: A run, a checkpoint in one, a file that ``quarterturn import`` takes, or
            ``timm:NAME``.
        backbone: Our backbone for the weights of a file; required only for ``timm:NAME``, unless
            the file is named after it.
        download: Fetch timm's weights where its cache has none.

    Raises:
        CheckpointError: There are no such weights, or they cannot be read.
        ConfigError: They are of another backbone.
    """
    name = str(words)
    if name.startswith(TIMM):
        return _of_weights(name, read_timm(name, download=download))
    if (directory := run_directory(words)) is None:
        return _of_weights(str(Path(words).resolve()), read_weights(words, backbone))
    run = Run.open(directory)
    warn_unfinished(run)
    return Start(str(directory.resolve()), run, run.load_network(), run.epochs_done())


def recipe_on(
    words: str | None,
    recipe: Callable[[Config | None], str],
    config: Config | None,
    settings: Mapping[str, Any],
) -> tuple[Start | None, Config]:
    """The weights that a labelled training begins with, and its recipe.

    Args:
        words: As for `open_start`; None to begin from scratch.
        recipe: Configuration of the weights, or None, to the name of the preset, which then shows
            images as the weights saw them.
        config: A whole configuration, in place of the preset; taken as it is.
        settings: Those that the user gives: which backbone a file has, and whether to download.

    Raises:
        QuarterturnError: As `open_start`, or there is no such preset.
    """
    known = settings if config is None else {**config.settings(), **settings}
    start = None
    if words is not None:
        start = open_start(words, known.get("backbone"), download=known.get("download", False))
    if config is None:
        config = preset(recipe(None if start is None else start.run.config))
        if start is not None:
            config = seen_as_by(start.run.config, config)
    return start, config


def start_config(words: Path | str, backbone: str | None = None) -> Config:
    """The configuration of weights to begin with; arguments as for `open_start`."""
    name = str(words)
    return timm_config(name) if name.startswith(TIMM) else open_start(name, backbone).run.config


def check_fits(start: Start, config: Config) -> None:
    """Refuse weights that are not of the backbone that is to be trained.

    Only what learns from labels may fold the batch norm of the weights: the protocols of the
    literature do. Training without labels relies on it, and a teacher keeps it.

    Raises:
        ConfigError: They are of another one, or of one for images of another size.
    """
    found, wanted = start.run.config.model.backbone, config.model.backbone
    folds = config.method.reads_labels and FOLDED.get(wanted) == found
    if found != wanted and not folds:
        raise ConfigError(
            f"--from {start.words} has a {found} for a backbone, and --backbone is {wanted}: "
            "leave it out, and it is the run's"
        )
    weights = _shapes(weights_for(start.network.backbone, wanted))
    with torch.device("meta"):
        expected = _shapes(build_network(config, num_classes=2).backbone.state_dict())
    misfits = [name for name in weights | expected if weights.get(name) != expected.get(name)]
    if misfits:
        side = start.run.config.data.image_size
        raise ConfigError(
            f"--from {start.words} was trained at {side} px, and its {misfits[0]} does not fit "
            f"--image-size {config.data.image_size}: give --image-size {side}"
        )


def fits(start: Start, config: Config) -> bool:
    """Whether weights are of the backbone that is to be trained, in its size; see `check_fits`."""
    with suppress(ConfigError):
        check_fits(start, config)
        return True
    return False


def begin_with(network: Network, start: Network) -> tuple[str, ...]:
    """Copy a backbone, and the heads that fit.

    Args:
        network: What is to be trained; changed in place.
        start: What it begins with.

    Returns:
        The names of the heads that were copied.
    """
    network.backbone.load_state_dict(start.backbone.state_dict())
    taken = []
    for name, head in network.named_children():
        other = getattr(start, name, None)
        if (
            name != "backbone"
            and type(other) is type(head)
            and _shapes(other.state_dict()) == _shapes(head.state_dict())
        ):
            head.load_state_dict(other.state_dict())
            taken.append(name)
    return tuple(taken)


def _of_weights(words: str, weights: Weights) -> Start:
    run = Run(
        Path(words),
        None,
        weights.config,
        weights.fingerprint,
        "import",
        class_names=weights.class_names,
        imported=weights.imported,
        origin=weights.origin,
    )
    return Start(words, run, weights.network, weights.epochs)


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: values.shape for name, values in weights.items()}
