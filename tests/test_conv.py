"""The convolution and pooling lowerings against lax, values and derivatives of every kind."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies

from harmjax.engine import precision
from harmjax.models.ops import conv, forms, pool

SHAPES = [  # image [B, ..., I], kernel [..., I, O]
    ((2, 6, 5, 4, 1), (3, 3, 3, 1, 3)),
    ((2, 5, 4, 6, 2), (3, 3, 3, 2, 5)),
    ((2, 3, 3, 3, 7), (3, 3, 3, 7, 2)),
    ((3, 2, 1, 3, 4), (3, 3, 3, 4, 4)),
    ((2, 4, 3, 2, 3), (1, 1, 1, 3, 2)),
    ((1, 4, 3, 5, 2), (1, 5, 3, 2, 2)),
    ((2, 6, 5, 3), (3, 3, 3, 4)),
    ((2, 6, 5, 1), (3, 3, 1, 4)),
    ((1, 2, 17, 16, 32), (3, 3, 3, 32, 64)),
    ((1, 2, 16, 17, 64), (3, 3, 3, 64, 32)),
]


def reference(x, kernel):
    axes = "XYZ"[: x.ndim - 2]
    layout = (f"N{axes}C", f"{axes}IO", f"N{axes}C")
    return jax.lax.conv_general_dilated(
        x, kernel, (1,) * len(axes), "SAME", dimension_numbers=layout
    )


def draw(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


def close(got, want, tolerance=3e-5):
    """Equal to a fraction of the largest number of each array."""

    def compare(a, b):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1, np.abs(b).max()))

    jax.tree.map(compare, got, want)


@pytest.fixture(params=["cpu", "gpu"])
def form(request):
    """Either form, computed wherever the tests run."""
    with forms.forced(request.param):
        yield request.param


@pytest.mark.parametrize(("image", "kernel"), SHAPES)
def test_values_and_first_derivatives_are_those_of_lax(form, image, kernel):
    x, k, dx, dk = draw(image, kernel, image, kernel)

    def everything(function, x, k, dx, dk):
        y, dy = jax.jvp(function, (x, k), (dx, dk))
        _, transpose = jax.vjp(function, x, k)
        return y, dy, transpose(jnp.sin(y))

    got = jax.jit(everything, static_argnums=0)(conv.convolve, x, k, dx, dk)
    close(got, jax.jit(everything, static_argnums=0)(reference, x, k, dx, dk))


@pytest.mark.parametrize(("image", "kernel"), SHAPES[:3])
def test_second_derivatives_are_those_of_lax(form, image, kernel):
    x, k, dx, dk = draw(image, kernel, image, kernel)

    def products(function, x, k, dx, dk):
        def loss(x, k):
            return jnp.sum(jnp.sin(function(x, k)))

        gradient = jax.grad(loss, (0, 1))
        forward_over_reverse = jax.jvp(gradient, (x, k), (dx, dk))[1]
        reverse_over_forward = jax.grad(lambda x, k: jax.jvp(loss, (x, k), (dx, dk))[1], (0, 1))(
            x, k
        )
        return forward_over_reverse, reverse_over_forward

    got = jax.jit(products, static_argnums=0)(conv.convolve, x, k, dx, dk)
    want = jax.jit(products, static_argnums=0)(reference, x, k, dx, dk)
    close(got, want, 1e-4)
    close(got[0], got[1], 1e-4)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
@pytest.mark.parametrize(("image", "kernel"), [SHAPES[0], SHAPES[1]])
def test_vmap_of_values_and_gradients(form, image, kernel, axes):
    x, k = draw((3, *image), (3, *kernel))
    x = x if axes[0] == 0 else x[0]
    k = k if axes[1] == 0 else k[0]

    def everything(function, x, k):
        def loss(x, k):
            return jnp.sum(jnp.sin(function(x, k)))

        return function(x, k), jax.grad(loss, (0, 1))(x, k)

    def mapped(function):
        return jax.jit(jax.vmap(lambda x, k: everything(function, x, k), axes))(x, k)

    close(mapped(conv.convolve), mapped(reference), 1e-4)


def test_vmap_in_vmap(form):
    x, k = draw((2, 1, 4, 4, 4, 2), (3, 3, 3, 3, 2, 3))

    def mapped(function):
        inner = jax.vmap(function, (None, 0))
        return jax.jit(jax.vmap(inner, (0, None)))(x, k)

    close(mapped(conv.convolve), mapped(reference))
    ensemble = jax.vmap(jax.vmap(conv.convolve), (None, 0))  # replicas of replicas
    again, kernels = draw((2, 1, 4, 4, 4, 2), (3, 2, 3, 3, 3, 2, 3))
    want = jax.vmap(jax.vmap(reference), (None, 0))(again, kernels)
    close(jax.jit(ensemble)(again, kernels), want)


def test_inside_scan_and_cond(form):
    x, k = draw((2, 4, 4, 4, 2), (3, 3, 3, 2, 2))

    def run(function):
        def step(x, flag):
            return jax.lax.cond(flag, lambda x: jnp.tanh(function(x, k)), lambda x: x, x), x.sum()

        return jax.lax.scan(step, x, jnp.array([True, False, True]))

    close(jax.jit(run, static_argnums=0)(conv.convolve), run(reference))


def test_bfloat16_keeps_its_dtype_and_accumulates_in_float32(form):
    """The form for GPU adds up three parts, each of which is rounded once."""
    x, k = draw((1, 4, 4, 4, 64), (3, 3, 3, 64, 2))
    x, k = x.astype(jnp.bfloat16), k.astype(jnp.bfloat16)
    got = conv.convolve(x, k)
    want = reference(x.astype(jnp.float32), k.astype(jnp.float32))
    assert got.dtype == jnp.bfloat16
    roundings = 3 if form == "gpu" else 1
    bound = roundings * np.abs(want).max() / 2**8
    np.testing.assert_allclose(got.astype(jnp.float32), want, rtol=0, atol=bound)


def test_a_form_is_the_one_that_is_asked_for_and_compiled_again():
    x, k = draw((2, 4, 4, 4, 2), (3, 3, 3, 2, 2))
    forward = jax.jit(conv.convolve)

    def text(form):
        with forms.forced(form):
            return forward.lower(x, k).as_text()

    assert "dim_numbers = [b, 0, 1, 2, f]" in text("lax")
    assert "dim_numbers = [b, 0, 1, f]" in text("gpu")
    assert text(None) == text(jax.default_backend())
    with pytest.raises(ValueError, match="form='gup' .did you mean 'gpu'.*known: cpu, gpu, lax"):
        text("gup")


@pytest.mark.parametrize("form", ["gpu", "lax"])
def test_full_precision_lasts_until_a_convolution_and_its_gradients_are_lowered(form):
    x, k = draw((2, 4, 4, 4, 2), (3, 3, 3, 2, 2))
    gradients = jax.grad(lambda x, k: jnp.sum(jnp.sin(conv.convolve(x, k))), (0, 1))
    with forms.forced(form):
        default = jax.jit(gradients).lower(x, k).as_text()
        full = jax.jit(precision.full(gradients)).lower(x, k).as_text()
    assert default.count("HIGHEST") == 0
    assert full.count("HIGHEST") == 2 * full.count("stablehlo.convolution") > 0


def test_the_first_layer_computes_no_input_gradient():
    x, k = draw((1, 4, 4, 4, 1), (3, 3, 3, 1, 2))
    jaxpr = jax.make_jaxpr(jax.grad(lambda k: jnp.sum(jnp.sin(conv.convolve(x, k)))))(k)
    names = [equation.primitive.name for equation in jaxpr.eqns]
    assert names.count("convolve") == 1
    assert names.count("convolve_weights") == 1


@hypothesis.settings(max_examples=12, deadline=None)
@hypothesis.given(
    sides=strategies.lists(strategies.integers(1, 5), min_size=3, max_size=3),
    kernel=strategies.lists(strategies.sampled_from([1, 3]), min_size=3, max_size=3),
    channels=strategies.tuples(strategies.integers(1, 4), strategies.integers(1, 4)),
    form=strategies.sampled_from(["cpu", "gpu"]),
)
def test_any_shape(sides, kernel, channels, form):
    x, k = draw((2, *sides, channels[0]), (*kernel, *channels))
    with forms.forced(form):
        close(jax.jit(conv.convolve)(x, k), jax.jit(reference)(x, k))


def unfused(x, kernel):
    return pool.max_pool(conv.convolve(x, kernel))


@pytest.mark.parametrize(("image", "kernel"), SHAPES)
def test_the_pooled_convolution_and_its_derivatives(form, image, kernel):
    x, k, dx, dk = draw(image, kernel, image, kernel)

    def everything(function, x, k, dx, dk):
        y, transpose = jax.vjp(function, x, k)
        return function(x, k), jax.jvp(function, (x, k), (dx, dk)), transpose(jnp.sin(y))

    got, want = (
        jax.jit(everything, static_argnums=0)(function, x, k, dx, dk)
        for function in (conv.convolve_and_pool, unfused)
    )
    close(got, want)


@hypothesis.settings(max_examples=12, deadline=None)
@hypothesis.given(
    sides=strategies.lists(strategies.integers(1, 9), min_size=3, max_size=3),
    kernel=strategies.lists(strategies.sampled_from([1, 3]), min_size=3, max_size=3),
    channels=strategies.tuples(
        strategies.sampled_from([1, 2]), strategies.sampled_from([1, 5, 17])
    ),
    form=strategies.sampled_from(["cpu", "gpu"]),
)
def test_any_shape_of_the_pooled_convolution(sides, kernel, channels, form):
    x, k = draw((2, *sides, channels[0]), (*kernel, *channels))
    with forms.forced(form):
        close(jax.jit(conv.convolve_and_pool)(x, k), pool.max_pool(reference(x, k)))


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
@pytest.mark.parametrize(("image", "kernel"), [SHAPES[0], SHAPES[1], SHAPES[6]])
def test_vmap_of_the_pooled_convolution(form, image, kernel, axes):
    x, k = draw((3, *image), (3, *kernel))
    x = x if axes[0] == 0 else x[0]
    k = k if axes[1] == 0 else k[0]
    got, want = (
        jax.jit(jax.vmap(function, axes))(x, k) for function in (conv.convolve_and_pool, unfused)
    )
    close(got, want)


@pytest.mark.optimised
def test_the_pooled_convolution_in_bfloat16_and_of_nan():
    x, k = draw((2, 6, 8, 4, 1), (3, 3, 3, 1, 8))
    low = x.astype(jnp.bfloat16), k.astype(jnp.bfloat16)
    got = conv.convolve_and_pool(*low)
    assert got.dtype == jnp.bfloat16
    np.testing.assert_array_equal(got, unfused(*low))
    assert jnp.isnan(conv.convolve_and_pool(x, k * jnp.nan)).all()


@pytest.mark.parametrize("shape", [(2, 5, 4, 3, 2), (1, 1, 2, 7, 3), (2, 6, 6, 6, 1), (2, 5, 6, 3)])
def test_max_pool_is_reduce_window(shape):
    (x,) = draw(shape)
    window = (1, *(2,) * (len(shape) - 2), 1)

    def lax_pool(x):
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "SAME")

    close(pool.max_pool(x), lax_pool(x), 0)
    gradients = [
        jax.grad(lambda x, f=f: jnp.sum(jnp.sin(f(x))))(x) for f in (pool.max_pool, lax_pool)
    ]
    close(*gradients, 1e-6)


def test_max_pool_sends_a_ties_gradient_once():
    gradient = jax.grad(lambda x: pool.max_pool(x).sum())(jnp.zeros((1, 3, 2, 2, 1)))
    np.testing.assert_allclose(gradient.sum(), 2)
    assert (gradient >= 0).all()


def test_average_pool_drops_what_does_not_fill_a_window():
    x = jnp.arange(2 * 3 * 2.0).reshape(1, 2, 3, 2, 1)
    np.testing.assert_allclose(pool.average_pool(x).ravel(), [(0 + 1 + 2 + 3 + 6 + 7 + 8 + 9) / 8])
