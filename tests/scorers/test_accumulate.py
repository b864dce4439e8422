"""Evidence gathered over stops and cycles, by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from harmjax.scorers import accumulate


def test_a_tally_is_what_was_seen_of_each_sample():
    tally = accumulate.start(4, {"a": jax.ShapeDtypeStruct((2,), jnp.float32)})
    tally = accumulate.add(tally, jnp.array([3, 4]), {"a": jnp.array([2.0, jnp.nan])})
    nan = np.nan
    tally = accumulate.add(tally, jnp.array([1, 2]), {"a": jnp.array([nan, nan])})
    tally = accumulate.add(tally, jnp.array([0, 3]), {"a": jnp.array([5.0, 4.0])})
    assert tally.visits.tolist() == [1, 0, 0, 2]
    np.testing.assert_allclose(accumulate.mean(tally)["a"], [5, nan, nan, 3])
    np.testing.assert_allclose(tally.total["a"], [5, 0, 0, 6])


def test_a_tally_holds_several_numbers_a_sample():
    tally = accumulate.start(3, jnp.zeros((2, 2)))
    tally = accumulate.add(tally, jnp.array([1, 3]), jnp.array([[1.0, 2.0], [9.0, 9.0]]))
    np.testing.assert_allclose(accumulate.mean(tally)[1], [1, 2])
    assert jnp.isnan(accumulate.mean(tally)[0]).all()
