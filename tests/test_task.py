"""The task by hand, against brute force, and two classes against any number of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmjax import models, task, types
from harmjax.engine import learner
from tests import classes

SIZES = (2, 3, 5)
AS_ANY = task.classification(3)  # its formulas take any number of columns


def drawn(num_classes, scale=2.0, size=40):
    """Logits [B, K] and labels [B] of all classes; of two `[0, z]`, as a classifier gives them."""
    rng = np.random.default_rng(num_classes)
    logits = scale * rng.normal(size=(size, num_classes))
    if num_classes == 2:
        logits[:, 0] = 0
    return jnp.asarray(logits, jnp.float32), jnp.asarray(np.arange(size) % num_classes)


def softmax(logits):
    logits = np.asarray(logits, float)
    power = np.exp(logits - logits.max(1, keepdims=True))
    return power / power.sum(1, keepdims=True)


@pytest.mark.parametrize("num_classes", SIZES)
@pytest.mark.parametrize("scale", [2.0, 30.0])
def test_loss_and_error_are_those_of_the_softmax(num_classes, scale):
    asked = task.classification(num_classes)
    logits, label = drawn(num_classes, scale)
    own = softmax(logits)[np.arange(len(label)), label]
    tolerance = {"rtol": 1e-5, "atol": 1e-6 * scale}  # logits are float32
    np.testing.assert_allclose(asked.loss(logits, label), -np.log(own), **tolerance)
    np.testing.assert_allclose(asked.error(logits, label), 1 - own, rtol=1e-5, atol=1e-6)
    assert asked.num_classes == num_classes
    assert asked.loss(logits, label).dtype == asked.error(logits, label).dtype == jnp.float32


@pytest.mark.parametrize("num_classes", SIZES)
def test_curve_is_the_hessian_of_the_loss(num_classes):
    asked = task.classification(num_classes)
    logits, label = drawn(num_classes)
    change = jnp.cos(jnp.arange(logits.size, dtype=jnp.float32)).reshape(logits.shape)
    read = slice(1, None) if num_classes == 2 else slice(None)  # of two, z alone moves
    change = change.at[:, : read.start or 0].set(0)
    hessians = jax.vmap(jax.hessian(lambda z, y: asked.loss(z[None], y[None])[0]))(logits, label)
    expected = np.einsum("bkl,bl->bk", hessians, change)[:, read]
    np.testing.assert_allclose(asked.curve(logits, change)[:, read], expected, rtol=1e-4, atol=1e-6)
    p = softmax(logits)
    by_hand = np.eye(num_classes) * p[:, None] - p[:, :, None] * p[:, None]
    np.testing.assert_allclose(
        hessians[:, read, read], by_hand[:, read, read], rtol=1e-4, atol=1e-6
    )


def test_of_two_classes_the_formulas_of_any_number_hold():
    logits, label = drawn(2, 4.0)
    change = jnp.sin(jnp.arange(80.0)).reshape(40, 2).at[:, 0].set(0)
    two = task.classification(2)
    for name, asked in (("loss", label), ("error", label), ("curve", change)):
        one, other = (getattr(t, name)(logits, asked) for t in (two, AS_ANY))
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6, err_msg=name)
    slopes = (jax.grad(lambda z, t=t: t.loss(z, label).sum())(logits)[:, 1] for t in (two, AS_ANY))
    np.testing.assert_allclose(*slopes, rtol=1e-5, atol=1e-6)
    assert two.predicted(logits).tolist() == AS_ANY.predicted(logits).tolist()


@pytest.mark.parametrize("num_classes", SIZES)
def test_what_is_certain_has_finite_losses_and_slopes(num_classes):
    asked = task.classification(num_classes)
    logits = jnp.zeros((2, num_classes)).at[:, 1].set(jnp.array([1e4, -1e4]))
    for label in (0, 1):
        loss, slope = jax.value_and_grad(lambda z: asked.loss(z, jnp.full(2, label)).sum())(logits)  # noqa: B023
        assert jnp.isfinite(loss) and jnp.isfinite(slope).all()
    np.testing.assert_allclose(asked.loss(logits, jnp.array([0, 1])), [1e4, 1e4], rtol=1e-3)
    np.testing.assert_allclose(asked.error(logits, jnp.array([1, 1])), [0, 1], atol=1e-6)


def test_the_most_probable_class_is_the_first_of_equals_and_never_one_without_a_number():
    nan, two, three = jnp.nan, task.classification(2), task.classification(3)
    logits = jnp.array([[0, 2.0], [0, -2.0], [0, 0], [0, nan]])
    assert two.predicted(logits).tolist() == [1, 0, 0, 0]
    logits = jnp.array([[0, 2, 1], [3, 3, 0], [0, 4, 4], [nan, 0, 1], [nan, nan, -9], [nan] * 3])
    assert three.predicted(logits).tolist() == [1, 0, 1, 2, 2, 0]
    for found in (two.predicted(logits[:, :2]), three.predicted(logits)):
        assert found.dtype == jnp.int32


def test_margin_by_hand():
    logits = jnp.array([[1.0, 5.0, 3.0]] * 3 + [[2.0, 2.0, -7.0]])
    found = task.margin(logits, jnp.array([0, 1, 2, 0]))
    assert found.tolist() == [-4, 2, -2, 0]
    two = jnp.array([[0.0, 1.5], [0.0, 1.5], [0.5, 1.5]])
    assert task.margin(two, jnp.array([1, 0, 0])).tolist() == [1.5, -1.5, -1.0]


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 4).flatmap(
        lambda k: st.tuples(
            st.just(k),
            st.lists(
                st.tuples(
                    st.lists(st.integers(-4, 4), min_size=k, max_size=k),
                    st.integers(0, k - 1),
                    st.booleans(),
                ),
                min_size=12,
                max_size=12,
            ),
        )
    )
)
def test_margins_and_confusion_are_those_of_a_loop(cohort):
    num_classes, scans = cohort
    if num_classes == 2:
        scans = [([0, z[1]], y, u) for z, y, u in scans]
    logits = np.array([z for z, *_ in scans], np.float32)
    label, used = np.array([y for _, y, _ in scans]), np.array([u for *_, u in scans])
    others = [max(z[j] for j in range(num_classes) if j != y) for z, y, _ in scans]
    own = [z[y] for z, y, _ in scans]
    assert task.margin(logits, label).tolist() == np.subtract(own, others).tolist()
    predicted = task.classification(num_classes).predicted(jnp.asarray(logits))
    assert predicted.tolist() == [z.index(max(z)) for z, *_ in scans]
    found = task.confusion(predicted, jnp.asarray(label), jnp.asarray(used), num_classes)
    expected = classes.confused(label[used], np.asarray(predicted)[used], num_classes)
    assert found.tolist() == expected and found.dtype == jnp.int32
    wrong = [
        sum(u and y == k and p != k for (_, y, u), p in zip(scans, predicted, strict=True))
        for k in range(num_classes)
    ]
    assert task.errors(found).tolist() == wrong
    assert task.totals(found).tolist() == np.bincount(label[used], minlength=num_classes).tolist()


def test_errors_and_totals_of_many_confusions_at_once():
    confusion = np.array([[[5, 2, 0], [1, 4, 3], [0, 0, 9]], [[0, 1, 1], [0, 0, 0], [2, 2, 2]]])
    for array in (confusion, jnp.asarray(confusion)):
        assert task.errors(array).tolist() == [[2, 4, 0], [2, 0, 4]]
        assert task.totals(array).tolist() == [[7, 8, 9], [2, 0, 6]]


@pytest.mark.parametrize("number", [1, 0, -3])
def test_one_class_is_nothing_to_tell_apart(number):
    with pytest.raises(ValueError, match=f"num_classes={number}: name two classes or more"):
        task.classification(number)


def test_a_task_is_the_same_whenever_it_is_asked_for():
    """It may be a static argument of a compiled function."""
    assert task.classification(4) == task.classification(4) != task.classification(3)
    assert hash(task.classification(2)) == hash(task.classification(2))


@pytest.mark.parametrize("num_classes", [2, 3])
def test_one_step_on_all_classes_is_gradient_descent_by_hand(num_classes):
    """Adam's first step on a logistic regression: the sign of the gradient, times the rate."""
    lrn = learner.learner(
        models.get("mlp")(hidden=(), classes=num_classes),
        lambda cycle: 0.01,
        task=task.classification(num_classes),
    )
    image = np.array([[1.0, 2.0], [0.5, -1.0], [-2.0, 1.0]], np.float32)
    label, weight = np.array([1, 0, num_classes - 1]), np.array([1.0, 0.5, 1.0])
    model = lrn.init(jax.random.key(0), image[:1])
    batch = types.Batch(
        jnp.asarray(image),
        jnp.asarray(label),
        jax.random.split(jax.random.key(1), 3),
        jnp.zeros(3, jnp.int32),
    )
    after, loss = lrn.learn(model, batch, jnp.asarray(weight), jnp.ones(3, bool), 0)
    p = softmax(lrn.logits(model, image))
    each = -np.log(p[np.arange(3), label])
    assert float(loss) == pytest.approx((weight * each).sum() / 3, rel=1e-5)
    np.testing.assert_allclose(task.of_samples(lrn, model, batch), each, rtol=1e-5)
    residual = (p - np.eye(num_classes)[label]) * weight[:, None] / 3
    slope = (image.T @ residual)[:, 1:] if num_classes == 2 else image.T @ residual
    moved = model.params["head"]["kernel"] - after.params["head"]["kernel"]
    np.testing.assert_allclose(moved, 0.01 * slope / (np.abs(slope) + 1e-7), rtol=1e-3)
