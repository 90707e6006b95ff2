from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import cifar

import quarterturn.engine.loop as loop
import quarterturn.pretraining.seeds as seeds
import quarterturn.pretraining.training as training_module
from quarterturn import ConfigError, DataError, pretrain, pu_weights, resume, upright
from quarterturn.cli import main
from quarterturn.methods.rotnet_options import RotNetOptions
from quarterturn.orientation.upright import resume_upright
from quarterturn.orientation.upright_table import UprightTable, read_dat, write_dat
from quarterturn.presets import fold_recipe
from quarterturn.runs import Run
from tests.fixtures.runs import QUICK

from ..data.fake_cifar import write_cifar
from ..data.pictures import truncate
from ..engine.equality import assert_same_checkpoint, metrics_without_times

FOLDS = {
    "folds": 2,
    "epochs": 1,
    "limit": 100,
    "batch_size": 32,
    "view_crops": 1,
    "device": "cpu",
}
WORDS = "--folds 2 --epochs 1 --limit 100 --batch-size 32 --view-crops 1 --device cpu"
PHOTOS = {**FOLDS, "limit": None, "backbone": "convnet", "image_size": 16, "workers": 0}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short run of cross-fitting on 100 digits."""
    return upright("digits", out=tmp_path_factory.mktemp("runs") / "u", **FOLDS)


def stamps(folder: Path) -> dict[Path, int]:
    return {
        path: path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def rows_of(file: Path) -> list[dict[str, str]]:
    with open(file, newline="") as opened:
        return list(csv.DictReader(opened))


def interrupt_at(step: int, patch: pytest.MonkeyPatch) -> None:
    """Arrange an interruption before the n-th step from here, whichever training makes it."""
    plain, made = loop.training_step, []

    def training_step(*arguments: object) -> dict[str, torch.Tensor]:
        made.append(1)
        if len(made) == step:
            raise KeyboardInterrupt
        return plain(*arguments)

    patch.setattr(loop, "training_step", training_step)


def refuse_training(patch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("something was trained")

    patch.setattr(loop, "training_step", refuse)


class TestUpright:
    def test_a_run_holds_what_it_promises(self, finished: Run) -> None:
        opened = Run.open(finished.path)
        assert opened.kind == "upright"
        assert opened.config.method == RotNetOptions()
        assert (opened.config.upright.folds, opened.config.run.epochs) == (2, 1)
        table = UprightTable.read(finished.path / "upright.npz")
        assert len(table) == 100
        assert table.fingerprint == opened.fingerprint
        assert sorted(set(table.fold.tolist())) == [0, 1]
        assert table.probabilities.std() > 0.01
        np.testing.assert_allclose(table.probabilities.sum(axis=2), 1, atol=1e-5)

        scores = rows_of(finished.path / "scores.csv")
        assert [row["path"] for row in scores] == list(table.names)
        assert {row["label"] for row in scores} == {str(d) for d in range(10)}
        assert float(scores[7]["p_upright_180"]) == pytest.approx(table.p_upright[7, 2], abs=1e-4)
        statuses = [row["status"] for row in rows_of(finished.path / "items.csv")]
        assert statuses == ["trained on"] * 100 + ["not used"] * (1347 - 100)
        assert opened.read_json("environment.json")["seed"] == 0
        assert not list(finished.path.rglob("*.partial"))
        assert not (finished.path / "upright.dat").exists()

    def test_an_existing_directory_is_not_touched(self, finished: Run) -> None:
        before = stamps(finished.path)
        with pytest.raises(ConfigError, match="exists; choose another --out"):
            upright("digits", out=finished.path, **FOLDS)
        assert stamps(finished.path) == before

    def test_overwrite_deletes_an_earlier_run(self, finished: Run, tmp_path: Path) -> None:
        shutil.copytree(finished.path, tmp_path / "u")
        (tmp_path / "u" / "left-over").touch()
        again = upright("digits", out=tmp_path / "u", overwrite=True, **FOLDS)
        assert not (tmp_path / "u" / "left-over").exists()
        one, other = (UprightTable.read(r.path / "upright.npz") for r in (finished, again))
        np.testing.assert_array_equal(one.probabilities, other.probabilities)
        np.testing.assert_array_equal(one.agnostic, other.agnostic)

    def test_the_command_line_makes_the_same_run(
        self,
        finished: Run,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert main(["upright", "digits", *WORDS.split(), "--format", "dat"]) == 0
        run = Run.open("runs/digits-upright-1")
        assert run.config == finished.config
        said = " ".join(capsys.readouterr().err.split())
        assert "2 rotation networks (convnet at 16 px), each trained for up to 1 epoch" in said
        assert "of 100 images; labels are read for the mean scores of classes" in said
        assert "no network sees them; run directory runs/digits-upright-1" in said
        table = UprightTable.read(run.path / "upright.npz")
        expected = UprightTable.read(finished.path / "upright.npz")
        np.testing.assert_array_equal(table.probabilities, expected.probabilities)
        # The original's order: line 4 * i + k, counted from 0.
        lines = (run.path / "upright.dat").read_text().splitlines()
        assert len(lines) == 400
        assert np.float32(lines[4 * 57 + 3]) == table.p_upright[57, 3]

    def test_a_finished_run_is_left_as_it_is(
        self, finished: Run, capsys: pytest.CaptureFixture[str]
    ) -> None:
        before = stamps(finished.path)
        assert main(["upright", "--resume", str(finished.path)]) == 0
        assert "is finished: nothing to do" in capsys.readouterr().err
        assert main(["upright", "--resume", str(finished.path), "--workers", "0"]) == 0
        assert stamps(finished.path) == before

    def test_the_text_is_written_afterwards_without_training(
        self, finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run = shutil.copytree(finished.path, tmp_path / "u")
        refuse_training(monkeypatch)
        resume_upright(run, format="dat")
        table = UprightTable.read(run / "upright.npz")
        np.testing.assert_array_equal(read_dat(run / "upright.dat"), table.p_upright)
        np.testing.assert_array_equal(
            table.p_upright, UprightTable.read(finished.path / "upright.npz").p_upright
        )

    def test_changed_options_are_refused_by_name(
        self, finished: Run, capsys: pytest.CaptureFixture[str]
    ) -> None:
        words = ["upright", "--resume", str(finished.path), "--epochs", "5", "--folds", "3"]
        assert main(words) == 2
        said = capsys.readouterr().err
        assert "epochs: 5 -> 1" in said
        assert "folds: 3 -> 2" in said

    def test_each_command_resumes_only_its_own_runs(self, finished: Run, tmp_path: Path) -> None:
        before = stamps(finished.path)
        other = Run(tmp_path / "other", "digits", finished.config, finished.fingerprint)
        other.create()
        for go_on, run, told in [
            (resume, finished.path, "upright, not of pretrain"),
            (resume, finished.path / "fold-0", "fold, not of pretrain"),
            (resume_upright, other.path, "pretrain, not of upright"),
            (resume_upright, finished.path / "fold-1", "fold, not of upright"),
        ]:
            with pytest.raises(ConfigError, match=f"is a run of {told}"):
                go_on(run)
        assert stamps(finished.path) == before
        files = {path.name for path in other.path.rglob("*") if path.is_file()}
        assert files == {"config.json", "lock"}

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            ("digits --limit 16 --folds 5", "--folds 5 of 16 distinct images: expected"),
            ("digits --epochs 0", "--epochs is 0; expected 1 or more"),
            ("nowhere", "no data at 'nowhere'"),
            ("", "expected DATA"),
            ("--resume nowhere", "nowhere: there is no such run or file"),
        ],
    )
    def test_what_cannot_work_is_said_in_a_line(
        self, words: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = ["--out", str(tmp_path / "run")] if words.startswith("digits") else []
        assert main(["upright", *words.split(), *out]) == 2
        said = capsys.readouterr().err
        assert told in said
        assert "Traceback" not in said
        assert not (tmp_path / "run").exists()

    def test_another_format_is_refused(self, finished: Run, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="--format is csv; expected npz or dat"):
            upright("digits", out=tmp_path / "u", format="csv", **FOLDS)
        with pytest.raises(ConfigError, match="--format is csv; expected npz or dat"):
            resume_upright(finished.path, format="csv")
        assert not (tmp_path / "u").exists()

    def test_labels_are_never_read(self, tmp_path: Path) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (40, 12, 12, 3), dtype=np.uint8)
        tables = []
        for name, labels in [("a", np.arange(40) % 3), ("b", np.arange(40) % 2)]:
            np.savez(tmp_path / f"{name}.npz", train_images=pixels, train_labels=labels)
            settings = {**PHOTOS, "image_size": 12, "batch_size": 8}
            run = upright(tmp_path / f"{name}.npz", out=tmp_path / name, **settings)
            tables.append(UprightTable.read(run.path / "upright.npz"))
        np.testing.assert_array_equal(tables[0].probabilities, tables[1].probabilities)

    def test_a_named_data_set_is_fetched_only_on_request(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fetched: list[Path] = []

        def fetch(url: str, root: Path, **_: object) -> None:
            fetched.append(root)
            write_cifar(root, "cifar10", monkeypatch)

        monkeypatch.setattr(cifar, "download_and_extract_archive", fetch)
        settings = {**FOLDS, "backbone": "convnet", "batch_size": 8}
        data = f"cifar10:{tmp_path / 'sets'}"
        with pytest.raises(DataError, match="--download"):
            upright(data, out=tmp_path / "u", **settings)
        assert fetched == []
        upright(data, out=tmp_path / "u", download=True, **settings)
        assert len(fetched) == 1


class TestFiles:
    def test_reports_what_cannot_be_read(self, photos: Path, tmp_path: Path) -> None:
        data = shutil.copytree(photos, tmp_path / "photos")
        names = ["blue/03.png", "red/11.png"]
        for name in names:
            truncate(data / name)
        settings = {**PHOTOS, "max_bad_fraction": 0.2}
        run = upright(data, out=tmp_path / "u", **settings)
        table = UprightTable.read(run.path / "upright.npz")
        assert [table.names[i] for i in np.flatnonzero(table.fold == -1)] == names
        of_items = {row["path"]: row["status"] for row in rows_of(run.path / "items.csv")}
        assert [n for n, s in of_items.items() if s == "unreadable: could not be decoded"] == names
        of_scores = {row["path"]: row for row in rows_of(run.path / "scores.csv")}
        assert [n for n, row in of_scores.items() if row["agnostic"] == ""] == names
        assert of_scores[names[0]]["label"] == "blue"

        # They are learned from in a training that takes the file, with weights of little doubt.
        seen = rows_given(str(data), upright=str(run.path), **(PHOTOS | {"max_bad_fraction": 0.2}))
        assert seen[names[0]] == [0.25] * 4

    def test_changed_images_are_refused(self, photos: Path, tmp_path: Path) -> None:
        data = shutil.copytree(photos, tmp_path / "photos")
        run = tmp_path / "u"
        with pytest.MonkeyPatch.context() as patch:
            interrupt_at(2, patch)
            with pytest.raises(KeyboardInterrupt):
                upright(data, out=run, **PHOTOS)
        shutil.copy(data / "red" / "00.png", data / "red" / "another.png")
        with pytest.raises(DataError, match="not those the run began with"):
            resume_upright(run)


class CapturedError(Exception):
    """Raised where a training would begin."""


def rows_given(data: str, **settings: object) -> dict[str, list[float]]:
    """The probabilities that a training on these data is given, by the names of its images."""
    rows: dict[str, list[float]] = {}

    def capture(job):
        assert job.p_upright.dtype == torch.float32
        rows.update(zip(job.images.names, job.p_upright.tolist(), strict=True))
        raise CapturedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seeds, "train", capture)
        patch.chdir(Path(str(settings["upright"])).parent)
        with pytest.raises(CapturedError):
            pretrain(data, **settings)
    return rows


PHASE = {name: value for name, value in QUICK.items() if name != "num_noise"}  # of no RotNet
PHASE |= {"limit": 100, "log_every": 1, "noise_aware_from": 0.5, "diagnostics": False}


def in_short(train: Callable[[], Run]) -> tuple[Run, list[dict[str, torch.Tensor]]]:
    """A training without its report, which takes longer, and its network after each epoch."""
    weights: list[dict[str, torch.Tensor]] = []
    plain = loop.keep

    def keep(training: loop.Training) -> None:
        state = training.method.network.state_dict()
        weights.append({name: value.clone() for name, value in state.items()})
        plain(training)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "keep", keep)
        patch.setattr(training_module, "refresh_report", lambda run: report_of(run).touch())
        return train(), weights


def report_of(run: Run) -> Path:
    return run.path / "report.html"


def train(out: Path, **settings: object) -> Run:
    return in_short(lambda: pretrain("digits", out=out, **settings))[0]


def go_on(run: Path) -> Run:
    return in_short(lambda: resume(run))[0]


def same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


class TestPretrain:
    @pytest.mark.parametrize("method", ["decoupling", "rotnet"])
    def test_nothing_changes_before_the_phase(
        self, method: str, finished: Run, tmp_path: Path
    ) -> None:
        runs, weights = [], []
        for asked in ("none", str(finished.path)):
            settings = {**PHASE, "method": method, "upright": asked}
            out = tmp_path / f"run-{len(runs)}"
            run, of_epochs = in_short(lambda: pretrain("digits", out=out, **settings))  # noqa: B023
            runs.append(metrics_without_times(run.path))
            weights.append(of_epochs)
        without, with_file = weights
        assert len(without) == len(with_file) == 2
        assert same_weights(without[0], with_file[0])
        assert not same_weights(without[1], with_file[1])
        plain, aware = runs
        assert [line["epoch"] for line in aware] == [0] * 4 + [1] * 4
        assert aware[:4] == plain[:4]
        # Of the first step in the phase the weights alone are others: the rotation loss is less.
        assert aware[4]["rotation"] < plain[4]["rotation"]
        same = set(aware[4]) - {"rotation", "loss"}
        assert {n: aware[4][n] for n in same} == {n: plain[4][n] for n in same}

    def test_a_phase_that_is_not_reached(
        self, finished: Run, tmp_path: Path, terminal: pytest.CaptureFixture[str]
    ) -> None:
        settings = {**PHASE, "method": "rotnet", "noise_aware_from": 0.9}
        file = str(finished.path / "upright.npz")
        run = train(tmp_path / "r", **settings, upright=file)
        said = " ".join(terminal.readouterr().err.split())
        assert "--noise-aware-from 0.9 is never reached within 2 epochs, so" in said
        assert "give more --epochs or a smaller fraction" in said
        assert_same_checkpoint(run.path, train(tmp_path / "s", **settings).path)

    def test_it_says_what_the_copies_weigh(
        self, finished: Run, tmp_path: Path, terminal: pytest.CaptureFixture[str]
    ) -> None:
        settings = {**PHASE, "method": "rotnet", "upright": str(finished.path), "gamma": 3.0}
        run = train(tmp_path / "r", **settings)
        p_upright = torch.from_numpy(UprightTable.read(finished.path / "upright.npz").p_upright)
        weights = pu_weights(p_upright, 3.0)[:, 1:]
        said = " ".join(terminal.readouterr().err.split())
        assert f"noise-aware from epoch 2 of 2 on, by {run.path / 'upright.npz'}" in said
        assert f"weighs {weights.mean():.3f} on average, {weights.min():.3f} at least" in said
        copied = (run.path / "upright.npz").read_bytes()
        assert copied == (finished.path / "upright.npz").read_bytes()
        assert run.config.noise_aware.upright == str((finished.path / "upright.npz").resolve())

    def test_each_image_has_its_own_row(self, photos: Path, tmp_path: Path) -> None:
        settings = {**PHOTOS, "holdout": 0.2}
        made = upright(photos, out=tmp_path / "u", **PHOTOS)
        table = UprightTable.read(made.path / "upright.npz")
        of_name = dict(zip(table.names, table.p_upright.tolist(), strict=True))
        write_dat(tmp_path / "p.dat", table.p_upright)
        for file in (made.path, tmp_path / "p.dat"):
            rows = rows_given(str(photos), upright=str(file), **settings)
            assert len(rows) == 48  # 12 of the 60 photos are held out
            assert rows == {name: of_name[name] for name in rows}
        few = rows_given(str(photos), upright=str(made.path), **{**settings, "limit": 50})
        assert len(few) == 40
        assert few == {name: of_name[name] for name in few}

    def test_refuses_scores_of_other_data_before_creating_a_run(
        self, finished: Run, tmp_path: Path
    ) -> None:
        write_dat(tmp_path / "p.dat", np.full((99, 4), 0.5, dtype=np.float32))
        for file, told in [
            (finished.path, "is about other data: it has 100 images with the fingerprint"),
            (tmp_path / "p.dat", "holds probabilities of 99 images, and these are 1,347 images "),
            (tmp_path / "gone.npz", "no file"),
            (tmp_path / "gone", "no file"),
        ]:
            with pytest.raises(DataError, match=told):
                train(tmp_path / "run", **{**PHASE, "limit": 60, "upright": str(file)})
            assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("asked", ["auto", "upright.npz"])
    def test_a_method_that_turns_nothing_takes_none(self, asked: str, tmp_path: Path) -> None:
        told = f"--upright is {asked}; expected none with --method instance"
        with pytest.raises(ConfigError, match=told):
            train(tmp_path / "run", **{**PHASE, "method": "instance", "upright": asked})
        assert not (tmp_path / "run").exists()

    def test_resumes_with_the_copy_in_the_run(
        self, finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given = Path(shutil.copytree(finished.path, tmp_path / "given"))
        settings = {**PHASE, "method": "rotnet", "upright": str(given)}
        whole = train(tmp_path / "whole", **settings)
        with pytest.MonkeyPatch.context() as patch:
            interrupt_at(6, patch)
            with pytest.raises(KeyboardInterrupt):
                train(tmp_path / "cut", **settings)
        shutil.rmtree(given)
        go_on(tmp_path / "cut")
        assert_same_checkpoint(tmp_path / "cut", whole.path)

    def test_half_a_copy_is_made_again(self, finished: Run, tmp_path: Path) -> None:
        run = tmp_path / "run"

        def copy_half(source: Path, target: Path) -> None:
            Path(target).write_bytes(Path(source).read_bytes()[:1000])
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shutil, "copyfile", copy_half)
            with pytest.raises(KeyboardInterrupt):
                train(run, **PHASE, upright=str(finished.path))
        with pytest.MonkeyPatch.context() as patch:
            interrupt_at(1, patch)  # when it has read the copy
            with pytest.raises(KeyboardInterrupt):
                go_on(run)
        assert (run / "upright.npz").read_bytes() == (finished.path / "upright.npz").read_bytes()
        assert not list(run.glob("*.partial"))


AUTO = {
    **PHASE,
    "method": "rotnet",
    "upright": "auto",
    "fold_epochs": 1,
    "folds": 2,
    "view_crops": 1,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A training that made its probabilities first."""
    return train(tmp_path_factory.mktemp("auto") / "r", **AUTO)


class TestAuto:
    def test_is_the_run_that_upright_would_make(self, whole: Run, tmp_path: Path) -> None:
        folds = Run.open(whole.path / "upright")
        assert folds.kind == "upright"
        assert folds.config == fold_recipe(whole.config)
        assert (folds.config.run.epochs, folds.config.data.limit) == (1, 100)
        assert folds.read_json("environment.json")["seed"] == 0
        alone = upright("digits", out=tmp_path / "u", config=folds.config)
        assert alone.config == folds.config
        one, other = (UprightTable.read(r.path / "upright.npz") for r in (folds, alone))
        np.testing.assert_array_equal(one.probabilities, other.probabilities)

        by_file = train(tmp_path / "r", **{**AUTO, "upright": str(alone.path)})
        assert_same_checkpoint(by_file.path, whole.path)

    def test_reads_no_labels_where_only_upright_does(self, whole: Run, finished: Run) -> None:
        def first_line(run: Path) -> str:
            return (run / "scores.csv").read_text().splitlines()[1]

        assert first_line(finished.path).split(",")[2] != ""
        assert first_line(whole.path / "upright").split(",")[2] == ""
        titles = [
            t["title"] for t in Run.open(whole.path / "upright").read_json("summary.json")["tables"]
        ]
        assert not [title for title in titles if title.startswith("Classes")]

    def test_says_beforehand_what_it_costs(
        self, tmp_path: Path, terminal: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        interrupt_at(1, monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "r", **{**AUTO, "folds": 4, "fold_epochs": 3})
        said = " ".join(terminal.readouterr().err.split())
        assert (
            "--upright auto: 4 rotation networks come first (convnet at 16 px, up to 3 epochs "
            "each), 8 passes over the images in all; the training itself (convnet at 16 px) makes 2"
        ) in said  # three quarters of nine tenths, 4 times 3 epochs: 8.1

    def test_an_interrupted_run_resumes_at_any_stage(self, whole: Run, tmp_path: Path) -> None:
        run = tmp_path / "cut"
        # A fold has two steps, and the training eight.
        for begin, step in [
            (lambda: train(run, **AUTO), 3),  # in the second fold
            (lambda: go_on(run), 8),  # in the second epoch of the training
        ]:
            with pytest.MonkeyPatch.context() as patch:
                interrupt_at(step, patch)
                with pytest.raises(KeyboardInterrupt):
                    begin()
        before = stamps(run / "upright")
        assert (run / "upright" / "upright.npz") in before
        go_on(run)
        assert stamps(run / "upright") == before
        assert_same_checkpoint(run, whole.path)
        tables = [UprightTable.read(r / "upright" / "upright.npz") for r in (run, whole.path)]
        np.testing.assert_array_equal(tables[0].probabilities, tables[1].probabilities)

    def test_a_finished_run_is_left_as_it_is(self, whole: Run) -> None:
        before = stamps(whole.path)
        assert main(["pretrain", "--resume", str(whole.path)]) == 0
        assert stamps(whole.path) == before

    @pytest.mark.parametrize("there", [[], ["config.json"]])
    def test_a_folder_that_was_only_started(
        self, there: list[str], whole: Run, tmp_path: Path
    ) -> None:
        run = tmp_path / "cut"
        with pytest.MonkeyPatch.context() as patch:
            interrupt_at(1, patch)
            with pytest.raises(KeyboardInterrupt):
                train(run, **AUTO)
            stored = {name: (run / "upright" / name).read_bytes() for name in there}
            shutil.rmtree(run / "upright")
            (run / "upright" / "checkpoints").mkdir(parents=True)  # killed before it had more
            for name, text in stored.items():
                (run / "upright" / name).write_bytes(text)
            patch.undo()
            interrupt_at(1, patch)
            with pytest.raises(KeyboardInterrupt):
                go_on(run)
        assert Run.open(run / "upright").config == Run.open(whole.path / "upright").config
        assert (run / "upright" / "environment.json").exists()

    @pytest.mark.parametrize(
        ("settings", "told"),
        [
            ({"fold_preset": "best"}, "unknown preset 'best'"),
            ({"fold_preset": "imagenet-alexnet", "backbone": "vgg"}, "unknown backbone 'vgg'"),
            ({"fold_epochs": 0}, "--fold-epochs is 0; expected 1 or more"),
            ({"folds": 26}, "--folds 26 of 100 distinct images: expected at least 2 folds"),
        ],
    )
    def test_what_cannot_be_made_is_refused_first(
        self, settings: dict[str, object], told: str, tmp_path: Path
    ) -> None:
        with pytest.raises(ConfigError, match=told):
            train(tmp_path / "run", **(AUTO | settings))
        assert not (tmp_path / "run").exists()
