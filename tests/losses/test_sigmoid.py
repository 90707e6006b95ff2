import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from quarterturn.losses.sigmoid import sigmoid_loss


def naive(logits: Tensor, label_sets: Tensor) -> float:
    total = 0.0
    for row, entries in zip(logits.double(), label_sets, strict=True):
        for logit, entry in zip(row, entries, strict=True):
            if entry >= 0:
                probability = torch.sigmoid(logit)
                total -= float(torch.log(probability if entry == 1 else 1 - probability))
    return total / len(logits)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_loss_is_a_loop_over_the_entries_that_count(dtype):
    logits = torch.randn(7, 5, dtype=dtype)
    label_sets = torch.randint(-1, 2, (7, 5), dtype=torch.int8)
    found = sigmoid_loss(logits, label_sets)
    assert float(found) == pytest.approx(naive(logits, label_sets), rel=1e-5)
    assert found.dtype == torch.promote_types(dtype, torch.float32)


def test_without_ignored_entries_it_is_torchs_sum_over_images():
    logits, label_sets = torch.randn(6, 3), torch.randint(0, 2, (6, 3))
    expected = F.binary_cross_entropy_with_logits(logits, label_sets.float(), reduction="sum") / 6
    torch.testing.assert_close(sigmoid_loss(logits, label_sets), expected)


def test_ignored_entries_have_no_gradient_and_change_no_other():
    logits = torch.randn(4, 3, requires_grad=True)
    label_sets = torch.tensor([[1, -1, 0], [0, 1, -1], [-1, -1, -1], [1, 0, 1]], dtype=torch.int8)
    (gradient,) = torch.autograd.grad(sigmoid_loss(logits, label_sets), logits)
    assert (gradient[label_sets < 0] == 0).all()
    # Divided by the images, not by the entries that count.
    expected = (torch.sigmoid(logits) - label_sets.float()) / 4
    torch.testing.assert_close(gradient[label_sets >= 0], expected[label_sets >= 0])


def test_class_weights_multiply_their_columns():
    logits, label_sets = torch.randn(4, 2), torch.randint(0, 2, (4, 2))
    one, other = (sigmoid_loss(logits[:, [c]], label_sets[:, [c]]) for c in range(2))
    found = sigmoid_loss(logits, label_sets, torch.tensor([3.0, 0.5]))
    torch.testing.assert_close(found, 3 * one + 0.5 * other)
