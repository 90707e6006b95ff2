import numpy as np
import pytest
import torch
import torch.nn.functional as F

from quarterturn.losses.ldam import LDAMLoss, ldam_margins

from .conftest import COUNTS, log_softmax, reduce


def plain_loss(logits, targets, margins, scale, weights, reduction):
    losses = []
    for row, target in zip(logits, targets, strict=True):
        moved = row.copy()
        moved[target] -= margins[target]
        losses.append(-log_softmax(scale * moved)[target])
    return reduce(losses, [weights[t] for t in targets], reduction)


def test_margins_by_hand():
    # 16 ** -1/4 = 1/2 and 256 ** -1/4 = 1/4 of 1 ** -1/4.
    assert ldam_margins([256, 16, 1]).tolist() == pytest.approx([0.125, 0.25, 0.5])
    assert ldam_margins([256, 16, 1], max_margin=1).tolist() == pytest.approx([0.25, 0.5, 1.0])
    assert ldam_margins([7, 7]).tolist() == [0.5, 0.5]


def test_margins_of_cifar10_lt():
    counts = [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    expected = [0.5 * (50 / n) ** 0.25 for n in counts]
    assert ldam_margins(counts).tolist() == pytest.approx(expected, rel=1e-6)


def test_empty_classes_have_no_margin_and_move_no_other():
    with pytest.raises(ValueError, match="no images of class 1"):
        ldam_margins([256, 0, 1])
    assert ldam_margins([256, 0, 1], leave_out_empty=True).tolist() == [0.125, 0.0, 0.5]


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
def test_value_is_the_formulas(logits, targets, reduction, weighted):
    weights = np.array([0.25, 1.0, 1.75]) if weighted else np.ones(3)
    found = LDAMLoss(COUNTS, max_margin=0.4, scale=20, reduction=reduction)(
        torch.tensor(logits).float(),
        torch.from_numpy(targets),
        torch.tensor(weights) if weighted else None,
    )
    margins = [0.4 * (50 / n) ** 0.25 for n in COUNTS]
    expected = plain_loss(logits, targets, margins, 20, weights, reduction)
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-5, atol=1e-5)


def test_without_margins_it_is_scaled_cross_entropy(logits, targets):
    values, classes = torch.tensor(logits).float(), torch.from_numpy(targets)
    found = LDAMLoss(COUNTS, max_margin=0, scale=30)(values, classes)
    assert torch.equal(found, F.cross_entropy(30 * values, classes))


def test_margins_raise_the_loss_of_rare_classes_most(logits, targets):
    values, classes = torch.tensor(logits).float(), torch.from_numpy(targets)
    plain = LDAMLoss(COUNTS, max_margin=0, scale=1, reduction="none")(values, classes)
    larger = LDAMLoss(COUNTS, scale=1, reduction="none")(values, classes) - plain
    assert bool((larger > 0).all())
    flat = torch.zeros(3, 3)
    by_class = LDAMLoss(COUNTS, scale=1, reduction="none")(flat, torch.arange(3))
    assert by_class.tolist() == sorted(by_class.tolist())


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradient(logits, targets, reduction):
    loss = LDAMLoss(COUNTS, reduction=reduction)
    weight = torch.tensor([0.3, 1.0, 1.7], dtype=torch.float64)
    values = torch.tensor(logits, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda z: loss(z, torch.from_numpy(targets), weight), values, atol=1e-6
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(logits, targets, dtype):
    loss, classes = LDAMLoss(COUNTS), torch.from_numpy(targets)
    values = torch.tensor(logits).to(dtype)
    found = loss(values, classes, torch.ones(3, dtype=dtype))
    assert found.dtype == torch.float32
    assert torch.equal(found, loss(values.float(), classes))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(found, loss(values, classes))


def test_a_target_to_ignore_is_ignored_as_cross_entropy_does(logits, targets):
    values, classes = torch.tensor(logits).float(), torch.from_numpy(targets)
    with_ignored = torch.cat([classes, torch.tensor([-100])])
    padded = torch.cat([values, torch.ones(1, 3)])
    loss = LDAMLoss(COUNTS)
    assert loss(padded, with_ignored).item() == pytest.approx(loss(values, classes).item())


def test_margins_move_with_the_module_and_stay_out_of_checkpoints():
    loss = LDAMLoss(COUNTS)
    assert loss.state_dict() == {}
    assert loss.to("meta").margins.device.type == "meta"
