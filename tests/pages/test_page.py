import base64
import html
import io

import numpy as np
import pytest
from PIL import Image

from quarterturn.pages.page import (
    ComparisonPage,
    ImagesSection,
    Page,
    ResultsSection,
    TrainingSection,
    explained,
    render,
    write_page,
)
from quarterturn.pages.tables import Table
from quarterturn.runs.pictures import (
    AlikePair,
    CollectionPictures,
    Kind,
    Picture,
    RareImage,
    compressed,
)

from .elements import Elements

HOSTILE = "<script>alert(1)</script>.png"
ONE = Picture(0, HOSTILE, "collection-0.png")


def test_words_of_users_are_escaped_everywhere():
    table = Table(HOSTILE, [HOSTILE], [[HOSTILE]], note=HOSTILE)
    text = render(
        Page(
            HOSTILE,
            summary=[HOSTILE],
            warnings=[HOSTILE],
            images=ImagesSection(
                facts=[HOSTILE],
                unreadable={HOSTILE: HOSTILE},
                collection=CollectionPictures(
                    1, 1, (Kind(1, (ONE,)),), (RareImage(ONE, 0.5),), (AlikePair(ONE, ONE, 0.5),)
                ),
            ),
            results=ResultsSection(tables=[table]),
            training=TrainingSection(command=HOSTILE, environment={HOSTILE: HOSTILE}),
        )
    )
    assert "<script" not in text
    assert text.count(html.escape(HOSTILE)) > 20
    assert not Elements(text).all("script")


def test_a_name_with_quotes_stays_within_its_attribute():
    picture = Picture(0, 'x" onerror="alert(1)', "collection-0.png")
    found = CollectionPictures(1, 1, (Kind(1, (picture,)),), (), ())
    text = render(Page("t", images=ImagesSection(collection=found)))
    assert all("onerror" not in attributes for _, attributes in Elements(text).tags)


def test_a_name_that_is_not_unicode_is_shown(tmp_path):
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    path = tmp_path / "report.html"
    write_page(path, Page("t", images=ImagesSection(unreadable={name: "damaged"})))
    assert "caf?.jpg" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(("num", "folded"), [(3, False), (6, True)])
def test_a_long_list_of_unreadable_files_is_folded(num, folded):
    files = {f"bad-{i}.jpg": "the file is empty" for i in range(num)}
    text = render(Page("t", images=ImagesSection(unreadable=files)))
    assert (f"The {num} files that could not be read</summary>" in text) == folded
    assert text.count("bad-0.jpg") == 1


def test_a_long_table_is_folded():
    rows = [[f"class {i}", 0.5] for i in range(21)]
    for shown, folded in [(rows, True), (rows[:20], False)]:
        table = Table("By class", ["class", "accuracy"], shown)
        text = render(Page("t", results=ResultsSection(tables=[table])))
        assert ("<summary>By class (21 rows)</summary>" in text) == folded


def test_warnings_stand_before_everything_else():
    text = render(Page("t", warnings=["They have collapsed."], images=ImagesSection(["9 images"])))
    assert text.index("They have collapsed.") < text.index("9 images")


def test_absolute_paths_are_cut_wherever_they_stand():
    text = render(
        Page(
            "t",
            summary=["from /home/ann/my photos/cats,"],
            images=ImagesSection(facts=["9 images in /srv/data/cats (2 sub-folders)"]),
            training=TrainingSection(settings={"noise": {"upright": "/srv/runs/up/upright.npz"}}),
        ),
        known=["/home/ann/my photos/cats"],
    )
    assert "from cats," in text
    assert "9 images in cats (2 sub-folders)" in text
    assert "<td>upright.npz</td>" in text
    assert "/srv" not in text
    assert "/home" not in text


def test_a_picture_whose_file_is_gone_leaves_its_name(tmp_path):
    found = CollectionPictures(1, 1, (Kind(1, (Picture(0, "a.jpg", "gone.png"),)),), (), ())
    page = Elements(render(Page("t", images=ImagesSection(collection=found)), tmp_path))
    assert [(a["src"], a["alt"]) for a in page.all("img")] == [("data:,", "a.jpg")]


def test_a_picture_is_never_read_from_another_folder(tmp_path):
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "pictures").mkdir()
    found = CollectionPictures(1, 1, (Kind(1, (Picture(0, "a", "../secret.png"),)),), (), ())
    text = render(Page("t", images=ImagesSection(collection=found)), tmp_path / "pictures")
    assert base64.b64encode(b"secret").decode() not in text


def test_words_of_the_field_are_explained_and_others_not():
    assert 'title="Each test image takes the class' in explained("knn-20 turned")
    assert 'tabindex="0"' in explained("balanced")
    assert explained("<b>") == "&lt;b&gt;"


def test_a_comparison_has_its_tables_and_notes():
    table = Table("Scores", ["runs", "knn-20"], [["ours", "93.1 ± 0.2"]])
    page = ComparisonPage("2 runs", "2026-11-30", ["Side by side."], [table], [], notes=["left"])
    text = render(page)
    assert "quarterturn comparison" in text
    assert Elements(text).cells == ["ours", "93.1 ± 0.2"]
    assert "<p>left</p>" in text


@pytest.mark.parametrize(("kind", "suffix"), [("flat", ".png"), ("noisy", ".jpg")])
def test_pictures_are_stored_in_the_smaller_format(kind, suffix):
    pixels = np.zeros((64, 64, 3), dtype=np.uint8)
    if kind == "noisy":
        pixels = np.random.default_rng(0).integers(0, 256, pixels.shape, dtype=np.uint8)
    contents, found = compressed(Image.fromarray(pixels))
    assert found == suffix
    with Image.open(io.BytesIO(contents)) as image:
        assert image.size == (64, 64)
