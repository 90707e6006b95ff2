"""One pretraining, with diagnostics on held-out images as it goes."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import torch
from torch import Tensor

from quarterturn.data.selection import Selection
from quarterturn.engine.loop import Training
from quarterturn.engine.runtime import Runtime
from quarterturn.features.extraction import extract
from quarterturn.features.gallery import save_gallery
from quarterturn.files import write_json
from quarterturn.methods.base import Method, Network
from quarterturn.methods.build import build_method
from quarterturn.methods.configuration import Config
from quarterturn.methods.view_options import ViewOptions
from quarterturn.pages.report import never_fatal, refresh_report
from quarterturn.pages.tables import show
from quarterturn.pretraining.collection_pictures import save_collection
from quarterturn.pretraining.diagnostics import collapse_warning, diagnose, diagnostics_table
from quarterturn.pretraining.learning_curve import KIND, NOTE, LabelledSample, quick_knn
from quarterturn.pretraining.noise_aware import agnostic_for, agnostic_warnings
from quarterturn.progress import stage
from quarterturn.runs import Run, write_items
from quarterturn.runs.closing import log_unreadable
from quarterturn.runs.facts import write_facts
from quarterturn.runs.life_cycle import TrainingJob
from quarterturn.runs.phases import in_phases
from quarterturn.runs.time_budget import REPORT_SHARE
from quarterturn.runs.without_effect import options_without_effect
from quarterturn.weights.start import begin_with
from quarterturn.wording import counted

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Pretraining(TrainingJob[Method]):
    """Learns a representation without labels, and diagnoses it on images that are held out.

    Attributes:
        run: The run directory.
        selection: Its images: those that are learned from, and those held out.
        p_upright: (N, 4) probabilities for the noise-aware phase, or None.
        start: The weights that it begins with, where the run has no directory yet.
        begun_with: Heads that came with the weights that the training began with.
        sample: Labelled images of the quick probes on the way; None for none.
    """

    run: Run
    selection: Selection
    p_upright: Tensor | None
    start: Network | None = None
    begun_with: list[str] = field(default_factory=list)
    sample: LabelledSample | None = None

    estimates_memory = True

    def build_method(self) -> Method:
        """The method that the settings name."""
        labels = None
        if self.config.imbalance.reads_labels and self.images.labels is not None:
            labels = torch.from_numpy(self.images.labels)
        start = self.start
        if start is None and (begun_from := self.run.open_start()) is not None:
            start = begun_from.load_network()
        method = build_method(
            self.config,
            len(self.images),
            p_upright=self.p_upright,
            agnostic=agnostic_for(self.run, self.selection),
            labels=labels,
            start=start,
            device=self.runtime.device,
            mean_over_processes=self.runtime.mean,
            gather_own_first=self.runtime.gather_own_first,
            embed_images=self.embed_images,
        )
        if start is not None and not self.run.checkpoint.exists():
            self.begun_with.extend(begin_with(method.network, start))
        return method

    def embed_images(self, network: Network) -> Tensor:
        """(N, E) embeddings of the centre crops, the same in every process.

        Images that cannot be decoded have the mean embedding: they take part in no step.
        """
        runtime = self.runtime
        rows = torch.empty(len(self.images), self.config.method_as(ViewOptions).embedding_dim)
        if runtime.is_main:
            was_training = network.training
            network.eval()
            found = extract(
                self.images,
                self.config.data,
                lambda images: network.embed(network.backbone(images)),
                device=runtime.device,
                workers=self.config.machine.num_workers,
                failed={},
            )
            network.train(was_training)
            values = torch.from_numpy(found.values)
            rows[:] = values.mean(dim=0)
            rows[torch.from_numpy(found.indices)] = values
        return runtime.of_main(rows)

    def is_concluded(self) -> bool:
        """The page comes last."""
        return (self.run.path / "report.html").exists()

    @property
    def place(self) -> str:
        """The run directory."""
        return str(self.run.path)

    def introduce(self, training: Training[Method]) -> None:
        """Log the data, the network and the epochs to come."""
        if self.run.start is not None and not training.step:
            parts = [name for name, _ in training.method.network.named_children()]
            taken = ["backbone", *self.begun_with]
            new = ", ".join(name for name in parts if name not in taken)
            words = f"begins with {self.run.began_with}: {', '.join(taken)}"
            words += f"; drawn anew: {new}" if new else ""
            logger.info(words.replace("_head", " head"))
        _introduce(self.run, self.selection, self.runtime, training)

    def evaluate(self, training: Training[Method], epochs_done: int) -> None:
        """Diagnose the features on held-out images."""
        if values := self._diagnose(training):
            training.telemetry.record(
                "diagnostics", step=training.step - 1, epoch=epochs_done, **values
            )
            if warning := collapse_warning(values, self.config.method):
                logger.warning(warning)

    def rehearse_evaluation(self, training: Training[Method]) -> float:
        """See `TrainingJob.rehearse_evaluation`."""
        self._diagnose(training)
        return 1.0

    def _diagnose(self, training: Training[Method]) -> dict[str, float]:
        """What held-out images show; nothing where there are none, or nobody wants to know."""
        held_out = self.selection.held_out
        if held_out is None or not self.config.run.diagnostics:
            return {}
        undecoded: dict[int, str] = {}
        values = dict(
            diagnose(
                training.method.network,
                held_out,
                self.config.data,
                device=self.runtime.device,
                workers=self.config.machine.num_workers,
                failed=undecoded,
            )
        )
        self.unreadable.update(
            {self.selection.file_of_held_out(i): why for i, why in undecoded.items()}
        )
        return values

    @property
    def probe_every(self) -> int | None:
        """As the options have it."""
        return None if self.sample is None else self.config.learning_curve.probe_every

    def probe(self, training: Training[Method], epochs_done: int) -> None:
        """Classify labelled images by their neighbours: a point of the learning curve."""
        assert self.sample is not None
        of_sample: dict[str, str] = {}
        accuracies = quick_knn(
            training.method.network,
            self.sample,
            self.config.data,
            device=self.runtime.device,
            workers=self.config.machine.num_workers,
            failed=of_sample,
        )
        if self.config.learning_curve.probe_data is None:
            self.unreadable.update(of_sample)
        training.telemetry.record(
            KIND,
            step=training.step - 1,
            epoch=epochs_done,
            images_seen=epochs_done * len(self.images),
            **accuracies,
            chance=self.sample.chance,
            gallery=len(self.sample.gallery),
            queries=len(self.sample.queries),
            images=self.sample.fingerprint,
            of=self.sample.description,
            note=NOTE,
        )

    def conclude(self, training: Training[Method]) -> None:
        """Write tables, pictures and the page."""
        with stage("report", weight=REPORT_SHARE * self.config.run.epochs):
            _conclude(self.run, self.selection, self.unreadable)


def _labels_read(config: Config, images: Selection) -> str:
    """What labels are read for, in words; empty where they are not."""
    counted = "labels were read to count classes (--counts labels)"
    tested = "labels were read for quick probes on the way, which change nothing (--probe-every)"
    parts = [
        images.labels_read,
        counted if config.imbalance.reads_labels else "",
        tested if config.learning_curve.probe_every is not None else "",
    ]
    return "; ".join(part for part in parts if part)


def _warnings(run: Run, images: Selection) -> list[str]:
    """Warnings about options that have no effect."""
    return [*options_without_effect(run.config), *agnostic_warnings(run, images)]


def _introduce(run: Run, images: Selection, runtime: Runtime, training: Training[Method]) -> None:
    """Say what is about to happen."""
    config = run.config
    images.source.log_summary()
    held = 0 if images.held_out is None else len(images.held_out)
    labels_read = _labels_read(config, images)
    parameters = sum(p.numel() for p in training.method.network.parameters())
    logger.info(
        f"{config.method.name} with {config.model.backbone} ({parameters / 1e6:.1f} million "
        f"parameters) at {config.data.image_size} px: {len(images.train):,} images to learn from, "
        f"{held:,} held out for diagnostics; {labels_read or 'no labels are read'}\n"
        f"{counted(config.run.epochs, 'epoch')}{in_phases(config, run.phases)} of "
        f"{counted(training.batches.steps_per_epoch, 'step')}, on "
        f"{runtime.device} in {runtime.precision}; run directory {run.path}"
    )
    if config.run.epochs == 0:
        kept = "untrained backbone" if run.untrained else "backbone that it began with"
        logger.info(f"0 epochs: nothing is trained; the run holds the {kept}")
    for warning in _warnings(run, images):
        logger.warning(warning)


def _conclude(run: Run, images: Selection, failed: dict[str, str]) -> None:
    """Write what a finished run holds beside its checkpoint, and say where it is."""
    write_image_list(run, images, failed)
    diagnostics = run.read_metrics("diagnostics")
    last = diagnostics[-1] if diagnostics else {}
    held = 0 if images.held_out is None else len(images.held_out)
    table = diagnostics_table(last, held)
    write_json(run.path / "summary.json", {"diagnostics": last, "table": table.to_dict()})
    collapsed = collapse_warning(last, run.config.method)
    labels_read = _labels_read(run.config, images) or "no labels were read"
    write_facts(
        run,
        data=[
            *images.source.summary(),
            f"{len(images.train):,} images to learn from; {labels_read}",
        ],
        warnings=[*_warnings(run, images), *([collapsed] if collapsed else [])],
    )
    with never_fatal("the pictures of the page", run):
        network = run.load_network()
        save_collection(run, network, images.train)
        save_gallery(run, network, images.held_out or images.train)
    refresh_report(run)
    if table.rows:
        show(table)
    log_unreadable(images.source.unreadable | failed, run.path / "items.csv")


def write_image_list(run: Run, images: Selection, failed: dict[str, str]) -> None:
    """Write ``items.csv``: every image file with its status."""
    held_out = images.held_out if images.held_out_of_train else None
    write_items(run.path / "items.csv", images.source, images.train, held_out, failed)
