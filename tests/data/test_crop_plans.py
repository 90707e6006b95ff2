import hashlib
import math

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, RandomCrop, RandomResizedCrop, Resize
from torchvision.transforms.functional import center_crop

from quarterturn.config import DataConfig
from quarterturn.data import crop_plans
from quarterturn.data.crops import Crops, crop_file_image

from .drawn_crops import (
    RATIO,
    SCALE,
    centre_crops,
    draw,
    draw_shifts,
    draw_squares,
    many,
    placed_crops,
)
from .pictures import noise, photo


def furthest_apart(a: np.ndarray, b: np.ndarray) -> float:
    """Kolmogorov and Smirnov's distance: the largest gap between two empirical distributions."""
    values = np.concatenate([a, b])
    below = [np.searchsorted(np.sort(x), values, side="right") / len(x) for x in (a, b)]
    return float(np.abs(below[0] - below[1]).max())


class TestDraws:
    def test_do_not_depend_on_the_batch(self):
        sizes = torch.from_numpy(noise(0, 50, 2).astype(np.int64) + 20)
        indices = torch.randperm(500, generator=torch.Generator().manual_seed(0))[:50]
        all_at_once = draw(sizes, indices, seed=3, epoch=2)
        order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
        shuffled = draw(sizes[order], indices[order], seed=3, epoch=2)
        torch.testing.assert_close(shuffled.boxes, all_at_once.boxes[order], rtol=0, atol=0)
        assert torch.equal(shuffled.flips, all_at_once.flips[order])
        for i in range(50):
            alone = draw(sizes[i : i + 1], indices[i : i + 1], seed=3, epoch=2)
            assert torch.equal(alone.boxes[0], all_at_once.boxes[i])
            assert alone.flips[0] == all_at_once.flips[i]

    @pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}])
    def test_change_with_seed_and_epoch(self, other):
        one, two = many(100, 120, 200), many(100, 120, 200, **other)
        assert (one.boxes != two.boxes).any(dim=1).float().mean() > 0.99
        assert 0.3 < (one.flips != two.flips).float().mean() < 0.7

    @pytest.mark.parametrize(
        ("height", "width", "scale"),
        [(100, 140, (0.2, 1.0)), (300, 90, (0.08, 0.6)), (9, 8, SCALE)],
    )
    def test_lie_inside_at_whole_pixels(self, height, width, scale):
        boxes = many(height, width, 2000, scale=scale).boxes
        top, left, box_h, box_w = boxes.unbind(dim=1)
        assert torch.equal(boxes, boxes.round())
        assert min(top.min(), left.min()) >= 0
        assert min(box_h.min(), box_w.min()) >= 1
        assert (top + box_h).max() == height  # the last row is reached, and no more
        assert (left + box_w).max() == width

    @pytest.mark.parametrize(
        ("height", "width", "scale", "ratio"),
        [
            (100, 140, (0.2, 1.0), RATIO),
            (224, 224, (0.08, 1.0), RATIO),
            (300, 120, (0.3, 0.9), (0.5, 1.5)),  # many attempts do not fit
        ],
    )
    def test_are_distributed_as_torchvisions(self, height, width, scale, ratio):
        n = 4000
        boxes = many(height, width, n, scale=scale, ratio=ratio, seed=5).boxes.numpy()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            image = torch.empty(1, height, width)
            theirs = np.array(
                [RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(n)]
            )

        def measures(b: np.ndarray) -> dict[str, np.ndarray]:
            top, left, box_h, box_w = b.T
            return {
                "area": box_h * box_w / (height * width),
                "log ratio": np.log(box_w / box_h),
                "top": top / height,
                "left": left / width,
            }

        ours, reference = measures(boxes), measures(theirs)
        for name, values in ours.items():
            # Two samples of one distribution are further apart than this once in 1,000 times.
            assert furthest_apart(values, reference[name]) < 1.95 * math.sqrt(2 / n), name
        assert ours["area"].min() > scale[0] * 0.97
        assert ours["area"].max() < scale[1] * 1.03

    def test_half_are_flipped(self):
        flips = many(50, 50, 4000).flips
        assert abs(flips.float().mean() - 0.5) < 4 * 0.5 / math.sqrt(4000)
        assert not many(50, 50, 4000, flip=False).flips.any()

    def test_draws_are_independent_of_each_other(self):
        crops = many(100, 100, 4000)
        top, left, box_h, box_w = crops.boxes.numpy().T
        drawn = [
            (top + 0.5) / (101 - box_h),
            (left + 0.5) / (101 - box_w),
            box_h * box_w,
            np.log(box_w / box_h),
            crops.flips.numpy(),
        ]
        correlations = np.corrcoef(np.stack(drawn)) - np.eye(len(drawn))
        assert np.abs(correlations).max() < 4 / math.sqrt(4000)

    @pytest.mark.parametrize(
        ("height", "width", "expected"),
        [
            (10, 1000, (0, 493, 10, 13)),  # as wide as 4 : 3 allows
            (1000, 10, (493, 0, 13, 10)),
            (100, 100, (0, 0, 100, 100)),  # the whole image has an allowed ratio
            (1, 100, (0, 49, 1, 1)),
        ],
    )
    def test_centre_where_nothing_fits(self, height, width, expected):
        # The whole area at a ratio that is hardly ever the image's own.
        boxes = many(height, width, 50, scale=(1.0, 1.0)).boxes
        fitted = (boxes[:, 2] * boxes[:, 3]) > 0.98 * height * width
        centred = boxes[~fitted] if height != width else boxes
        assert len(centred) > 45
        assert (centred == torch.tensor(expected)).all(dim=1).float().mean() > 0.8
        if height != width:
            theirs = RandomResizedCrop.get_params(
                torch.empty(1, height, width), [1.0, 1.0], list(RATIO)
            )
            assert tuple(theirs) == expected
            assert (centred == torch.tensor(expected)).all()


class TestCentre:
    @pytest.mark.parametrize(
        "size", [(256, 300), (480, 640), (333, 500), (1000, 700), (97, 61), (256, 256)]
    )
    def test_is_the_usual_resize_and_crop(self, size):
        height, width = size
        box = centre_crops(torch.tensor([size]), 0.875).boxes[0]
        # torchvision's: the short side to 256, then 224 around the centre; in original pixels.
        factor = min(size) / 256
        resized = [int(256 * side / min(size)) for side in size]
        expected = [round((side - 224) / 2) * factor for side in resized] + [224 * factor] * 2
        assert (box - torch.tensor(expected)).abs().max() <= max(1.0, factor)
        assert box[2] == box[3]
        assert box[0] + box[2] <= height
        assert box[1] + box[3] <= width

    def test_pixels_are_those_of_torchvision(self):
        pixels = noise(1, 256, 300, 3)
        image = Image.fromarray(pixels)
        expected = np.asarray(CenterCrop(224)(Resize(256)(image)))
        crops = centre_crops(torch.tensor([[256, 300]]), 0.875)
        ours = crop_file_image(image, (256, 300), crops.boxes[0], False, 224)
        np.testing.assert_array_equal(ours.permute(1, 2, 0).numpy(), expected)
        assert not crops.flips.any()

    def test_scaled_pixels_are_nearly_torchvisions(self):
        image = Image.fromarray(photo(2, 512, 700))
        expected = np.asarray(CenterCrop(224)(Resize(256)(image)), float)
        crops = centre_crops(torch.tensor([[512, 700]]), 0.875)
        ours = crop_file_image(image, (512, 700), crops.boxes[0], False, 224)
        assert np.abs(ours.permute(1, 2, 0).numpy() - expected).max() <= 2

    def test_whole_short_side(self):
        boxes = centre_crops(torch.tensor([[30, 50], [51, 30], [1, 9]]), 1.0).boxes
        assert boxes.tolist() == [[0, 10, 30, 30], [10, 0, 30, 30], [0, 4, 1, 1]]


class TestPlaced:
    @pytest.mark.parametrize(
        ("down", "right", "corner"),
        [
            (0.0, 0.0, (0, 0)),
            (0.0, 1.0, (0, 15)),
            (1.0, 0.0, (5, 0)),
            (1.0, 1.0, (5, 15)),
            (0.5, 0.5, (2, 7)),  # whole pixels, the first of the middle two
            (0.25, 0.75, (1, 11)),
        ],
    )
    def test_lie_at_the_given_place(self, down, right, corner):
        sizes = torch.tensor([[20, 30], [30, 20]])
        crops = placed_crops(sizes, 0.75, down, right)
        assert crops.boxes[0].tolist() == [*corner, 15, 15]
        other = placed_crops(sizes.flip(1), 0.75, right, down).boxes[0]
        assert other.tolist() == [corner[1], corner[0], 15, 15]
        assert crops.shifts is None

    @pytest.mark.parametrize("flip", [False, True])
    def test_all_are_mirrored_or_none(self, flip):
        crops = placed_crops(torch.tensor([[20, 30]] * 3), 0.75, 0.0, 1.0, flip=flip)
        assert crops.flips.tolist() == [flip] * 3
        assert crops.flips.dtype == torch.bool

    def test_the_centre_is_the_default(self):
        sizes = torch.from_numpy(noise(7, 50, 2).astype(np.int64) + 3)
        for fraction in (0.3, 0.875, 1.0):
            placed, centred = placed_crops(sizes, fraction), centre_crops(sizes, fraction)
            assert torch.equal(placed.boxes, centred.boxes)
            assert torch.equal(placed.flips, centred.flips)

    def test_stay_inside_and_have_a_pixel(self):
        sizes = torch.from_numpy(noise(8, 200, 2).astype(np.int64) + 1)
        for down, right in [(0.0, 1.0), (1.0, 1.0), (1.0, 0.0)]:
            top, left, height, width = placed_crops(sizes, 0.1, down, right).boxes.unbind(dim=1)
            assert torch.equal(height, width)
            assert height.min() == 1
            assert min(top.min(), left.min()) >= 0
            assert bool((top + height <= sizes[:, 0]).all())
            assert bool((left + width <= sizes[:, 1]).all())


def shifts_of(n: int, **options) -> Crops:
    sizes = torch.tensor([[20, 20]]).repeat(n, 1)
    given = {"seed": 0, "epoch": 0, "padding": 4, "flip": True, **options}
    return draw_shifts(sizes, torch.arange(n), **given)


class TestShifts:
    @pytest.mark.parametrize("padding", [1, 4])
    def test_are_uniform_and_independent(self, padding):
        n, places = 20_000, 2 * padding + 1
        shifts = shifts_of(n, padding=padding).shifts
        assert shifts.shape == (n, 2)
        assert shifts.dtype == torch.int64
        assert (shifts.min().item(), shifts.max().item()) == (-padding, padding)
        down, right = (shifts + padding).unbind(dim=1)
        for expected, found in [
            (1 / places, torch.bincount(down, minlength=places)),
            (1 / places, torch.bincount(right, minlength=places)),
            (1 / places**2, torch.bincount(down * places + right, minlength=places**2)),
        ]:
            deviation = math.sqrt(expected * (1 - expected) / n)
            assert (found / n - expected).abs().max() < 4.5 * deviation

    def test_and_flips_know_nothing_of_each_other(self):
        crops = shifts_of(20_000)
        assert abs(crops.flips.float().mean() - 0.5) < 4 * 0.5 / math.sqrt(20_000)
        drawn = torch.cat([crops.shifts, crops.flips[:, None]], dim=1).numpy().T
        correlations = np.corrcoef(drawn) - np.eye(3)
        assert np.abs(correlations).max() < 4.5 / math.sqrt(20_000)
        assert not shifts_of(2000, flip=False).flips.any()

    def test_do_not_depend_on_the_batch(self):
        whole = shifts_of(50, seed=3, epoch=2)
        order = torch.randperm(50, generator=torch.Generator().manual_seed(1))
        sizes = torch.tensor([[20, 20]]).repeat(50, 1)
        options = {"seed": 3, "epoch": 2, "padding": 4, "flip": True}
        shuffled = draw_shifts(sizes, order, **options)
        assert torch.equal(shuffled.shifts, whole.shifts[order])
        assert torch.equal(shuffled.flips, whole.flips[order])
        for i in range(50):
            alone = draw_shifts(sizes[:1], torch.tensor([i]), **options)
            assert torch.equal(alone.shifts[0], whole.shifts[i])
            assert alone.flips[0] == whole.flips[i]

    @pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}])
    def test_change_with_seed_and_epoch(self, other):
        one, two = shifts_of(1000), shifts_of(1000, **other)
        # Of 81 places one is met again by chance.
        assert (one.shifts == two.shifts).all(dim=1).float().mean() < 0.05
        assert 0.4 < (one.flips != two.flips).float().mean() < 0.6

    def test_boxes_are_the_whole_centre_squares(self):
        sizes = torch.tensor([[20, 20], [30, 50], [51, 30]])
        crops = draw_shifts(sizes, torch.arange(3), seed=0, epoch=0, padding=4, flip=True)
        assert torch.equal(crops.boxes, centre_crops(sizes, 1.0).boxes)
        assert crops.boxes[2].tolist() == [10, 0, 30, 30]

    def test_random_resized_crops_have_none(self):
        crops = many(20, 20, 3)
        assert crops.shifts is None


def squares_of(height: int, width: int, n: int, **options) -> Crops:
    sizes = torch.tensor([[height, width]]).repeat(n, 1)
    given = {"seed": 0, "epoch": 0, "fraction": 0.875, "flip": True, **options}
    return draw_squares(sizes, torch.arange(n), **given)


class TestSquares:
    @pytest.mark.parametrize(
        ("size", "fraction", "side"),
        [((256, 256), 224 / 256, 224), ((40, 24), 0.875, 21), ((9, 30), 1.0, 9), ((5, 7), 0.01, 1)],
    )
    def test_are_of_one_size_inside_the_image(self, size, fraction, side):
        top, left, height, width = squares_of(*size, 2000, fraction=fraction).boxes.unbind(dim=1)
        assert set(height.tolist()) == set(width.tolist()) == {side}
        for places, room in [(top, size[0] - side), (left, size[1] - side)]:
            assert torch.equal(places, places.round())
            assert (places.min(), places.max()) == (0, room)  # from one end to the other

    def test_are_uniform_and_independent(self):
        n = 20_000
        crops = squares_of(16, 20, n, fraction=0.75)  # 12 px: 5 places down, 9 to the right
        top, left = (crops.boxes[:, i].long() for i in (0, 1))
        for share, found in [
            (1 / 5, torch.bincount(top, minlength=5)),
            (1 / 9, torch.bincount(left, minlength=9)),
            (1 / 45, torch.bincount(top * 9 + left, minlength=45)),
            (1 / 2, torch.bincount(crops.flips.long(), minlength=2)),
        ]:
            assert found.sum() == n
            assert len(found) == round(1 / share)
            deviation = math.sqrt(share * (1 - share) / n)
            assert (found / n - share).abs().max() < 4.5 * deviation
        drawn = torch.stack([top, left, crops.flips.long()]).numpy()
        assert np.abs(np.corrcoef(drawn) - np.eye(3)).max() < 4.5 / math.sqrt(n)
        assert not squares_of(16, 20, 2000, flip=False).flips.any()

    @pytest.mark.parametrize("size", [(256, 256), (256, 341)])
    def test_are_distributed_as_torchvisions(self, size):
        n = 4000
        boxes = squares_of(*size, n, fraction=224 / 256, seed=5).boxes.numpy()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            image = torch.empty(1, *size)
            theirs = np.array([RandomCrop.get_params(image, (224, 224)) for _ in range(n)])
        for i in range(2):
            assert furthest_apart(boxes[:, i], theirs[:, i]) < 1.95 * math.sqrt(2 / n)
        assert (boxes[:, 2:] == theirs[:, 2:]).all()

    def test_do_not_depend_on_the_batch(self):
        sizes = torch.from_numpy(noise(0, 50, 2).astype(np.int64) + 20)
        options = {"seed": 3, "epoch": 2, "fraction": 0.6, "flip": True}
        whole = draw_squares(sizes, torch.arange(50), **options)
        for i in range(50):
            alone = draw_squares(sizes[i : i + 1], torch.tensor([i]), **options)
            assert torch.equal(alone.boxes[0], whole.boxes[i])
            assert alone.flips[0] == whole.flips[i]

    @pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}])
    def test_change_with_seed_and_epoch(self, other):
        one, two = squares_of(256, 256, 1000), squares_of(256, 256, 1000, **other)
        assert (one.boxes == two.boxes).all(dim=1).float().mean() < 0.02
        assert 0.4 < (one.flips != two.flips).float().mean() < 0.6

    def test_the_whole_square_is_the_evaluations(self):
        sizes = torch.tensor([[30, 30], [17, 17]])
        found = draw_squares(sizes, torch.arange(2), seed=0, epoch=0, fraction=1.0, flip=False)
        assert torch.equal(found.boxes, centre_crops(sizes, 1.0).boxes)
        assert not found.flips.any()


def digest(crops: Crops) -> str:
    whole = [crops.boxes.long(), crops.flips, *([] if crops.shifts is None else [crops.shifts])]
    return hashlib.sha256(b"".join(part.numpy().tobytes() for part in whole)).hexdigest()[:16]


class TestPlans:
    @pytest.mark.parametrize(
        ("settings", "expected"),
        [
            ({}, ["91113de273006dc3", "f517c81e7a00a37f"]),
            (
                {"crop_scale": (0.05, 1.0), "crop_ratio": (0.4, 1.5)},
                ["c05813289821a445", "ab6089340b0179d4"],
            ),
            ({"crop_fraction": 0.6}, ["a3e68c2bf63fab07", "20d4babfa843461b"]),
            ({"crop_padding": 4}, ["c6423a613e607127", "9168595af69d1ebf"]),
        ],
    )
    def test_crops_of_a_seed_never_change(self, settings, expected):
        """Recorded when each worker still drew the crop of each image: resumed runs need these."""
        i = torch.arange(3000)
        sizes = torch.stack([1 + i * 7919 % 700, 1 + i * 104729 % 900], dim=1).numpy()
        crop = DataConfig(image_size=32, **settings)
        found = [
            digest(crop_plans.random_crops(3 * i + 1, epoch, crop=crop, seed=seed).crops(sizes))
            for epoch, seed in ((0, 0), (7, 3))
        ]
        assert found == expected

    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"crop_scale": (1.0, 1.0)},
            {"crop_ratio": (0.2, 5.0)},
            {"crop_fraction": 0.6},
            {"crop_padding": 4},
            {"fixed_crop": 200},
        ],
    )
    def test_the_box_of_one_image_is_that_of_many(self, settings):
        crop = DataConfig(image_size=32, **settings)
        n = 3000
        plan = crop_plans.random_crops(torch.arange(n), 1, crop=crop, seed=2)
        sizes = noise(3, n, 2).astype(np.int64) + 1
        whole = plan.crops(sizes)
        assert len(plan) == n
        found = [plan.boxes.box(i, tuple(size)) for i, size in enumerate(sizes.tolist())]
        assert found == [tuple(box) for box in whole.boxes.tolist()]
        shifts = torch.zeros(n, 2) if whole.shifts is None else whole.shifts
        assert [plan.shift(i) for i in range(n)] == [tuple(shift) for shift in shifts.tolist()]

    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"crop_fraction": 0.6},
            {"crop_padding": 4},
            {"crop_pixels": (0.5, 2.0)},
            {"fixed_crop": 20},
            None,
        ],
    )
    def test_a_part_has_the_crops_of_its_images(self, settings):
        draws, part = torch.arange(500), slice(100, 260)
        sizes = noise(3, 500, 2).astype(np.int64) + 40

        def drawn(draws):
            if settings is None:
                return crop_plans.squashed(len(draws))
            crop = DataConfig(image_size=32, **settings)
            return crop_plans.random_crops(draws, 1, crop=crop, seed=2)

        found = drawn(draws).of(part)
        assert len(found) == 160
        assert digest(found.crops(sizes[part])) == digest(drawn(draws[part]).crops(sizes[part]))

    @pytest.mark.parametrize("place", [(0.0, 1.0), (0.5, 0.5), (0.25, 0.75)])
    def test_the_place_in_one_image_is_that_in_many(self, place):
        sizes = noise(5, 500, 2).astype(np.int64) + 1
        plan = crop_plans.placed_crops(500, 0.7, *place)
        for chosen in (plan, crop_plans.CropPlan(crop_plans.WholeBoxes(500), plan.flips)):
            found = [chosen.boxes.box(i, tuple(size)) for i, size in enumerate(sizes.tolist())]
            assert found == [tuple(box) for box in chosen.crops(sizes).boxes.tolist()]


class TestFixedSquares:
    """Squares of a number of pixels, however large the image is."""

    CROP = DataConfig(image_size=32, fixed_crop=30, eval_crop=0.5)

    @pytest.mark.parametrize(
        ("size", "centre"),
        [
            ((30, 30), (0, 0, 30, 30)),
            ((40, 57), (5, 14, 30, 30)),  # room of 27: rounded to an even number, as torchvision's
            ((41, 33), (6, 2, 30, 30)),
            ((20, 35), (0, 8, 20, 20)),  # too small: the largest square
        ],
    )
    def test_are_where_torchvision_has_them(self, size, centre):
        plan = crop_plans.evaluation_crops(2, self.CROP)
        assert plan.boxes.box(1, size) == centre
        assert plan.boxes.within(np.array([size, size])).tolist() == [list(centre)] * 2
        image = torch.arange(size[0] * size[1]).view(1, *size)
        top, left, side, _ = centre
        if side == 30:
            expected = center_crop(image, 30)
            assert torch.equal(image[:, top : top + side, left : left + side], expected)

    def test_are_drawn_from_all_places_alike(self):
        plan = crop_plans.random_crops(torch.arange(4000), 0, crop=self.CROP, seed=0)
        boxes = plan.boxes.within(np.tile([34, 30], (4000, 1)))
        counts = np.bincount(boxes[:, 0].astype(int), minlength=5)
        assert len(counts) == 5  # 0 to 4 pixels down
        assert counts.min() > 700
        assert (boxes[:, 1] == 0).all()
        assert (boxes[:, 2:] == 30).all()
        assert 0.45 < plan.flips.mean() < 0.55


class TestScaledSquares:
    """Squares of a number of the image's pixels to a pixel of the result, as on VOC2007."""

    @pytest.mark.parametrize(
        ("size", "low", "high"),
        [
            ((375, 500), 112, 375),  # at 224 px from half a pixel to the whole short side
            ((600, 800), 112, 448),  # at most two
            ((100, 300), 100, 100),  # the image is too small for half a pixel
        ],
    )
    def test_sides_are_uniform_between_their_limits(self, size, low, high):
        plan = crop_plans.draw_scales(
            torch.arange(4000), seed=0, epoch=0, side=224, limits=(0.5, 2.0), flip=True
        )
        boxes = plan.boxes.within(np.tile(size, (4000, 1)))
        sides = boxes[:, 2]
        np.testing.assert_array_equal(boxes[:, 2], boxes[:, 3])
        assert sides.min() == pytest.approx(low, abs=0.2)
        assert sides.max() == pytest.approx(high, abs=0.2)
        assert sides.mean() == pytest.approx((low + high) / 2, abs=3)
        corner = boxes[:, :2]
        assert (corner >= 0).all()
        assert (corner + sides[:, None] <= np.array(size) + 1e-9).all()
        room = np.array(size) - sides[:, None]
        is_free = room > 1
        assert (corner[is_free] / room[is_free]).mean() == pytest.approx(0.5, abs=0.02)
        assert plan.flips.mean() == pytest.approx(0.5, abs=0.03)
        assert not plan.antialias
        assert plan.boxes.box(3, size) == tuple(boxes[3].tolist())

    def test_the_configuration_asks_for_them(self):
        crop = DataConfig(image_size=16, crop_pixels=(0.5, 2.0), flip=False)
        draws = torch.arange(5)
        plan = crop_plans.random_crops(draws, 2, crop=crop, seed=1)
        expected = crop_plans.draw_scales(
            draws, seed=1, epoch=2, side=16, limits=(0.5, 2.0), flip=False
        )
        sizes = np.tile([40, 50], (5, 1))
        np.testing.assert_array_equal(plan.boxes.within(sizes), expected.boxes.within(sizes))
        assert not plan.flips.any()
