import re

import numpy as np
import pytest
import torch

from quarterturn.data.imageset import ArrayImages
from quarterturn.errors import ConfigError
from quarterturn.methods.build import build_network
from quarterturn.methods.configuration import Config
from quarterturn.methods.memory import estimate_memory, memory_words
from quarterturn.models.bank import InstanceBank

SMALL = Config().with_settings(
    backbone="resnet20", image_size=16, batch_size=12, embedding_dim=8, num_noise=32
)


@pytest.fixture
def images() -> ArrayImages:
    return ArrayImages(np.zeros((40, 16, 16, 3), np.uint8), [str(i) for i in range(40)])


def really_saved(config: Config, num_images: int, precision: str) -> tuple[int, int]:
    """Bytes that autograd keeps in a real forward pass, each storage once: (all, the largest)."""
    network = build_network(config).train()
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept, sizes = [], {}

    def pack(tensor):
        kept.append(tensor)
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    shapes = config.method.input_shapes(num_images, config.data.image_size)
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t),
        torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"),
    ):
        network(*(torch.randn(shape) for shape in shapes))
    found = [size for place, size in sizes.items() if place not in weights]
    return sum(found), max(found)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("method", ["decoupling", "multiview", "rotnet", "instance"])
def test_activations_are_what_autograd_really_keeps(images, method, precision):
    config = SMALL.with_settings(method=method)
    found = estimate_memory(config, images, precision=precision)
    total, largest = really_saved(config, 12, precision)
    # The convolutions of a processor may keep a few small tensors of their own.
    assert found.activations == pytest.approx(total + 2 * largest, rel=0.02)


def test_the_parts_add_up(images):
    found = estimate_memory(SMALL, images, precision="32-true")
    parameters = sum(p.numel() for p in build_network(SMALL).parameters())
    assert found.weights == 3 * 4 * parameters  # values, gradients, momentum
    adamw = SMALL.with_settings(optimizer="adamw")
    assert estimate_memory(adamw, images, precision="32-true").weights == 4 * 4 * parameters
    bank = InstanceBank(40, 8).rows
    assert found.bank == bank.nbytes + 32 * 8 * 4
    assert found.images == 0  # in memory already
    on_gpu = estimate_memory(SMALL, images, precision="32-true", device="cuda")
    assert on_gpu.images == images.pixels.nbytes
    assert on_gpu.total == found.total + on_gpu.images
    per_image = estimate_memory(SMALL.with_settings(noise="per-image"), images, precision="32-true")
    assert per_image.bank == bank.nbytes + 12 * 32 * (8 + 4 * 4)
    assert found.total == found.weights + found.bank + found.images + found.activations
    assert (
        estimate_memory(SMALL.with_settings(method="rotnet"), images, precision="32-true").bank == 0
    )


def test_parts_and_processes_divide_the_activations(images):
    def activations(processes=1, **settings) -> int:
        config = SMALL.with_settings(**settings)
        return estimate_memory(config, images, precision="32-true", processes=processes).activations

    whole = activations()
    assert activations(accumulate=3) == activations(batch_size=4) == activations(processes=3)
    assert whole == pytest.approx(3 * activations(accumulate=3), rel=0.02)


def test_nothing_is_allocated_or_drawn(images):
    state = torch.get_rng_state()
    huge = Config().with_settings(backbone="resnet50", image_size=224, batch_size=4096)
    assert estimate_memory(huge, images, precision="32-true").total > 500e9
    assert torch.equal(torch.get_rng_state(), state)


def test_words_name_the_parts_that_would_fit(images):
    needed = estimate_memory(SMALL, images, precision="32-true").total
    options = {"precision": "32-true", "device": "cpu", "processes": 1}
    words, advice = memory_words(SMALL, images, free=2 * needed, **options)
    assert f"{needed / 1e6:.0f} MB" in words
    assert "are free" in words
    assert "in use" not in words
    assert advice == ""
    words, _ = memory_words(SMALL, images, free=2 * needed, used=3 * 10**9, **options)
    assert ") beside the 3.0 GB in use now; " in words
    words, advice = memory_words(SMALL, images, free=None, **options)
    assert "free" not in words + advice
    _, advice = memory_words(SMALL, images, free=needed - 1, **options)
    assert "more memory than is free" in advice
    assert "--accumulate 2" in advice
    # Views are compared over a whole batch, which has no parts.
    views = SMALL.with_settings(method="multiview")
    needed = estimate_memory(views, images, precision="32-true").total
    _, whole = memory_words(views, images, free=needed // 2, **options)
    assert "more memory than is free" in whole
    assert "--accumulate" not in whole
    # Parts of two images are the smallest; where those do not fit, none are named.
    two = SMALL.with_settings(batch_size=4, accumulate=2)
    needed = estimate_memory(two, images, precision="32-true").total
    _, advice = memory_words(two, images, free=needed // 2, **options)
    assert "a smaller --image-size (16) or --batch-size (4) helps" in advice
    assert "--accumulate" not in advice


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image_size": 16_384}, "a smaller --image-size (16,384) or --batch-size (12) helps"),
        (
            {"num_noise": 1_000_000, "noise": "per-image"},
            "a smaller --num-noise (1,000,000) or --embedding-dim (8) helps",
        ),
        (
            {"embedding_dim": 65_536},
            "a smaller --image-size (16) or --embedding-dim (65,536) helps",
        ),
    ],
)
def test_what_no_machine_has_is_refused(images, settings, words):
    config = SMALL.with_settings(method="decoupling", **settings)
    options = {"precision": "32-true", "device": "cpu", "processes": 1}
    needed = estimate_memory(config, images, precision="32-true").total
    with pytest.raises(ConfigError, match=re.escape(words)):
        memory_words(config, images, free=needed // 5, **options)
    _, advice = memory_words(config, images, free=needed // 3, **options)
    assert words in advice


def test_no_estimate_where_shapes_do_not_determine_it(images, monkeypatch):
    def refuse(config, num_classes):
        raise RuntimeError("data-dependent")

    monkeypatch.setattr("quarterturn.methods.memory.build_network", refuse)
    words = memory_words(SMALL, images, precision="32-true", device="cpu", processes=1, free=10**9)
    assert words == ("memory for a step: not known (RuntimeError)", "")
