import base64
import csv
import html
import json
import re
from functools import partial

import numpy as np
import pytest
from PIL import Image

from quarterturn import upright
from quarterturn.data.imageset import ArrayImages
from quarterturn.files import write_csv, write_json
from quarterturn.orientation.networks import fold_run
from quarterturn.orientation.upright_findings import store_findings
from quarterturn.orientation.upright_table import FILE, UprightTable
from quarterturn.orientation.upright_tables import measure_variant
from quarterturn.pages.report import write_report
from quarterturn.pages.tables import Table
from quarterturn.runs import Run
from tests.pages.elements import Elements

from .handmade_tables import predicted_turn, random_table, table_of, variants_of

HOSTILE = "<script>alert(1)</script>.png"
MISSING: dict[str, str] = {}


def report_on(
    folder,
    config,
    images,
    table,
    *,
    folds_done=0,
    data=("16 images in photos",),
    unreadable=MISSING,
):
    """The report of a run on images: the run, the page's text, and the variants."""
    run = Run(
        folder / "run", "photos", config.with_settings(method="rotnet", folds=2), "f", "upright"
    )
    run.create()
    write_json(run.path / "environment.json", {"versions": {"torch": "2"}})
    for number in range(folds_done):
        fold = fold_run(run.path, number)
        fold.mkdir()
        lines = [
            {"kind": "validation", "step": e, "epoch": e, "loss": loss, "elapsed_s": 20.0 * e}
            for e, loss in [(1, 1.5), (2, 1.0 + number), (3, 1.2)]
        ]
        (fold / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    variants = variants_of(table, np.random.default_rng(1))
    statuses = [[name, f"unreadable: {why}"] for name, why in unreadable.items()]
    write_csv(run.path / "items.csv", ["path", "status"], statuses)
    store_findings(run, images, table, variants, data=list(data), labels_read="none are read")
    path = write_report(run)
    assert path == run.path / "report.html"
    return run, path.read_text(encoding="utf-8"), variants


@pytest.fixture
def images(random_images):
    return random_images(16, 8)


@pytest.fixture
def report(tmp_path, config):
    return partial(report_on, tmp_path, config)


@pytest.fixture(scope="module")
def written(tmp_path_factory, config, random_images):
    """The report of a common run."""
    images = random_images(16, 8)
    turns = [1] * 5 + [2] * 3 + [3] * 2
    table = table_of(images, [predicted_turn(t) for t in turns] + [predicted_turn(0, 0.25)] * 6)
    folder = tmp_path_factory.mktemp("report")
    return *report_on(folder, config, images, table, folds_done=2), table


def test_the_page_is_self_contained_and_accessible(written):
    _, text, _, _ = written
    page = Elements(text)
    assert not page.all("script")
    sources = [a[key] for _, a in page.tags for key in ("src", "href", "srcset") if key in a]
    assert all(source.startswith("data:") for source in sources)
    assert all(image.get("alt") for image in page.all("img"))
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert np.diff(page.headings).max() <= 1


def test_the_page_says_no_clear_up(written):
    _, text, _, _ = written
    headings = re.findall("<h2>(.*?)</h2>", text)
    assert headings == ["Your images", "How well it works", "How it was trained"]
    assert "Each image was scored by a network that has not seen it" in text
    assert "agnostic" not in re.sub(
        r"data:[^\"]*", "", text[text.index("<main>") : text.index("<h3>Settings")]
    )
    assert "<title>Upright or not on photos" in text


def test_figures_in_the_text_match_the_table(written):
    _, text, variants, table = written
    values = re.findall(r'<dd class="value">([^<]*)</dd>', text)
    used = measure_variant(variants[2])
    assert values[0] == "37.5 %"  # six of sixteen tell nothing
    assert values[1] == f"{table.agnostic.mean():.4g}"
    assert values[3] == "10"
    assert values[4] == f"{100 * used['rotation_accuracy']:.1f} %"
    assert values[5] == f"{100 * used['calibration_error']:.1f} %"
    assert "2 after 90°, 3 after 180°, 5 after 270°" in text
    assert "five crops, 1.1" in text  # views and temperature


def test_every_picture_has_four_probabilities_and_its_turn_marked(report, images):
    table = table_of(images, [predicted_turn(3, 0.8)] * 3 + [predicted_turn(0, 0.93)] * 13)
    _, text, _ = report(images, table)
    start, end = (text.index(f"<h3>{t}</h3>") for t in ("Probably stored turned", "No clear up"))
    turned = text[start:end]
    items = re.findall(r"<li>.*?</li>", turned, re.DOTALL)
    assert len(items) == 3
    for i, item in enumerate(items):
        assert f'alt="noise-{i}"' in item
        assert "upright after 90°" in item
        shares = re.findall(r"<dd>([\d.]+) %</dd>", item)
        assert [float(s) / 100 for s in shares] == pytest.approx(table.p_upright[i], abs=5e-4)
        assert re.findall(r'class="true"><dt>(\d+)°', item) == ["90"]


def test_no_sheet_without_turned_images(report, images):
    run, text, _ = report(images, table_of(images, [predicted_turn(0)] * 16))
    assert "Probably stored turned</h3>" not in text
    assert not (run.figures / "probably-turned.png").exists()


def test_figures_are_files_of_the_run_with_their_data(written):
    run, text, _, _ = written
    names = {path.stem for path in run.figures.iterdir()}
    assert names == {
        "agnostic",
        "reliability",
        "most-agnostic",
        "most-rotatable",
        "probably-turned",
    }
    for name in names:
        assert json.loads((run.figures / f"{name}.json").read_text())["data"]
    for name in ("agnostic", "reliability"):
        png = (run.figures / f"{name}.png").read_bytes()
        assert base64.b64encode(png).decode() in text


def test_words_of_users_are_escaped_everywhere(report, images, rng):
    hostile = ArrayImages(
        images.pixels, [f"{i} {HOSTILE}" for i in range(16)], images.labels, [HOSTILE] * 3
    )
    _, text, _ = report(
        hostile,
        random_table(hostile, rng),
        data=[HOSTILE],
        unreadable={HOSTILE: HOSTILE},
    )
    assert "<script" not in text
    assert text.count(html.escape(HOSTILE)) > 40
    assert not Elements(text).all("script")


def test_a_name_with_quotes_stays_within_its_attribute(report, images, rng):
    quoted = ArrayImages(images.pixels, ['x" onerror="alert(1)'] * 16)
    _, text, _ = report(quoted, random_table(quoted, rng))
    assert all("onerror" not in attributes for _, attributes in Elements(text).tags)


def test_names_that_are_no_unicode_do_not_stop_it(report, images, rng):
    names = [f"{i} caf\udce9" for i in range(16)]
    odd = ArrayImages(images.pixels, names, images.labels, ["\udce9"] * 3)
    _, text, _ = report(odd, random_table(odd, rng))
    assert "caf?" in text


def test_unreadable_files_are_listed(report, images, rng):
    _, text, _ = report(
        images,
        random_table(images, rng, unscored=(5,)),
        unreadable={"noise-5": "could not be decoded"},
    )
    assert "could not be decoded" in text
    assert 'alt="noise-5"' not in text


def test_times_are_those_of_the_folds(written):
    _, text, _, _ = written
    cells = Elements(text).cells
    assert "2 min" in cells  # twice 60 s
    assert "3, 3" in cells
    assert "2, 3" in cells  # the epochs of the least loss


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory):
    """A whole run."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    return upright("digits", out=out, folds=2, epochs=1, limit=120, device="cpu")


def test_a_run_ends_with_its_report_and_the_summary(digits_run):
    text = (digits_run.path / "report.html").read_text(encoding="utf-8")
    Elements(text)
    stored = json.loads((digits_run.path / "summary.json").read_text())
    measures, collection, classes = stored["tables"]
    table = UprightTable.read(digits_run.path / FILE)
    assert stored["scores"]["images"] == collection["rows"][0][0] == 120
    assert stored["scores"]["agnostic"] == pytest.approx(table.agnostic.mean())
    assert sum(row[1] for row in classes["rows"]) == 120
    assert [row[1] for row in measures["rows"][:3]] == [120] * 3
    for row in Table(**{**classes, "plain": tuple(classes["plain"])}).cells():
        assert set(row) <= set(Elements(text).cells)
    with open(digits_run.path / "scores.csv", newline="") as file:
        labels = {line["label"] for line in csv.DictReader(file)}
    assert {row[0] for row in classes["rows"]} == labels


def test_what_is_printed_is_what_is_stored(digits_run, terminal):
    """A run whose table is gone writes its report anew from its networks' answers."""
    from quarterturn.orientation.upright import resume_upright

    (digits_run.path / FILE).unlink()
    resume_upright(digits_run.path)
    printed = terminal.readouterr()
    assert f"report: {digits_run.path / 'report.html'}" in printed.err
    for title in (
        "What each measure adds",
        "The collection",
        "Classes, those with the least clear up first",
    ):
        assert title in printed.out
        assert title not in printed.err
    stored = json.loads((digits_run.path / "summary.json").read_text())
    share = stored["scores"]["agnostic_share"]
    assert (f"warning: {share:.0%} of the images" in printed.err) == (share > 0.5)
    text = (digits_run.path / "report.html").read_text(encoding="utf-8")
    assert ("<b>Warning.</b>" in text) == (share > 0.5)


def test_terminal_shows_twenty_classes_and_the_page_all(tmp_path, terminal, rng):
    pixels = rng.integers(0, 256, (100, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "many.npz", train_images=pixels, train_labels=np.arange(100) % 25)
    run = upright(
        tmp_path / "many.npz",
        out=tmp_path / "run",
        folds=2,
        epochs=1,
        view_crops=1,
        image_size=16,
        backbone="convnet",
        device="cpu",
    )
    printed = " ".join(terminal.readouterr().out.split())
    assert "the first 20 of 25 classes" in printed
    classes = json.loads((run.path / "summary.json").read_text())["tables"][2]
    assert len(classes["rows"]) == 25
    assert "first 20" not in (run.path / "report.html").read_text()


def test_an_undecodable_file_is_reported_without_scores(tmp_path, terminal, rng):
    for i in range(48):
        pixels = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i:02d}.jpg")
    whole = (tmp_path / "07.jpg").read_bytes()
    (tmp_path / "07.jpg").write_bytes(whole[: len(whole) // 2])
    run = upright(
        tmp_path,
        out=tmp_path / "run",
        folds=2,
        epochs=1,
        view_crops=1,
        image_size=16,
        backbone="convnet",
        device="cpu",
        workers=0,
    )
    stored = json.loads((run.path / "summary.json").read_text())
    assert stored["scores"]["images"] == 47
    assert stored["scores"]["unreadable"] == 1
    assert len(stored["tables"]) == 2  # no labels, no classes
    text = (run.path / "report.html").read_text(encoding="utf-8")
    assert "<td>07.jpg</td><td>could not be decoded</td>" in text
    assert 'alt="07.jpg"' not in text
    printed = terminal.readouterr()
    assert "1 image file could not be read" in printed.err
    assert "Classes" not in printed.out
