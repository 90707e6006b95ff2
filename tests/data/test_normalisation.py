import gc

import pytest
import torch

from quarterturn.config import DataConfig
from quarterturn.data.normalisation import MOST_FREE, Normalise, ReusedMemory

CROP = DataConfig()


@pytest.mark.parametrize("shape", [(5, 3, 8, 8), (3, 3, 250, 250), (0, 3, 8, 8)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_normalised_as_written_to_the_bit(shape, dtype):
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8).to(dtype)
    mean, std = (torch.tensor(values)[:, None, None] * 255 for values in (CROP.mean, CROP.std))
    found = Normalise(CROP, torch.device("cpu"))(pixels)
    assert found.dtype == torch.float32
    assert torch.equal(found, (pixels.float() - mean) / std)


def test_memory_is_used_again_once_nobody_holds_it():
    memory = ReusedMemory()
    first = memory.empty((4, 5))
    place = first.data_ptr()
    assert memory.empty((4, 5)).data_ptr() != place  # `first` is still there
    del first
    assert memory.empty((2, 5)).data_ptr() == place


@pytest.mark.parametrize(
    "share",
    [
        lambda values: values[1:, 2:],
        lambda values: values.detach().flatten(),
        lambda values: values.numpy(),
        lambda values: (values * torch.ones(6, requires_grad=True)).sum(),
    ],
    ids=["view", "detached", "array", "graph"],
)
def test_memory_that_anything_shares_is_left(share):
    memory = ReusedMemory()
    values = memory.empty((3, 6))
    place, kept = values.data_ptr(), share(values)
    del values
    assert memory.empty((3, 6)).data_ptr() != place
    del kept
    gc.collect()
    assert place in {memory.empty((3, 6)).data_ptr() for _ in range(MOST_FREE)}


def test_only_few_free_blocks_are_kept():
    memory = ReusedMemory()
    held = [memory.empty((10,)) for _ in range(9)]
    del held
    assert len(memory._free) == MOST_FREE


def test_batches_that_are_kept_do_not_change():
    normalise = Normalise(CROP, torch.device("cpu"))
    pixels = [torch.full((2, 3, 4, 4), value, dtype=torch.uint8) for value in range(6)]
    kept = [normalise(each) for each in pixels]
    again = [normalise(each).clone() for each in pixels]
    assert all(torch.equal(one, other) for one, other in zip(kept, again, strict=True))
    assert len({one.data_ptr() for one in kept}) == 6
