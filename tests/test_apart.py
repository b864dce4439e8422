"""What is compiled within a large program rounds as if it were compiled by itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harmjax.engine.apart import apart


def product(x, y):
    return x * y


def plus(p, z):
    return p + z


def numbers(number, seed=0):
    rng = np.random.default_rng(seed)
    return [jnp.asarray(rng.normal(size=number), jnp.float32) for _ in range(3)]


def rounded_twice(x, y, z):
    """The sum of z and a product that has been rounded, as NumPy has it."""
    return np.asarray(x) * np.asarray(y) + np.asarray(z)


@pytest.mark.optimised
@pytest.mark.parametrize("first, then", [(apart(product), plus), (product, apart(plus))])
def test_a_product_and_a_sum_do_not_become_one_instruction(first, then):
    """`x y + z` is rounded once where they do, in a quarter of cases by another last bit."""
    x, y, z = numbers(1000)
    found = jax.jit(lambda x, y, z: then(first(x, y), z))(x, y, z)
    np.testing.assert_array_equal(found, rounded_twice(x, y, z))

    def loop(carry, row):
        return then(first(carry, row[0]), row[1]), None

    rows = jnp.stack([y, z], axis=1)
    after, _ = jax.jit(lambda start: jax.lax.scan(loop, start, rows))(jnp.float32(1))
    expected = np.float32(1)
    for factor, summand in np.asarray(rows):
        expected = expected * factor + summand
    assert after == expected


@pytest.mark.optimised
def test_mapped_it_rounds_alike_too():
    x, y, z = (row.reshape(8, 100) for row in numbers(800, 1))

    def whole(x, y, z):
        return apart(product)(x, y) + z

    found = jax.jit(jax.vmap(whole))(x, y, z)
    np.testing.assert_array_equal(found, rounded_twice(x, y, z))


def test_it_is_the_function_of_pytrees_and_has_its_derivative():
    def fn(tree, factor):
        return {"sum": tree["a"] + tree["b"], "scaled": factor * tree["a"] ** 2}

    tree = {"a": jnp.arange(3.0), "b": jnp.ones(3)}
    found = apart(fn)(tree, 2.0)
    assert found["sum"].tolist() == [1, 2, 3] and found["scaled"].tolist() == [0, 2, 8]
    slope = jax.grad(lambda tree: apart(fn)(tree, 2.0)["scaled"].sum())(tree)
    assert slope["a"].tolist() == [0, 4, 8] and slope["b"].tolist() == [0, 0, 0]
