from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from quarterturn.copies.duplicate_groups import (
    CORRELATION,
    Copy,
    correlations,
    detail_agreement,
    duplicate_groups,
)
from quarterturn.copies.picture_signatures import oriented, picture_signatures
from tests.fixtures.photos import smooth

SIDE = 32


def picture(number: int) -> np.ndarray:
    return np.asarray(smooth(number, SIDE))


def noisy(pixels: np.ndarray, rng: np.random.Generator, sigma: float = 2) -> np.ndarray:
    return np.clip(pixels + rng.normal(0, sigma, pixels.shape), 0, 255).astype(np.uint8)


def groups_of(
    pixels: list[np.ndarray], keys: list[bytes] | None = None, order: list[int] | None = None
) -> list[list[Copy]]:
    """Groups of images of which none has the same bytes as another, unless keys say so."""
    numbers = range(len(pixels))
    return duplicate_groups(
        np.stack(pixels),
        keys or [str(number).encode() for number in numbers],
        np.array(order if order is not None else list(numbers)),
    )


def places(groups: list[list[Copy]]) -> list[list[int]]:
    return [[copy.place for copy in group] for group in groups]


@pytest.mark.parametrize("column", range(8))
def test_kind_and_angle_of_each_orientation(column: int) -> None:
    first = picture(1)
    [[_, copy]] = groups_of([first, np.array(oriented(first, column)), picture(2)])
    kind = "mirrored" if column >= 4 else "turned" if column else "near"
    assert (copy.place, copy.kind, copy.angle) == (1, kind, 90 * (column % 4))
    assert copy.score == pytest.approx(1, abs=1e-5)


def test_signatures_are_the_same_in_all_orientations() -> None:
    copies = np.stack([oriented(picture(1), column) for column in range(8)])
    signatures = picture_signatures(copies)
    assert np.abs(signatures - signatures[0]).max() < 1e-5
    assert np.linalg.norm(signatures, axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("sigma", [0, 3, 10, 30, 60])
def test_no_pair_correlates_more_than_its_signatures(
    sigma: float, rng: np.random.Generator
) -> None:
    first = picture(1)
    others = [np.array(oriented(noisy(first, rng, sigma), column)) for column in range(8)]
    others += [picture(number) for number in range(2, 40)]
    best = correlations(first, np.stack(others)).max(axis=1)
    signatures = picture_signatures(np.stack([first, *others]))
    assert (signatures[1:] @ signatures[0] >= best - 1e-5).all()
    # They would be of little use if nearly all pairs had to be looked at.
    assert (signatures[9:] @ signatures[0] < CORRELATION).mean() > 0.9


def test_equal_bytes_are_exact_copies_whatever_the_pixels_say() -> None:
    [group] = groups_of([picture(1), picture(2), picture(3)], [b"a", b"b", b"a"])
    assert group == [Copy(0), Copy(2, "exact")]


def test_exact_copies_of_copies_are_exact(rng: np.random.Generator) -> None:
    near = noisy(picture(1), rng)
    [group] = groups_of([picture(1), near, picture(1), near], [b"a", b"b", b"a", b"b"])
    assert [(copy.place, copy.kind) for copy in group] == [
        (0, ""),
        (2, "exact"),
        (1, "near"),
        (3, "exact"),
    ]


def test_larger_groups_come_first_then_the_surest(rng: np.random.Generator) -> None:
    one, two, three = picture(1), picture(2), picture(3)
    pixels = [three, one, two, noisy(one, rng), np.rot90(two), noisy(three, rng), noisy(three, rng)]
    assert places(groups_of(pixels)) == [[0, 5, 6], [2, 4], [1, 3]]


def test_first_of_a_group_is_the_one_to_keep(rng: np.random.Generator) -> None:
    pixels = [picture(1), noisy(picture(1), rng), noisy(picture(1), rng)]
    [group] = groups_of(pixels, order=[2, 0, 1])
    assert [copy.place for copy in group] == [2, 0, 1]


def test_a_chain_is_cut_where_its_ends_differ() -> None:
    """A burst: each photo is like the next, and the ends are unlike."""
    start, end = picture(1).astype(float), picture(2).astype(float)
    burst = [(start + (end - start) * step).astype(np.uint8) for step in np.linspace(0, 1, 12)]
    groups = groups_of(burst)
    assert len(groups) > 1
    found = np.stack(burst)
    for first, *others in places(groups):
        best = correlations(found[first], found[others]).max(axis=1)
        assert (best >= CORRELATION).all()
    listed = [place for group in places(groups) for place in group]
    assert len(listed) == len(set(listed))


def test_blank_pictures_are_copies_by_their_bytes_only() -> None:
    blank = [np.full((SIDE, SIDE, 3), value, np.uint8) for value in (0, 5, 0, 255)]
    assert groups_of([*blank, picture(1)]) == []
    [group] = groups_of([*blank, picture(1)], [b"a", b"b", b"a", b"c", b"d"])
    assert group == [Copy(0), Copy(2, "exact")]


def test_blank_pages_with_a_little_noise_are_no_copies(rng: np.random.Generator) -> None:
    shade = np.linspace(245, 254, SIDE)[:, None, None] * np.ones((1, SIDE, 3))
    pages = [noisy(shade, rng, 0.4) for _ in range(6)]
    assert correlations(pages[0], np.stack(pages[1:])).max() > CORRELATION
    assert groups_of(pages) == []


def test_films_between_black_bars_are_no_copies(rng: np.random.Generator) -> None:
    films = []
    for _ in range(8):
        film = np.zeros((SIDE, SIDE, 3), np.uint8)
        film[6:-6] = rng.normal(150, 14, (SIDE - 12, SIDE, 3))
        films.append(film)
    assert correlations(films[0], np.stack(films[1:])).max() > CORRELATION
    assert groups_of(films) == []
    # And yet a copy of one of them is found.
    assert places(groups_of([*films, np.rot90(films[3])])) == [[3, 8]]


def test_things_before_a_blue_sky_are_no_copies() -> None:
    def bird(x: int, y: int) -> np.ndarray:
        sky = Image.linear_gradient("L").resize((256, 256))
        image = Image.merge("RGB", [sky, sky, Image.new("L", sky.size, 230)])
        ImageDraw.Draw(image).polygon([(x, y), (x + 22, y + 4), (x + 6, y + 16)], fill="black")
        return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))

    birds = [bird(100, 90), bird(150, 130), bird(60, 160)]
    assert correlations(birds[0], np.stack(birds[1:])).max() > CORRELATION
    assert groups_of(birds) == []


def test_agreement_of_a_copy_and_of_another_picture(rng: np.random.Generator) -> None:
    other = np.stack([picture(1), noisy(picture(1), rng, 3), picture(2)])
    same, near, another = detail_agreement(picture(1), other)
    assert same == pytest.approx(1)
    assert near > 0.8
    assert another < 0.3
    flat = np.full((SIDE, SIDE, 3), 7, np.uint8)
    assert detail_agreement(flat, flat[None]) == 0


def test_no_duplicates() -> None:
    assert groups_of([picture(number) for number in range(12)]) == []


def test_thousands_of_copies_of_one_are_one_group(rng: np.random.Generator) -> None:
    """Each is compared with the first only: pairs of them would be a million."""
    pixels = [noisy(picture(1), rng, 2) for _ in range(1500)]
    [group] = groups_of([*pixels, picture(2)])
    assert len(group) == 1500
