import pytest
import torch

from quarterturn.config import DataConfig
from quarterturn.data.batches import TrainingBatches
from quarterturn.data.folder import index_folder
from quarterturn.data.header_index import HeaderIndex
from quarterturn.data.sampling import cyclic_order, epoch_order, image_chances, resampled_order

from .pictures import save_photo

COUNTS = torch.tensor([900, 90, 10])
LABELS = torch.arange(3).repeat_interleave(COUNTS)


def drawn_classes(rule, epochs=200):
    """Share of each class's draws, over some epochs."""
    chances = image_chances(LABELS, COUNTS, rule, beta=0.99)
    draws = torch.cat([resampled_order(chances, 5, epoch) % 1000 for epoch in range(epochs)])
    return (torch.bincount(LABELS[draws], minlength=3) / len(draws)).tolist()


@pytest.fixture
def few_files(tmp_path):
    for seed in range(12):
        save_photo(tmp_path / f"{seed}.png", seed)
    return index_folder(tmp_path, HeaderIndex("photos")).images


def test_every_image_once_without_chances():
    order = epoch_order(1000, 5, 0)
    assert sorted(order.tolist()) == list(range(1000))
    assert torch.equal(order, epoch_order(1000, 5, 0))
    assert not torch.equal(order, epoch_order(1000, 5, 1))
    assert not torch.equal(order, epoch_order(1000, 6, 0))


@pytest.mark.parametrize(("draws", "often"), [(5, {0, 1}), (20, {1}), (50, {2, 3}), (60, {3})])
def test_n_draws_show_every_image_equally_often(draws, often):
    total = torch.zeros(20)
    for epoch in range(200):
        order = epoch_order(20, 5, epoch, draws)
        assert len(set(order.tolist())) == draws  # each a number of its own, for its own crop
        counts = torch.bincount(order % 20, minlength=20)
        assert set(counts.tolist()) == often
        assert {*(order // 20).tolist()} == set(range(max(often)))
        total += counts
    share = draws % 20 / 20
    spread = 4 * (200 * share * (1 - share)) ** 0.5
    assert (total - 200 * draws / 20).abs().max() <= spread  # not always the first ones


def test_as_many_draws_as_images_are_the_images():
    assert torch.equal(epoch_order(50, 5, 3, 50), epoch_order(50, 5, 3))


def test_class_balanced_chances_draw_all_classes_alike():
    assert drawn_classes("balanced") == pytest.approx([1 / 3] * 3, abs=0.01)


def test_effective_number_chances_draw_by_the_effective_numbers():
    # An image weighs 1 / (1 - 0.99 ** n), so its class n times that.
    expected = [n / (1 - 0.99**n) for n in COUNTS.tolist()]
    expected = [value / sum(expected) for value in expected]
    assert drawn_classes("effective-number") == pytest.approx(expected, abs=0.01)


def test_equal_chances_draw_with_replacement():
    images = resampled_order(torch.ones(10_000), 0, 0) % 10_000
    # A share of 1 - 1/e is drawn at all.
    assert len(images.unique()) / 10_000 == pytest.approx(0.632, abs=0.01)


def test_draws_are_pure_functions_of_seed_and_epoch():
    chances = torch.rand(50)
    first = resampled_order(chances, 3, 7)
    torch.manual_seed(99)
    assert torch.equal(first, resampled_order(chances, 3, 7))
    assert not torch.equal(first, resampled_order(chances, 3, 8))
    assert not torch.equal(first, resampled_order(chances, 4, 7))


def test_draws_of_one_image_count_up():
    draws = resampled_order(torch.tensor([1.0, 0.0, 3.0, 0.0]), 0, 2)
    assert len(draws.unique()) == 4
    seen = {0: 0, 2: 0}
    for draw in draws.tolist():
        times, image = divmod(draw, 4)
        assert times == seen[image]
        seen[image] += 1


def test_an_empty_class_takes_no_part():
    labels, counts = torch.tensor([0, 0, 2]), torch.tensor([2, 0, 1])
    for rule in ("balanced", "effective-number"):
        chances = image_chances(labels, counts, rule, beta=0.999999)
        assert chances[2].item() == pytest.approx(2 * chances[0].item(), rel=1e-5)


@pytest.mark.parametrize(("kind", "workers"), [("arrays", 0), ("files", 0), ("files", 2)])
def test_batches_show_a_repeated_image_in_other_crops(kind, workers, request, random_images):
    images = random_images(12, 16) if kind == "arrays" else request.getfixturevalue("few_files")
    chances = torch.zeros(len(images))
    chances[[1, 4]] = 1.0
    batches = TrainingBatches(
        images, DataConfig(image_size=8), batch_size=12, seed=0, workers=workers, chances=chances
    )
    (batch,) = batches.epoch(0)
    assert set(batch.indices.tolist()) == {1, 4}
    assert len(batch) == len(images)
    assert len(batch.images.flatten(1).unique(dim=0)) == len(images)
    (again,) = batches.epoch(0)
    assert torch.equal(batch.images, again.images)


def test_a_cyclic_order_is_one_shuffle_over_and_over():
    epochs = torch.cat([cyclic_order(10, 3, epoch, 24) for epoch in range(5)])
    images = epochs % 10
    assert sorted(images[:10].tolist()) == list(range(10))
    assert images.tolist() == images[:10].tolist() * 12
    assert len(set(epochs.tolist())) == len(epochs)  # every draw has a crop of its own
    assert images[:10].tolist() != (cyclic_order(10, 4, 0, 10) % 10).tolist()
