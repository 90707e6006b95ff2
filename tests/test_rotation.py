import numpy as np
import pytest
import torch

from quarterturn.rotation import rotate4, rotate_each


def test_first_quarter_turn_is_counter_clockwise():
    image = torch.tensor([[1, 2], [3, 4]])[None, None]
    copies = rotate4(image)[0, :, 0]
    assert copies.tolist() == [
        [[1, 2], [3, 4]],
        [[2, 4], [1, 3]],
        [[4, 3], [2, 1]],
        [[3, 1], [4, 2]],
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.uint8])
def test_rotate4_is_rot90_of_torch_and_of_numpy(dtype):
    images = (torch.rand(3, 2, 5, 5) * 255).to(dtype)
    copies = rotate4(images)
    assert copies.shape == (3, 4, 2, 5, 5)
    assert copies.dtype == dtype
    for k in range(4):
        assert torch.equal(copies[:, k], torch.rot90(images, k, (-2, -1)))
        for b in range(3):
            for c in range(2):
                plain = np.rot90(images[b, c].double().numpy(), k)
                assert np.array_equal(copies[b, k, c].double().numpy(), plain)


def test_four_turns_are_the_identity_and_two_commute():
    images = torch.rand(2, 3, 6, 6)
    turned = images
    for k in range(4):
        assert torch.equal(turned, rotate4(images)[:, k])
        turned = rotate4(turned)[:, 1]
    assert torch.equal(turned, images)
    assert torch.equal(rotate4(rotate4(images)[:, 3])[:, 3], rotate4(images)[:, 2])


def test_channels_last_images_turn_alike():
    images = torch.rand(2, 3, 6, 6)
    assert torch.equal(rotate4(images.to(memory_format=torch.channels_last)), rotate4(images))


def test_gradient_comes_back_from_every_copy():
    images = torch.rand(1, 1, 3, 3, requires_grad=True)
    weights = torch.rand(1, 4, 1, 3, 3)
    (rotate4(images) * weights).sum().backward()
    # Undoing each turn brings the weights back to the pixel they multiplied.
    undone = sum(np.rot90(weights[0, k, 0].numpy(), -k) for k in range(4))
    np.testing.assert_allclose(images.grad[0, 0].numpy(), undone, rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 4, 4), (1, 2, 3, 4, 4)])
def test_rotate4_refuses_what_is_no_batch_of_squares(shape):
    with pytest.raises(ValueError, match="square") as caught:
        rotate4(torch.zeros(shape))
    assert str(shape) in str(caught.value)


def test_rotate_each_turns_image_by_image():
    images = torch.rand(9, 3, 4, 4)
    turns = torch.tensor([0, 1, 2, 3, 4, 7, -1, -2, 1])
    before = images.clone()
    turned = rotate_each(images, turns)
    for image, k, result in zip(images, turns.tolist(), turned, strict=True):
        assert np.array_equal(result.numpy(), np.rot90(image.numpy(), k, (-2, -1)))
    assert torch.equal(images, before)
    assert torch.equal(rotate_each(turned, -turns), images)
