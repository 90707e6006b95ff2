import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import crop, hflip, pad

from quarterturn.data.crops import Crops, crop_batch, crop_file_image, shrink_for
from quarterturn.data.image_file import read_image

from .drawn_crops import centre_crops, many
from .pictures import noise, photo, save


def triangle_resampled(image: np.ndarray, box: list[float], flip: bool, side: int) -> np.ndarray:
    """Antialiased bilinear resampling, by the definition: (H, W, 3) to (side, side, 3)."""

    def weights(start: float, length: float, size: int) -> list[list[float]]:
        scale = length / side
        rows = []
        for i in range(side):
            centre = start + (i + 0.5) * scale
            row = [max(0.0, 1 - abs(p + 0.5 - centre) / max(scale, 1.0)) for p in range(size)]
            rows.append([w / sum(row) for w in row])
        return rows

    top, left, height, width = box
    vertical = weights(top, height, image.shape[0])
    horizontal = weights(left, width, image.shape[1])
    result = np.zeros((side, side, 3))
    for y in range(side):
        for x in range(side):
            for row, wy in enumerate(vertical[y]):
                for column, wx in enumerate(horizontal[x]):
                    if wy * wx > 0:
                        result[y, x] += wy * wx * image[row, column]
    return result[:, ::-1] if flip else result


BOXES = {
    "down-scaled": [3, 5, 33, 40],
    "up-scaled": [10, 12, 7, 5],
    "as it is": [4, 9, 12, 12],
    "whole image": [0, 0, 40, 52],
    "up and down": [30, 0, 8, 52],
    "one pixel": [39, 51, 1, 1],
}


class TestAppliers:
    @pytest.mark.parametrize("flip", [False, True])
    @pytest.mark.parametrize("box", BOXES.values(), ids=BOXES.keys())
    def test_device_applier_is_the_triangle_filter(self, box, flip):
        image = noise(3, 40, 52, 3)
        crops = Crops(torch.tensor([box], dtype=torch.float64), torch.tensor([flip]))
        found = crop_batch(torch.from_numpy(image)[None], crops, 12)
        assert found.dtype == torch.float32
        expected = triangle_resampled(image, box, flip, 12)
        np.testing.assert_allclose(found[0].permute(1, 2, 0), expected, rtol=0, atol=2e-3)

    @pytest.mark.parametrize("side", [8, 24, 96])
    @pytest.mark.parametrize("flip", [False, True])
    def test_worker_and_device_agree_to_a_grey_level(self, side, flip):
        n = 40
        images = noise(4, n, 40, 52, 3)
        drawn = many(40, 52, n, scale=(0.02, 1.0), ratio=(0.4, 2.5), seed=side)
        boxes = drawn.boxes
        boxes[: len(BOXES)] = torch.tensor(list(BOXES.values()))
        crops = Crops(boxes, torch.full((n,), flip))
        on_device = crop_batch(torch.from_numpy(images), crops, side)
        for i in range(n):
            by_worker = crop_file_image(
                Image.fromarray(images[i]), (40, 52), crops.boxes[i], flip, side
            )
            assert by_worker.dtype == torch.uint8
            assert by_worker.shape == (3, side, side)
            # Pillow rounds twice, after the columns and after the rows.
            assert (by_worker.float() - on_device[i]).abs().max() <= 1.01

    def test_each_image_has_its_own_box_and_flip(self):
        images = torch.from_numpy(noise(5, 3, 20, 20, 3))
        crops = Crops(
            torch.tensor([[0, 0, 8, 8], [12, 4, 8, 8], [5, 12, 8, 8]], dtype=torch.float64),
            torch.tensor([False, True, False]),
        )
        found = crop_batch(images, crops, 8).permute(0, 2, 3, 1)
        torch.testing.assert_close(found[0], images[0, :8, :8].float())
        torch.testing.assert_close(found[1], images[1, 12:, 4:12].flip(1).float())
        torch.testing.assert_close(found[2], images[2, 5:13, 12:].float())

    def test_reduced_decoding_gives_nearly_the_same_crop(self, tmp_path):
        side, size = 32, (404, 590)  # not multiples of 8
        path = save(tmp_path / "x.jpg", photo(6, *size), quality=95)
        whole = read_image(path)
        drawn = many(*size, 20, scale=(0.3, 1.0)).boxes
        reduced = 0
        for box in drawn:
            shrink = shrink_for(box, side)
            small = read_image(path, shrink)
            reduced += small.width < whole.width
            full = crop_file_image(whole, size, box, False, side).float()
            quick = crop_file_image(small, size, box, False, side).float()
            assert (full - quick).abs().mean() < 0.8  # a shift of half a pixel makes 1.5
            assert (full - quick).abs().max() < 6
        assert reduced == len(drawn)

    def test_shrink_leaves_the_box_enough_pixels(self):
        assert shrink_for(torch.tensor([0.0, 0.0, 300.0, 200.0]), 50) == 4
        assert shrink_for(torch.tensor([0.0, 0.0, 30.0, 200.0]), 50) == 1


def padded_and_cropped(
    image: Image.Image, side: int, padding: int, down: int, right: int, flip: bool
) -> np.ndarray:
    """What torchvision makes of an image's centre square, resized: padded, and cropped back."""
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    square = image.resize(
        (side, side), Image.Resampling.BILINEAR, box=(left, top, left + short, top + short)
    )
    shown = crop(pad(square, [padding] * 4), padding + down, padding + right, side, side)
    return np.asarray(hflip(shown) if flip else shown)


class TestPadded:
    PADDING = 4
    PLACES = ((0, 0), (4, 4), (-4, -4), (4, -4), (-3, 2), (0, -1), (1, 0))

    @pytest.mark.parametrize("flip", [False, True])
    def test_images_of_the_crops_size_are_torchvisions_to_the_bit(self, flip):
        n, side = len(self.PLACES), 16
        images = noise(8, n, side, side, 3)
        boxes = centre_crops(torch.tensor([[side, side]] * n), 1.0).boxes
        crops = Crops(boxes, torch.full((n,), flip), torch.tensor(self.PLACES))
        on_device = crop_batch(torch.from_numpy(images), crops, side)
        for i, (down, right) in enumerate(self.PLACES):
            image = Image.fromarray(images[i])
            expected = padded_and_cropped(image, side, self.PADDING, down, right, flip)
            by_worker = crop_file_image(image, (side, side), boxes[i], flip, side, (down, right))
            np.testing.assert_array_equal(by_worker.permute(1, 2, 0).numpy(), expected)
            np.testing.assert_allclose(on_device[i].permute(1, 2, 0), expected, rtol=0, atol=1e-3)
            dark = (expected == 0).all(axis=2).sum()
            assert dark >= side * side - (side - abs(down)) * (side - abs(right))

    @pytest.mark.parametrize("size", [(40, 52), (52, 40), (11, 11), (33, 33)])
    def test_others_are_resized_before(self, size):
        side = 16
        image = noise(9, *size, 3)
        box = centre_crops(torch.tensor([size]), 1.0).boxes[0]
        for down, right in self.PLACES:
            for flip in (False, True):
                pil = Image.fromarray(image)
                expected = padded_and_cropped(pil, side, self.PADDING, down, right, flip)
                by_worker = crop_file_image(pil, size, box, flip, side, (down, right))
                np.testing.assert_array_equal(by_worker.permute(1, 2, 0).numpy(), expected)
                crops = Crops(box[None], torch.tensor([flip]), torch.tensor([[down, right]]))
                on_device = crop_batch(torch.from_numpy(image)[None], crops, side)[0]
                # Pillow rounds twice, after the columns and after the rows.
                assert np.abs(on_device.permute(1, 2, 0).numpy() - expected).max() <= 1.01

    def test_each_image_has_its_own_place(self):
        images = torch.from_numpy(noise(10, 3, 8, 8, 3))
        crops = Crops(
            centre_crops(torch.tensor([[8, 8]] * 3), 1.0).boxes,
            torch.tensor([False, True, False]),
            torch.tensor([[0, 0], [0, 3], [-8, 0]]),
        )
        found = crop_batch(images, crops, 8).permute(0, 2, 3, 1)
        torch.testing.assert_close(found[0], images[0].float())
        torch.testing.assert_close(found[1, :, 3:], images[1, :, 3:].flip(1).float())
        assert not found[1, :, :3].any()  # mirrored after it was moved: the black is on the left
        assert not found[2].any()  # moved out of sight


class TestWithoutAntialiasing:
    """Interpolated between the nearest pixels, whatever the scale."""

    @pytest.mark.parametrize("box", [[3.4, 5.2, 30.7, 30.7], [0, 0, 40, 52], [10, 10, 7, 7]])
    @pytest.mark.parametrize("flip", [False, True])
    def test_worker_and_device_agree_to_a_grey_level(self, box, flip):
        image = photo(3)
        file = crop_file_image(
            Image.fromarray(image), image.shape[:2], box, flip, 16, antialias=False
        )
        crops = Crops(torch.tensor([box]).double(), torch.tensor([flip]), antialias=False)
        device = crop_batch(torch.from_numpy(image.copy())[None], crops, 16)[0]
        assert (file.float() - device).abs().max() <= 1

    def test_a_whole_image_is_torchs_bilinear(self):
        image = torch.from_numpy(noise(1, 40, 52, 3))
        crops = Crops(
            torch.tensor([[0.0, 0, 40, 52]]).double(), torch.tensor([False]), antialias=False
        )
        expected = torch.nn.functional.interpolate(
            image.permute(2, 0, 1)[None].float(), (16, 16), mode="bilinear", antialias=False
        )
        torch.testing.assert_close(
            crop_batch(image[None], crops, 16), expected, rtol=1e-4, atol=1e-2
        )
