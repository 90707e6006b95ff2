import numpy as np
import pytest

from quarterturn.probing.linear import linear_classifier


def task(n: int = 120, width: int = 6, classes: int = 3, spread: float = 1.0):
    random = np.random.default_rng(0)
    labels = np.arange(n) % classes
    centres = random.normal(size=(classes, width)) * 2
    values = centres[labels] + random.normal(size=(n, width)) * spread
    return values.astype(np.float32), labels


def test_separable_classes_are_learned():
    values, labels = task(spread=0.2)
    classifier = linear_classifier(values[:60], labels[:60])
    assert (classifier.predict(values[60:]) == labels[60:]).all()


def test_is_the_minimum_of_the_regularised_cross_entropy():
    values, labels = task(spread=2.0)
    classifier = linear_classifier(values, labels)
    standard = (values.astype(float) - values.mean(axis=0)) / values.std(axis=0)
    weights, bias = classifier[-1].coef_, classifier[-1].intercept_
    logits = standard @ weights.T + bias
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    error = p - np.eye(3)[labels]
    # Sum of the cross-entropies + |weights|^2 / 2, C being 1; the bias is free.
    assert np.abs(error.T @ standard + weights).max() < 0.02
    assert np.abs(error.sum(axis=0)).max() < 0.02
    assert np.abs(weights).max() > 0.2
    accuracy = (classifier.predict(values) == labels).mean()
    assert (logits.argmax(axis=1) == labels).mean() == pytest.approx(accuracy)
    assert 0.6 < accuracy < 1


def test_units_of_the_features_do_not_matter():
    values, labels = task(spread=2.0)
    units = np.array([1e-3, 1, 10, 1e3, 1, 0.1], np.float32)
    one = linear_classifier(values, labels).decision_function(values)
    other = linear_classifier(values * units + 5 * units, labels).decision_function(
        values * units + 5 * units
    )
    np.testing.assert_allclose(one, other, atol=0.02)


def test_constant_features_are_borne():
    values, labels = task(spread=0.2)
    dead = np.concatenate([values, np.full((len(values), 2), 3, np.float32)], axis=1)
    assert (linear_classifier(dead, labels).predict(dead) == labels).all()
    nothing = linear_classifier(dead[:, -2:], labels).predict(dead[:, -2:])
    assert len(set(nothing.tolist())) == 1


def test_classes_keep_their_numbers():
    values, labels = task(spread=0.2)
    numbers = np.array([7, 2, 40])[labels]
    assert (linear_classifier(values, numbers).predict(values) == numbers).all()


def test_stopping_at_the_bound_gives_no_warning():
    values, labels = task(spread=2.0)  # warnings are errors here
    stopped = linear_classifier(values, labels, max_iterations=2)
    assert stopped[-1].n_iter_.max() <= 2
