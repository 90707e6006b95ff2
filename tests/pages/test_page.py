import base64
import html
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from quarterturn.data.imageset import ArrayImages
from quarterturn.features.gallery import build_gallery
from quarterturn.files import write_json
from quarterturn.methods.build import build_network
from quarterturn.pages.page import Page, picture_uri, write_page
from quarterturn.pages.run_report import write_run_report
from quarterturn.pages.tables import Table
from quarterturn.runs import Run

from .elements import Elements
from .metrics_lines import diagnostics_lines, train_lines

HOSTILE = "<script>alert(1)</script>.png"
TABLE = Table(
    "Accuracy",
    ["features", "kNN, turned", "linear, turned", "seconds"],
    [["raw pixels", 0.38249, None, 1.25], ["decoupled", 0.9312, 0.98765, 41.5]],
    note="one seed",
    plain=("seconds",),
)


def write_report(
    folder, *, config, images, network, train=None, diagnostics=None, tables=(TABLE,), **more
):
    """The report of a run that has such lines in its metrics: the run, and the page's text."""
    run = Run(folder / "run", "digits", config, "fingerprint")
    run.create()
    lines = train_lines() if train is None else train
    lines = lines + (diagnostics_lines() if diagnostics is None else diagnostics)
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_json(run.path / "environment.json", {"versions": {"torch": "2"}, "commit": None})
    given = {
        "source_lines": ["60 images in digits"],
        "unreadable": {},
        "warnings": [],
        "command": "quarterturn pretrain digits",
    }
    path = write_run_report(
        run, images=images, network=network, tables=list(tables), **{**given, **more}
    )
    return run, path.read_text(encoding="utf-8")


@pytest.fixture
def report(tmp_path, digits, config, network):
    """Writes the report of a run with something replaced."""

    def write(**changes):
        return write_report(
            tmp_path, **{"config": config, "images": digits, "network": network, **changes}
        )

    return write


@pytest.fixture(scope="module")
def written(tmp_path_factory, digits, config, network):
    """The report of a common run."""
    return write_report(
        tmp_path_factory.mktemp("report"), config=config, images=digits, network=network
    )


def test_the_page_needs_nothing_from_outside(written):
    _, text = written
    page = Elements(text)
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text
    assert "@import" not in text
    assert not page.all("script")
    sources = [a[key] for _, a in page.tags for key in ("src", "href", "srcset") if key in a]
    assert len(sources) > 50
    assert all(source.startswith("data:") for source in sources)


def test_the_page_is_well_formed_and_can_be_read_aloud(written):
    _, text = written
    page = Elements(text)
    assert page.all("html") == [{"lang": "en"}]
    assert "<title>rotation feature decoupling on digits" in text
    assert all(image.get("alt") for image in page.all("img"))
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    steps = np.diff(page.headings)
    assert steps.max() <= 1, "a level of headings is skipped"


def test_the_tables_figures_are_those_of_its_json(written):
    _, text = written
    stored = json.loads(json.dumps(TABLE.to_dict()))
    shown = Elements(text).cells
    expected = [
        "raw pixels",
        "38.2 %",
        "-",
        "1.25",
        "decoupled",
        "93.1 %",
        "98.8 %",
        "41.5",
    ]
    again = Table(stored["title"], stored["columns"], stored["rows"], plain=("seconds",))
    assert [cell for row in again.cells() for cell in row] == expected
    start = shown.index("raw pixels")
    assert shown[start : start + 8] == expected


def test_the_pages_figures_are_the_files_in_the_run(written):
    run, text = written
    names = {path.name for path in run.figures.iterdir()}
    assert names == {"loss.png", "loss.json", "diagnostics.png", "diagnostics.json"}
    for path in run.figures.glob("*.png"):
        assert base64.b64encode(path.read_bytes()).decode() in text


def test_diagnostics_and_times_are_on_the_page(written):
    _, text = written
    assert "80.0 %" in text  # rotation accuracy after the last epoch
    assert "30.0 %" in text  # the fresh head's leakage
    assert "5.0 of 64" in text
    assert "9 s" in text
    assert "403, each in four turns (median)" in text


def test_words_of_users_are_escaped_everywhere(report, digits):
    images = ArrayImages(digits.pixels, [f"{i} {HOSTILE}" for i in range(60)])
    table = Table(HOSTILE, [HOSTILE], [[HOSTILE]], note=HOSTILE)
    _, text = report(
        images=images,
        tables=[table],
        source_lines=[HOSTILE],
        unreadable={HOSTILE: HOSTILE},
        warnings=[HOSTILE],
        command=f'quarterturn "{HOSTILE}',
    )
    assert "<script" not in text
    assert text.count(html.escape(HOSTILE)) > 60
    assert not Elements(text).all("script")


def test_a_name_with_quotes_stays_within_its_attribute(report, digits):
    images = ArrayImages(digits.pixels, ['x" onerror="alert(1)'] * 60)
    _, text = report(images=images)
    assert all("onerror" not in attributes for _, attributes in Elements(text).tags)


def test_a_name_that_is_not_unicode_is_shown(tmp_path):
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    path = tmp_path / "report.html"
    write_page(path, Page("t", "d", "c", unreadable={name: "damaged"}))
    assert "caf?.jpg" in path.read_text(encoding="utf-8")


def test_marks_each_querys_own_view_among_the_neighbours(written, network, digits, config):
    _, text = written
    gallery = build_gallery(network, digits, config.data, seed=config.run.seed)
    found = [n for a in gallery.neighbors for part in a.by_part.values() for n in part]
    marked = re.findall(r'<li class="own"><img [^>]*alt="([^"]*)"', text)
    assert marked == [f"{n.picture.name}, the image itself" for n in found if n.is_query]
    for asked in gallery.neighbors:
        for place in asked.own_place.values():
            told = "comes first" if place == 1 else f"is at place {place}"
            assert f"its own upright view {told}<" in text


def test_says_that_a_run_of_no_epochs_has_no_curves(report, config):
    run, text = report(train=[], diagnostics=[], config=config.with_settings(epochs=0), tables=[])
    assert "no epoch was trained" in text
    assert "How the training went" not in text
    assert "What it learned" not in text
    assert not list(run.figures.iterdir())
    assert "An image in four turns" in text
    Elements(text)


def test_the_instance_method_speaks_of_no_halves_and_no_rotations(report, config):
    config = config.with_settings(method="instance")
    lines = [
        {k: v for k, v in line.items() if k in ("kind", "epoch", "spread", "effective_rank")}
        for line in diagnostics_lines()
    ]
    _, text = report(
        config=config,
        network=build_network(config),
        train=train_lines(terms=("instance",)),
        diagnostics=lines,
    )
    assert "Whole feature" in text
    for word in ("invariant half", "rotation half", "An image in four turns", "Least sure"):
        assert word not in text
    Elements(text)


def test_without_images_or_network_the_rest_of_the_page_stands(report):
    _, text = report(images=None, network=None)
    assert "Nearest neighbours" not in text
    assert "93.1 %" in text


def test_warnings_stand_before_everything_else(report):
    _, text = report(warnings=["the embeddings have collapsed"])
    assert text.index("The embeddings have collapsed.") < text.index("What it was trained on")


@pytest.mark.parametrize(("num", "folded"), [(3, False), (6, True)])
def test_a_long_list_of_unreadable_files_is_folded(report, num, folded):
    _, text = report(
        unreadable={f"bad-{i}.jpg": "the file is empty" for i in range(num)},
        source_lines=["60 images in digits", "cannot be read:", "  bad-0.jpg: the file is empty"],
    )
    assert (f"The {num} files that could not be read</summary>" in text) == folded
    assert text.count("bad-0.jpg") == 1  # not in the summary's lines as well


def test_settings_and_environment_are_on_the_page(written):
    _, text = written
    cells = Elements(text).cells
    assert "convnet" in cells
    assert "0.6, 1" in cells  # crop scale
    assert "2" in cells  # torch's version, nested


@pytest.mark.parametrize("kind", ["flat", "noisy"])
def test_pictures_are_embedded_in_the_smaller_format(kind):
    pixels = np.zeros((64, 64, 3), dtype=np.uint8)
    if kind == "noisy":
        pixels = np.random.default_rng(0).integers(0, 256, pixels.shape, dtype=np.uint8)
    uri = picture_uri(Image.fromarray(pixels))
    head, _, data = uri.partition(",")
    assert head == f"data:image/{'png' if kind == 'flat' else 'jpeg'};base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == (64, 64)
