"""Every model found in the folder keeps the contract; the layers against hand computation."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harmjax import models
from harmjax.models import linen, module
from harmjax.models.ops import norm

SHAPES = {"sfcn": (34, 33, 36), "cnn2d": (9, 8), "mlp": (6,)}  # other models: as cnn2d
WIDTHS = {"sfcn": 1 / 16, "cnn2d": 1 / 4, "mlp": 1 / 2}
EVERY = [(name, kind) for name in models.names() for kind in ("batch", "group")]
CLASSES = {"batch": 2, "group": 3}  # the head knows nothing of the normalisation


def build(name, kind, dropout=0.5):
    """A model with parameters and statistics that are far from their initial values, and data."""
    classifier = models.get(name)(
        width=WIDTHS.get(name, 1 / 4), norm=kind, dropout=dropout, classes=CLASSES[kind]
    )
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (3, *SHAPES.get(name, (9, 8))), np.uint8)
    shapes = jax.eval_shape(classifier.init, jax.random.key(0), image[:1])

    def fill(leaf):
        if leaf.ndim == 1:
            return jnp.asarray(rng.normal(0.5, 0.5, leaf.shape), jnp.float32)
        scale = math.prod(leaf.shape[:-1]) ** -0.5
        return jnp.asarray(rng.normal(0, scale, leaf.shape), jnp.float32)

    variables = jax.tree.map(fill, shapes)
    variables = variables._replace(batch_stats=jax.tree.map(jnp.abs, variables.batch_stats))
    return classifier, variables, jnp.asarray(image), jax.random.split(jax.random.key(2), 3)


def close(got, want, rtol=2e-4, atol=2e-4):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), got, want)


def test_names_and_unknown_names():
    assert {"sfcn", "cnn2d", "mlp"} <= set(models.names())
    assert not {"conv", "pool", "norm", "linen"} & set(models.names())
    with pytest.raises(ValueError, match="no 'sfnc' in models .did you mean 'sfcn'.*known: cnn2d"):
        models.get("sfnc")


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_contract(name, kind):
    classifier, variables, image, keys = build(name, kind)
    weight = jnp.array([1.0, 0.5, 2.0])
    compiled = []

    def training(variables, image, weight, keys):
        compiled.append(1)

        def loss(params):
            logits, features, updated = classifier.apply(
                variables._replace(params=params), image, weight, keys, True
            )
            return jnp.sum(weight @ jnp.sin(logits)), (logits, features, updated)

        return jax.grad(loss, has_aux=True)(variables.params)

    step = jax.jit(training)
    gradient, (logits, features, updated) = step(variables, image, weight, keys)

    assert logits.shape == (3, CLASSES[kind])
    assert logits.dtype == jnp.float32
    assert features.shape[0] == 3
    assert features.ndim == 2
    dense = variables.params["head"]
    learned = features @ dense["kernel"] + dense["bias"]
    if CLASSES[kind] == 2:
        assert not logits[:, 0].any()
        assert learned.shape == (3, 1)
    close(learned, logits[:, -learned.shape[1] :])
    assert learned.shape[1] == (1 if CLASSES[kind] == 2 else CLASSES[kind])
    assert jax.tree.structure(updated) == jax.tree.structure(variables)
    close(updated.params, variables.params, 0, 0)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))

    # What a sample of weight 0 looks like changes nothing.
    weight = weight.at[1].set(0)
    want, (logits, _, updated) = step(variables, image, weight, keys)
    other = image.at[1].set(255 - image[1])
    got, (again, _, same) = step(variables, other, weight, keys)
    close(again[::2], logits[::2])
    close(same, updated)
    scale = max(jnp.abs(leaf).max() for leaf in jax.tree.leaves(want))
    close(got, want, 1e-3, 1e-4 * scale)

    # Without any sample nothing is learnt, and nothing is NaN.
    nothing, (_, _, kept) = step(variables, image, jnp.zeros(3), keys)
    assert not any(leaf.any() for leaf in jax.tree.leaves(nothing))
    close(kept, variables, 0, 0)
    assert len(compiled) == 1


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_empty_slots_change_nothing(name, kind):
    classifier, variables, image, keys = build(name, kind)
    step = jax.jit(classifier.apply, static_argnums=4)
    logits, _, updated = step(variables, image, jnp.array([1.0, 0.5, 2.0]), keys, True)
    padded = jnp.concatenate([image, image[:1], 255 - image[1:2]])
    weight = jnp.array([1.0, 0.5, 2.0, 0, 0])
    more, _, same = step(variables, padded, weight, jnp.append(keys, keys[:2]), True)
    close(more[:3], logits)
    close(same, updated)


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_evaluation_ignores_weights_and_keys_and_keeps_the_statistics(name, kind):
    classifier, variables, image, keys = build(name, kind)
    evaluate = jax.jit(classifier.apply, static_argnums=4)
    logits, _, same = evaluate(variables, image, jnp.ones(3), keys, False)
    close(same, variables, 0, 0)
    other, _, _ = evaluate(variables, image, jnp.zeros(3), None, False)
    close(other, logits, 0, 0)
    alone = [evaluate(variables, image[i : i + 1], jnp.ones(1), None, False)[0] for i in range(3)]
    close(jnp.concatenate(alone), logits)


@pytest.mark.parametrize("name", models.names())
def test_jit_changes_nothing(name):
    classifier, variables, image, keys = build(name, "batch")
    arguments = variables, image, jnp.ones(3), keys, name != "sfcn"  # slow without jit
    close(jax.jit(classifier.apply, static_argnums=4)(*arguments), classifier.apply(*arguments))


@pytest.mark.parametrize("name", models.names())
def test_maps_over_stacked_variables(name):
    classifier, variables, image, keys = build(name, "batch")
    stack = jax.tree.map(lambda x: jnp.stack([x, x * 0.9, x + 0.1]), variables)
    weights = jnp.array([[1.0, 1, 1], [1, 0, 1], [0.5, 2, 0]])

    def gradient(variables, weight):
        def loss(params):
            model = variables._replace(params=params)
            logits, _, updated = classifier.apply(model, image, weight, keys, True)
            return jnp.sum(weight @ jnp.sin(logits)), updated.batch_stats

        return jax.grad(loss, has_aux=True)(variables.params)

    mapped = jax.jit(jax.vmap(gradient))(stack, weights)
    alone = jax.jit(gradient)
    scale = max(jnp.abs(leaf).max() for leaf in jax.tree.leaves(mapped))
    for i in range(3):
        one, got = (jax.tree.map(lambda x, i=i: x[i], tree) for tree in (stack, mapped))
        close(got, alone(one, weights[i]), 1e-3, 1e-4 * scale)


@pytest.mark.parametrize("name", models.names())
def test_bfloat16_trains_with_float32_parameters_and_logits(name):
    _, variables, image, keys = build(name, "batch", 0.0)
    classifier = models.get(name)(width=WIDTHS.get(name, 1 / 4), norm="batch", dropout=0.0)
    low = models.get(name)(
        width=WIDTHS.get(name, 1 / 4), norm="batch", dropout=0.0, dtype="bfloat16"
    )
    apply = [jax.jit(each.apply, static_argnums=4) for each in (classifier, low)]
    want, got = (each(variables, image, jnp.ones(3), keys, False)[0] for each in apply)
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, want, rtol=0.1, atol=0.1 * jnp.abs(want).max())


def test_sfcn_has_the_published_parameters():
    image = jax.ShapeDtypeStruct((1, 160, 192, 160), "uint8")
    variables = jax.eval_shape(models.get("sfcn")().init, jax.random.key(0), image)
    channels = [1, 32, 64, 128, 256, 256, 64]
    taps = [27, 27, 27, 27, 27, 1]
    convolutions = sum(
        t * i * o + o for t, i, o in zip(taps, channels[:-1], channels[1:], strict=True)
    )
    dense = 2 * 3 * 2 * 64 + 1  # 160 192 160, halved five times and once more
    assert convolutions + 2 * sum(channels[1:]) + dense == 2_951_105
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables.params)) == 2_951_105
    more = jax.eval_shape(models.get("sfcn")(classes=5).init, jax.random.key(0), image)
    assert more.params["head"]["kernel"].shape == (2 * 3 * 2 * 64, 5)
    assert more.params["head"]["bias"].shape == (5,)
    statistics = jax.tree.leaves(variables.batch_stats)
    assert sum(math.prod(leaf.shape) for leaf in statistics) == 2 * 800


@pytest.mark.parametrize("shape", [(1, 32, 40, 40), (1, 40, 40)])
def test_sfcn_refuses_what_five_poolings_leave_nothing_of(shape):
    image = jax.ShapeDtypeStruct(shape, "uint8")
    with pytest.raises(ValueError, match="at least 33 voxels") as error:
        jax.eval_shape(models.get("sfcn")().init, jax.random.key(0), image)
    assert str(shape) in str(error.value)


@pytest.mark.parametrize(("side", "train"), [(33, False), (34, True)])  # odd: another way
def test_sfcn_is_the_published_sequence_of_operations(side, train):
    """With negative scales too, as normalisation is applied after pooling."""
    classifier, variables, image, keys = build("sfcn", "batch", 0.0)
    image = jnp.pad(image[:2, :side, :, :side], [(0, 0), (0, 0), (0, side % 2 ^ 1), (0, 0)])
    weight = jnp.array([1.0, 0.25])
    x = image[..., None].astype(jnp.float32)
    for number in range(1, 7):
        parameters = variables.params[f"block_{number}"]
        x = jax.lax.conv_general_dilated(
            x, parameters["kernel"], (1,) * 3, "SAME", dimension_numbers=("NXYZC", "XYZIO", "NXYZC")
        )
        x = x + parameters["bias"]
        statistics = variables.batch_stats[f"block_{number}"]["norm"]
        mean, var = statistics["mean"], statistics["var"]
        if train:
            share = weight[:, None, None, None, None] / weight.sum() / x[0, ..., 0].size
            mean = (share * x).sum((0, 1, 2, 3))
            var = (share * (x - mean) ** 2).sum((0, 1, 2, 3))
        layer = parameters["norm"]
        x = (x - mean) / jnp.sqrt(var + 1e-3) * layer["scale"] + layer["bias"]
        if number < 6:
            window = (1, 2, 2, 2, 1)
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "SAME")
        x = jax.nn.relu(x)
    features = x[:, :2, :2, :2].mean((1, 2, 3))
    step = jax.jit(classifier.apply, static_argnums=4)
    _, got, _ = step(variables, image, weight, keys[:2], train)
    np.testing.assert_allclose(got, features, rtol=1e-3, atol=1e-3 * features.max())


def test_weighted_moments_by_hand():
    x = jnp.array([[1.0], [3.0], [100.0]])[:, None]  # one voxel, one channel
    mean, var = norm.weighted_moments(*norm.moments(x), jnp.array([1.0, 3.0, 0.0]))
    np.testing.assert_allclose(mean, [2.5])
    np.testing.assert_allclose(var, [(1.5**2 + 3 * 0.5**2) / 4])
    # d mean / d w_b = (x_b - mean) / sum w, also where w_b is 0
    gradient = jax.grad(lambda w: norm.weighted_moments(*norm.moments(x), w)[0].sum())
    np.testing.assert_allclose(
        gradient(jnp.array([1.0, 3.0, 0.0])), [-1.5 / 4, 0.5 / 4, 97.5 / 4], rtol=1e-6
    )


def test_batch_norm_is_that_of_flax():
    x = jax.random.normal(jax.random.key(0), (4, 3, 2, 2, 5)) * 3 + 1
    weight = jnp.array([1.0, 0, 1, 1])
    ours, theirs = norm.BatchNorm(), nn.BatchNorm(False, momentum=0.99, epsilon=1e-3)
    offset = jnp.arange(5.0)
    asked = functools.partial(norm.moments, x), offset, weight, True
    start = ours.init(jax.random.key(1), *asked)
    (factor, shift), updated = ours.apply(start, *asked, mutable="batch_stats")
    mask = jnp.broadcast_to(weight[:, None, None, None, None] > 0, x.shape)
    want, expected = theirs.apply(
        theirs.init(jax.random.key(1), x), x + offset, mask=mask, mutable="batch_stats"
    )
    close(x * factor + shift, want, 1e-4, 1e-4)
    close(updated, expected, 1e-4, 1e-4)


@pytest.mark.parametrize("channels", [16, 24])
def test_group_norm_is_that_of_flax(channels):
    x = jax.random.normal(jax.random.key(0), (3, 3, 2, 2, channels)) * 3 + 1
    groups = channels // 8
    ours, theirs = norm.GroupNorm(), nn.GroupNorm(groups, epsilon=1e-3)
    offset = jnp.arange(channels) / 4.0
    asked = functools.partial(norm.moments, x), offset, None, True
    affine = ours.apply(ours.init(jax.random.key(1), *asked), *asked)
    factor, shift = (norm.spread(values, x) for values in affine)
    want = theirs.apply(theirs.init(jax.random.key(1), x), x + offset)
    close(x * factor + shift, want, 1e-4, 1e-4)


def test_unknown_norm_lists_the_known_ones():
    with pytest.raises(ValueError, match="norm='layer'; known: batch, group, none"):
        norm.layer("layer")


def test_dropout_of_a_sample_depends_on_its_own_key_only():
    keys = jax.random.split(jax.random.key(0), 4)
    x = jnp.ones((4, 1000))
    dropped = norm.dropout(x, keys, 0.2)
    np.testing.assert_allclose(jnp.unique(dropped), [0, 1.25])
    np.testing.assert_allclose(dropped.mean(), 1, atol=0.05)
    order = jnp.array([2, 0, 3, 1])
    np.testing.assert_array_equal(norm.dropout(x, keys[order], 0.2), dropped[order])
    np.testing.assert_array_equal(norm.dropout(x[:1], keys[2:3], 0.2)[0], dropped[2])
    assert (dropped[0] != dropped[1]).any()


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_logits_of_some_classes_come_from_the_same_features(num_classes):
    classifier = models.get("mlp")(hidden=(4,), classes=num_classes)
    two = models.get("mlp")(hidden=(4,))
    row = jnp.array([[1.0, -2.0], [0.5, 3.0]])
    variables = classifier.init(jax.random.key(0), row)
    logits, features, _ = classifier.apply(variables, row, jnp.ones(2), None, False)
    assert logits.shape == (2, num_classes)
    published = two.init(jax.random.key(0), row)
    _, same, _ = two.apply(published, row, jnp.ones(2), None, False)
    close(features, same, 0, 0)


@pytest.mark.parametrize(("units", "num_classes"), [(1, 2), (2, 2), (3, 3)])
def test_a_module_of_ones_own_gives_one_logit_for_two_classes_or_one_for_each(units, num_classes):
    classifier = module.of_module(nn.Dense(units))
    row = jnp.array([[1.0, -2.0], [0.5, 3.0]])
    variables = classifier.init(jax.random.key(0), row)
    logits, features, _ = classifier.apply(variables, row, None, None, False)
    learned = row @ variables.params["kernel"] + variables.params["bias"]
    if units == 2:
        learned = learned[:, 1:] - learned[:, :1]
    assert logits.shape == (2, num_classes) and features.shape[0] == 2
    close(logits[:, -learned.shape[1] :], learned)
    assert num_classes > 2 or not logits[:, 0].any()


def test_logistic_regression_is_an_mlp_without_hidden_layers():
    classifier = models.get("mlp")(hidden=())
    row = jnp.array([[1.0, -2.0]])
    variables = classifier.init(jax.random.key(0), row)
    logits, features, _ = classifier.apply(variables, row, jnp.ones(1), None, False)
    close(features, row)
    close(logits[:, 1], row @ variables.params["head"]["kernel"][:, 0])


def test_width_leaves_at_least_one_channel():
    assert [linen.scaled(32, width) for width in (1, 1 / 4, 1 / 100)] == [32, 8, 1]
