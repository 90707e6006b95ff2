import numpy as np
import pytest
import torch
import torch.nn.functional as F

from quarterturn.models.heads import CosineHead, EmbeddingHead, LinearHead, split_halves


@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 4, 6)])
def test_halves_are_the_first_and_the_last_features(shape):
    features = torch.arange(float(np.prod(shape))).view(shape)
    rotation, invariant = split_halves(features)
    assert rotation.shape == invariant.shape == (*shape[:-1], 3)
    assert torch.equal(torch.cat([rotation, invariant], dim=-1), features)
    assert rotation.flatten()[:3].tolist() == [0, 1, 2]


def test_an_odd_width_has_no_halves():
    with pytest.raises(ValueError, match="odd width 7"):
        split_halves(torch.zeros(2, 7))


@pytest.mark.parametrize("shape", [(5, 6), (2, 4, 6)])
def test_linear_head_is_a_matrix_and_a_bias(shape):
    head = LinearHead(6, 3)
    features = torch.randn(shape)
    weight, bias = head.weight.detach().double().numpy(), head.bias.detach().double().numpy()
    logits = head(features)
    assert logits.shape == (*shape[:-1], 3)
    for place in np.ndindex(shape[:-1]):
        x = features[place].double().numpy()
        expected = [sum(weight[c, d] * x[d] for d in range(6)) + bias[c] for c in range(3)]
        np.testing.assert_allclose(logits[place].detach().numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_embeddings_have_length_one(scale):
    head = EmbeddingHead(6, 4)
    embeddings = head(scale * torch.randn(9, 6))
    assert embeddings.shape == (9, 4)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(9))


def test_an_embedding_is_the_normalised_linear_map():
    head = EmbeddingHead(6, 4)
    x = torch.randn(3, 6)
    mapped = x.double() @ head.weight.double().T + head.bias.double()
    expected = (mapped / mapped.square().sum(dim=1, keepdim=True).sqrt()).float()
    torch.testing.assert_close(head(x), expected)


@pytest.mark.parametrize("kind", [LinearHead, EmbeddingHead, CosineHead])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_heads_compute_in_float32_whatever_surrounds_them(kind, dtype):
    head, features = kind(16, 8), torch.randn(5, 16).to(dtype)
    plain = head(features.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = head(features)
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed, plain)


# Cosines


@pytest.mark.parametrize("shape", [(6,), (5, 6), (2, 4, 6)])
def test_a_cosine_is_that_of_feature_and_class_vector(shape):
    head = CosineHead(6, 3)
    with torch.no_grad():
        head.weight.mul_(torch.tensor([[0.1], [1.0], [20.0]]))  # lengths must not count
    features = 7 * torch.randn(shape)
    cosines = head(features)
    assert cosines.shape == (*shape[:-1], 3)
    weight = head.weight.detach().double().numpy()
    for place in np.ndindex(shape[:-1]):
        x = features[place].double().numpy()
        for c in range(3):
            length = np.sqrt((x * x).sum()) * np.sqrt((weight[c] * weight[c]).sum())
            assert cosines[(*place, c)].item() == pytest.approx(x @ weight[c] / length, abs=1e-6)


def test_cosines_depend_only_on_direction():
    head, x = CosineHead(6, 4), torch.randn(5, 6)
    torch.testing.assert_close(head(1e3 * x), head(x))
    torch.testing.assert_close(head(-x), -head(x))
    assert head.bias is None
    assert [name for name, _ in head.named_parameters()] == ["weight"]
    with torch.no_grad():
        head.weight[2] = 3 * x[0]
    torch.testing.assert_close(head(x)[0, 2].item(), 1.0)


def test_a_feature_of_zeros_has_cosines_of_zero():
    assert CosineHead(6, 4)(torch.zeros(2, 6)).tolist() == [[0.0] * 4] * 2


def test_gradients_of_cosines_are_those_in_double_precision():
    head, x = CosineHead(6, 3), torch.randn(5, 6, requires_grad=True)
    targets = torch.tensor([0, 2, 1, 1, 0])
    F.cross_entropy(30 * head(x), targets).backward()
    weight, exact = head.weight.detach().double().requires_grad_(), x.detach().double()
    exact.requires_grad_()
    dots = torch.stack([(exact * w).sum(dim=1) / w.square().sum().sqrt() for w in weight], dim=1)
    F.cross_entropy(30 * dots / exact.square().sum(dim=1, keepdim=True).sqrt(), targets).backward()
    torch.testing.assert_close(x.grad, exact.grad.float(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(head.weight.grad, weight.grad.float(), atol=1e-5, rtol=1e-4)
    # A step along a vector changes no cosine, so no gradient points there.
    along = (head.weight.grad * head.weight).sum(dim=1)
    torch.testing.assert_close(along, torch.zeros(3), atol=1e-5, rtol=0)


def test_class_vectors_start_uniform_in_a_cube_with_length_one():
    weight = CosineHead(8, 4000).weight.detach()
    torch.testing.assert_close(weight.norm(dim=1), torch.ones(4000))
    draws = torch.empty(4000, 8).uniform_(-1, 1)
    expected = (draws / draws.norm(dim=1, keepdim=True)).abs()
    for power in (1, 2, 4):
        moments = [values.pow(power).mean().item() for values in (weight.abs(), expected)]
        assert moments[0] == pytest.approx(moments[1], rel=0.02)
