"""The first layer and its blocks in every form: convolution, moments, maxima and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harmjax import models, types
from harmjax.engine import precision
from harmjax.models.ops import conv, first, first_cpu, forms, norm, pool
from tests.test_models import build, close


@pytest.mark.parametrize(("form", "windows"), [("cpu", 3), ("cpu", 4096), ("gpu", 4096)])
def test_the_first_layer_is_the_convolution_its_moments_and_its_maxima(monkeypatch, form, windows):
    """In two parts and in one. Constant images too, where all maxima are ties."""
    monkeypatch.setattr(first_cpu, "WINDOWS", windows)
    x = jax.random.normal(jax.random.key(0), (2, 4, 6, 2, 1)).at[1].set(0.5)
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 1, 5))
    layout = ("NXYZC", "XYZIO", "NXYZC")

    def whole(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (1,) * 3, "SAME", dimension_numbers=layout)

    def plain(x, kernel):
        return pool.max_pool(whole(x, kernel)), norm.moments(whole(x, kernel))

    def ours(x, kernel):
        return conv.convolve_and_pool(x, kernel), first.moments(x, kernel)

    def everything(function, x, kernel):
        result, pull = jax.vjp(function, x, kernel)
        tangents = jnp.zeros_like(x), jnp.sin(kernel)
        change = jax.jvp(function, (x, kernel), tangents)[1]
        return result, pull(jax.tree.map(jnp.cos, result)), change

    with forms.forced(form):
        assert first.suits(x.shape, kernel.shape)
        want, got = (jax.jit(everything, static_argnums=0)(f, x, kernel) for f in (plain, ours))
    close(got[0], want[0], 1e-5, 1e-5)
    close(got[1:], want[1:], 1e-4, 1e-4)


@pytest.mark.parametrize("form", ["cpu", "gpu"])
def test_the_first_layer_takes_images_as_they_are_stored(form):
    stored = jax.random.bits(jax.random.key(0), (2, 6, 4, 8, 1), "uint8")
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 1, 5))

    def gradient(x):
        def total(kernel):
            mean, var = first.moments(x, kernel)
            return jnp.sum(jnp.sin(conv.convolve_and_pool(x, kernel))) + jnp.sum(mean + var)

        return jax.jit(jax.value_and_grad(total))(kernel)

    with forms.forced(form):
        close(gradient(stored), gradient(stored.astype(jnp.float32)), 1e-6, 0)


@pytest.mark.parametrize("form", ["cpu", "gpu"])
def test_second_derivatives_and_replicas_of_the_first_layer(form):
    x = jax.random.normal(jax.random.key(0), (2, 4, 6, 2, 1))
    kernels, changes = jax.random.normal(jax.random.key(1), (2, 3, 3, 3, 3, 1, 4))

    def product(maxima, moments):
        def total(kernel):
            mean, var = moments(kernel)
            return jnp.sum(jnp.sin(maxima(kernel))) + jnp.sum(jnp.sin(mean) * jnp.sqrt(var))

        return jax.jit(lambda k, c: jax.jvp(jax.grad(total), (k,), (c,))[1])(kernels[0], changes[0])

    def whole(kernel):
        return conv.convolve(x, kernel)

    ours = functools.partial(conv.convolve_and_pool, x), functools.partial(first.moments, x)
    with forms.forced("lax"):
        want = product(lambda k: pool.max_pool(whole(k)), lambda k: norm.moments(whole(k)))
    with forms.forced(form):
        close(product(*ours), want, 1e-4, 1e-4 * jnp.abs(want).max())
        for function in map(jax.jit, ours):
            alone = [function(kernel) for kernel in kernels]
            together = jax.tree.map(lambda *each: jnp.stack(each), *alone)
            close(jax.jit(jax.vmap(function))(kernels), together, 1e-5, 1e-5)


def test_moments_of_constant_images_are_never_negative():
    """On GPU they are a difference: what is left of it is rounding."""
    values = jnp.linspace(100, 255, 64)
    x = jnp.broadcast_to(values[:, None, None, None, None], (64, 4, 4, 4, 1))
    kernel = jnp.zeros((3, 3, 3, 1, 1)).at[1, 1, 1].set(1.0)
    with forms.forced("gpu"):
        mean, var = first.moments(x, kernel)
    np.testing.assert_allclose(mean[:, 0], values, rtol=1e-6)
    assert (var >= 0).all()
    np.testing.assert_allclose(var, 0, atol=255**2 * 1e-6)


def test_a_network_has_one_gradient_in_the_form_for_gpu_and_by_lax():
    classifier, variables, image, keys = build("sfcn", "batch")
    image = jnp.pad(image, [(0, 0), (0, 0), (0, 1), (0, 0)])  # even sides, for `first`
    weight = jnp.array([1.0, 0.5, 2.0])

    def loss(params):
        model = types.Variables(params, variables.batch_stats)
        logits = classifier.apply(model, image, weight, keys, True)[0]
        return jnp.sum(weight @ jnp.sin(logits))

    def gradient(form):
        with forms.forced(form):
            found = jax.jit(precision.full(jax.grad(loss)))(variables.params)
        return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(found)])

    want = gradient("lax")
    assert jnp.linalg.norm(gradient("gpu") - want) <= 1e-4 * jnp.linalg.norm(want)


@pytest.mark.parametrize(
    ("norm_kind", "train", "times"), [("batch", False, 5), ("none", False, 5), ("batch", True, 1)]
)
def test_blocks_pool_as_they_convolve_where_nothing_else_needs_the_result(norm_kind, train, times):
    classifier = models.get("sfcn")(width=1 / 32, norm=norm_kind, dropout=0.0)
    image = jnp.zeros((1, 34, 34, 34), jnp.uint8)
    variables = jax.eval_shape(classifier.init, jax.random.key(0), image)
    keys = jax.random.split(jax.random.key(0), 1)
    text = str(
        jax.make_jaxpr(lambda v: classifier.apply(v, image, jnp.ones(1), keys, train)[0])(variables)
    )
    assert text.count("= convolve_and_pool") == times
