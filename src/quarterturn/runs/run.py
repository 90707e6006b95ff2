"""One run: its settings, its files, its network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quarterturn.config.validation import expected, field_types, is_allowed
from quarterturn.data.data_argument import is_there
from quarterturn.data.pixel_cache import CacheOrigin
from quarterturn.engine.checkpoint import load_checkpoint, not_finite, unusable
from quarterturn.errors import CheckpointError, ConfigError, DataError
from quarterturn.files import write_json
from quarterturn.kept_files import read_object
from quarterturn.methods.base import Network
from quarterturn.methods.build import build_network
from quarterturn.methods.configuration import FORMAT, Config
from quarterturn.runs.bound_settings import require_settings
from quarterturn.runs.closing import command
from quarterturn.runs.directory import new_directory
from quarterturn.runs.files import no_run
from quarterturn.runs.imported import Imported
from quarterturn.runs.metric_lines import KINDS, read_metric_lines
from quarterturn.runs.notebooks import require_pandas, run_as_html
from quarterturn.runs.phases import Phase

if TYPE_CHECKING:
    from pandas import DataFrame

KEPT_START = "start"
"""In a run, the directory of the weights that it began with."""

RESTORE = "it may have been edited or damaged: put back what was there"


@dataclass(frozen=True)
class Run:
    """A run directory.

    Attributes:
        path: The directory.
        data: DATA as the user wrote it; None where imported weights came without their images.
        config: All settings.
        fingerprint: Of the images that are learned from; None where they are not known.
        kind: The command that makes such runs; ``fold`` within one of ``upright``.
        start: What the training began with, a run, a file of weights or ``timm:NAME``; None for
            one from scratch.
        class_names: Of a classifier, in the order of its logits; else empty.
        imported: Where the weights come from, if they were imported.
        labels_fingerprint: Of the labels that are learned from and tested on; None where none are,
            and in runs of earlier versions.
        origin: Where the weights come from that the training began with, directly or by other runs,
            if somebody else trained them.
        cache: What ``data`` was made of, if it is a cache.
        phases: By which the run was lengthened.
    """

    path: Path
    data: str | None
    config: Config
    fingerprint: str | None
    kind: str = "pretrain"
    start: str | None = None
    class_names: tuple[str, ...] = ()
    imported: Imported | None = None
    labels_fingerprint: str | None = None
    origin: Imported | None = None
    cache: CacheOrigin | None = None
    phases: tuple[Phase, ...] = ()

    def create(self, *, overwrite: bool = False) -> None:
        """Make the directory of a new run, with its ``config.json``; raises as `draft` does."""
        with self.draft(overwrite=overwrite):
            pass

    @contextmanager
    def draft(self, *, overwrite: bool = False) -> Iterator[Run]:
        """Make the directory of a new run, whole or not at all.

        Args:
            overwrite: Delete the run that is there.

        Yields:
            This run in a directory beside, with its ``config.json``. What is written there is in
            place when the block ends without an error.

        Raises:
            ConfigError: The directory is there already; or it holds what the run is to begin with.
        """
        with new_directory(self.path, overwrite=overwrite, needed=self.needed) as path:
            draft = replace(self, path=path)
            for folder in (draft.checkpoint.parent, draft.figures):
                folder.mkdir()
            draft._write_settings()
            yield draft

    def _write_settings(self) -> None:
        stored: dict[str, Any] = {
            "format": FORMAT,
            "data": self.data,
            "fingerprint": self.fingerprint,
            "labels_fingerprint": self.labels_fingerprint,
            "kind": self.kind,
            "start": self.start,
            "class_names": list(self.class_names),
            "config": self.config.to_dict(),
        }
        if self.imported is not None:
            stored["imported"] = asdict(self.imported)
        if self.origin is not None:
            stored["origin"] = asdict(self.origin)
        if self.cache is not None:
            stored["cache"] = asdict(self.cache)
        write_json(self.path / "config.json", stored)

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """An existing run.

        Raises:
            CheckpointError: There is no run, or its ``config.json`` cannot be used.
        """
        path = Path(path)
        file = path / "config.json"
        try:
            stored = read_object(file)
            config = Config.from_dict(stored["config"], stored.get("format", 1))
            # The first version made runs of one kind, and did not say which.
            kind = stored.get("kind", "pretrain")
            class_names = tuple(stored.get("class_names", ()))
            cache = stored.get("cache")
            run = cls(
                path,
                stored["data"],
                config,
                stored["fingerprint"],
                kind,
                stored.get("start"),
                class_names,
                Imported.from_dict(stored.get("imported")),
                stored.get("labels_fingerprint"),
                Imported.from_dict(stored.get("origin")),
                None if cache is None else CacheOrigin(**cache),
                tuple(Phase(**phase) for phase in stored.get("phases", ())),
            )
            run._check()
            return run
        except (FileNotFoundError, NotADirectoryError):
            raise CheckpointError(no_run(path)) from None
        except KeyError as error:
            raise CheckpointError(f"{file} has no {error}; {RESTORE}") from error
        except (ConfigError, ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{file} cannot be used: {error}; {RESTORE}") from error

    def _check(self) -> None:
        """Refuse what a command would not have written.

        Raises:
            ValueError: Names it.
            ConfigError: A setting.
        """
        for record in (self, self.imported, self.origin, self.cache, *self.phases):
            for name, kind in () if record is None else field_types(type(record)).items():
                if not is_allowed(value := getattr(record, name), kind):
                    raise ValueError(f"{name} is {value!r}; expected {expected(kind)}")
        self.config.check_values()

    def at(self, path: Path) -> Run:
        """The same run in another directory."""
        return replace(self, path=path)

    @property
    def kept_start(self) -> Path:
        """The weights that the training began with, as a run of their own."""
        return self.path / KEPT_START

    @property
    def provenance(self) -> Imported | None:
        """Where the weights, or those that the training began with, were trained elsewhere.

        Whoever imported a file may know the licence that its origin does not state.
        """
        if self.origin is None or self.imported is None:
            return self.origin or self.imported
        return replace(self.origin, licence=self.imported.licence or self.origin.licence)

    @property
    def began_with(self) -> str:
        """Whose weights the training began with, in a few words; empty from scratch."""
        if self.start is None:
            return ""
        if self.origin is None:
            start = Path(self.start)
            if start.name == KEPT_START and (start.parent / "config.json").exists():
                return Run.open(start.parent).began_with  # which keeps them, and knows their name
            return f"the weights of {start.name}"
        licence = f"licence {self.origin.licence}" if self.origin.licence else "licence not stated"
        return f"the weights of {self.origin.file} ({self.origin.layout}; {licence})"

    def open_start(self) -> Run | None:
        """The run that this one began with, as it was then; None from scratch.

        Raises:
            CheckpointError: It is gone. Runs of earlier versions keep no copy.
        """
        if self.start is None:
            return None
        kept = self.kept_start
        return Run.open(kept if (kept / "config.json").exists() else self.start)

    @property
    def index_of_start(self) -> Path | None:
        """Where the headers of the start's image files are known: not in its copy here."""
        known = Path(str(self.start), self.index.name)
        return known if known.is_dir() else None

    @property
    def needed(self) -> list[Path]:
        """Files and folders that the run begins with: other runs, probabilities, images."""
        upright = self.config.noise_aware.upright
        given = (self.start, None if upright in ("none", "auto") else upright, self.data)
        # Of NAME:ROOT it is the folder; a word that is no path is found nowhere.
        return [
            Path(words)
            for whole in given
            if whole is not None
            for words in (whole, whole.partition(":")[2])
            if words
        ]

    @property
    def untrained(self) -> bool:
        """Whether the weights are those that were drawn."""
        return self.config.run.epochs == 0 and self.imported is None and self.start is None

    @property
    def checkpoint(self) -> Path:
        """The last checkpoint."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def previous_checkpoint(self) -> Path:
        """The checkpoint before the last."""
        return self.path / "checkpoints" / "previous.ckpt"

    @property
    def metrics_file(self) -> Path:
        """One JSON object a line: losses and diagnostics."""
        return self.path / "metrics.jsonl"

    @property
    def index(self) -> Path:
        """Folder of what the headers of image files said, of the run's data and of others."""
        return self.path / "index"

    @property
    def figures(self) -> Path:
        """Folder of figures, each with its data."""
        return self.path / "figures"

    def data_or_own(self, data: Path | str | None, option: str = "DATA") -> str:
        """DATA as it was given, or else the run's own.

        Args:
            data: What was given.
            option: By which option it is given.

        Raises:
            ConfigError: None was given, and the run has none.
            DataError: None was given, and the run's is gone.
        """
        if data is not None:
            return str(data)
        if self.data is None:
            raise ConfigError(
                f"the weights of {self.path} were imported, and no images came with them: give "
                f"{option}"
            )
        if not is_there(self.data):
            raise DataError(
                f"the images of {self.path} are no longer at {self.data}: if they have moved, give "
                f"{option}" + ("" if self.cache is None else f". {self._remade(self.data)}")
            )
        return self.data

    def _remade(self, cache: str) -> str:
        """How the cache is made again that the run's images were in."""
        assert self.cache is not None
        return f"It was a cache; make it again with: {command(*self.cache.command(cache))}"

    def read_metrics(self, kind: str) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl`` of one kind, such as ``train``.

        Raises:
            CheckpointError: It cannot be read; or a line of a fold's is damaged.
        """
        if self.kind != "fold":
            return read_metric_lines(self.metrics_file, kind)
        try:
            return read_metric_lines(self.metrics_file, kind, strict=True)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}; it decides when a fold stops: delete {self.path} and resume, and that "
                "fold is trained again"
            ) from error

    def metrics(self, kind: str = "train") -> DataFrame:
        """What was logged, as a table of pandas: a row for each line, a column for each number.

        Args:
            kind: ``train``, ``diagnostics``, ``evaluation``, ``validation`` or ``quick_probe``; but
                for the first there need be none.

        Raises:
            ConfigError: pandas is not installed, or there are no lines of another kind than these.
            CheckpointError: ``metrics.jsonl`` cannot be read.
        """
        if kind not in KINDS:
            raise ConfigError(f"no metrics are of the kind {kind!r}; there are {', '.join(KINDS)}")
        table = require_pandas("Run.metrics")
        return table.DataFrame(self.read_metrics(kind)).drop(columns="kind", errors="ignore")

    def _repr_html_(self) -> str:
        """How a notebook shows the run: what it is, and where its page is."""
        return run_as_html(self)

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON file of the run, ``{}`` where it has none of that name.

        Raises:
            CheckpointError: It is damaged.
        """
        try:
            return read_object(self.path / name)
        except FileNotFoundError:
            return {}

    def epochs_done(self) -> float:
        """How far the last checkpoint has come; 2.5 is amid the third epoch."""
        previous = self.previous_checkpoint
        state = load_checkpoint(self.checkpoint, previous=previous, mapped=True, checked=False)
        # Checkpoints of the first version did not say; only whole runs had a report.
        done = state.get("epochs_done", self.config.run.epochs)
        if not isinstance(done, float | int) or not done >= 0:
            raise unusable(self.checkpoint, f"says that {done!r} epochs are done", previous)
        return float(done)

    def untrained_network(self) -> Network:
        """Backbone and heads as they were drawn, before any training."""
        return build_network(self.config, len(self.class_names))

    def load_network(self, checkpoint: Path | None = None) -> Network:
        """Backbone and heads from a checkpoint, by default the last, in eval mode, on the CPU."""
        if self.kind == "upright":
            raise CheckpointError(
                f"{self.path} is a run of upright: its networks are the runs fold-0, fold-1 ... in "
                "it, each trained on a part of the images"
            )
        previous = self.previous_checkpoint if checkpoint is None else None
        checkpoint = checkpoint or self.checkpoint
        state = load_checkpoint(checkpoint, previous=previous)
        require_settings(state, self.config, checkpoint, self.class_names)
        network = self.untrained_network()
        if self.imported is not None:
            network.keep_heads(self.imported.heads)
        try:
            network.load_state_dict(state["network"])
        except (RuntimeError, TypeError, AttributeError) as error:
            reason = f"does not fit the run's config.json: {error}"
            raise unusable(checkpoint, reason, previous) from error
        if name := not_finite(network):
            raise unusable(checkpoint, f"holds values that are not finite ({name})", previous)
        return network.eval()
