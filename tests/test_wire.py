"""Messages as bytes: what goes in comes out, and nothing else comes out."""

import json
import math

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from harmjax import types
from harmjax.federations import wire

DTYPES = (
    *(np.float32, np.float64, np.int8, np.int32, np.int64, np.uint8, np.uint32, np.bool_),
    ml_dtypes.bfloat16,
)


@st.composite
def travelling(draw):
    """Arrays of every dtype that travels, 0-d and empty ones and odd strides among them."""
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    size = math.prod(shape) * dtype.itemsize
    raw = draw(st.binary(min_size=size, max_size=size))
    if dtype == np.bool_:
        raw = bytes(byte % 2 for byte in raw)
    return np.frombuffer(raw, dtype).reshape(shape).T


values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text())
contents = st.recursive(
    st.one_of(values, travelling()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(), inner, max_size=3),
    ),
    max_leaves=8,
)


def assert_arrived(found, sent):
    if isinstance(sent, dict):
        assert list(found) == list(sent)
        for key in sent:
            assert_arrived(found[key], sent[key])
    elif isinstance(sent, (list, tuple)):
        assert type(found) is tuple and len(found) == len(sent)
        for one, other in zip(found, sent, strict=True):
            assert_arrived(one, other)
    elif isinstance(sent, np.ndarray):
        assert found.dtype == sent.dtype and found.shape == sent.shape
        assert found.tobytes() == sent.tobytes()
    else:
        assert type(found) is type(sent) and (found == sent or found != found and sent != sent)


@settings(max_examples=200, deadline=None)
@given(contents)
def test_what_is_sent_arrives_bit_for_bit(content):
    assert_arrived(wire.unpack(wire.pack(content)), content)


@settings(max_examples=100, deadline=None)
@given(contents, st.data())
def test_a_message_that_is_cut_or_extended_is_refused(content, data):
    message = wire.pack(content)
    cut = data.draw(st.integers(0, len(message) - 1))
    for wrong in (message[:cut], message + data.draw(st.binary(min_size=1, max_size=9))):
        with pytest.raises(ValueError, match="message"):
            wire.unpack(wrong)


def test_every_place_to_cut_is_refused():
    message = wire.pack({"rows": np.arange(3), "loss": jnp.float32(2), "op": "learn"})
    for cut in range(len(message)):
        with pytest.raises(ValueError, match="without a head|cut before byte"):
            wire.unpack(message[:cut])


def test_arrays_of_jax_arrive_as_those_of_numpy():
    sent = {"x": jnp.arange(4, dtype=jnp.bfloat16).reshape(2, 2), "on": jnp.bool_(True)}
    found = wire.unpack(wire.pack(sent))
    assert found["x"].dtype == jnp.bfloat16 and found["x"].tolist() == [[0, 1], [2, 3]]
    assert found["on"].dtype == bool and found["on"].shape == () and found["on"]


@pytest.mark.parametrize(
    "x",
    [
        {1, 2},
        b"bytes",
        1j,
        object(),
        np.array("text"),
        np.zeros(2, np.float16),
        np.zeros(2, ">f4"),
        np.array([None, 1]),
        jax.random.key(0),
        types.Batch,
        {3: "not a text"},
        {"inside": [{"a": ({1},)}]},
    ],
    ids=lambda x: type(x).__name__,
)
def test_what_does_not_travel_is_refused_where_it_is_sent(x):
    with pytest.raises(ValueError, match="not travel"):
        wire.pack(x)


def head(content, version=wire.VERSION):
    told = json.dumps({"version": version, "content": content}).encode()
    return len(told).to_bytes(4, "little") + told


def test_a_message_of_another_version_is_refused():
    assert wire.unpack(head({"v": 1})) == 1
    with pytest.raises(ValueError, match="a message of version 2; this is version 1"):
        wire.unpack(head({"v": 1}, version=2))


@pytest.mark.parametrize(
    "content",
    [
        {"a": ["float16", [2]]},
        {"a": ["object", [1]]},
        {"a": ["float32", [-1]]},
        {"a": ["float32", [0.0]]},
        {"a": ["float32", [True]]},
        {"a": ["float32", 1]},
        {"a": ["float32"]},
        {"a": [["float32"], []]},
        {"d": [["x", {"v": 1}], ["x", {"v": 2}]]},
        {"d": [[["x"], {"v": 1}]]},
        {"d": [[1, {"v": 1}]]},
        {"d": {"x": {"v": 1}}},
        {"l": 3},
        {"v": [1]},
        {"v": {"a": ["int8", []]}},
        {"v": 1, "l": []},
        {"x": 1},
        {},
        [],
        "text",
        None,
    ],
    ids=str,
)
def test_a_head_that_is_not_understood_is_refused(content):
    with pytest.raises(ValueError):
        wire.unpack(head(content) + bytes(8))


def test_a_head_of_any_depth_and_an_array_of_any_size_is_refused():
    deep = b'{"version": 1, "content": ' + b'{"l": [' * 100_000
    wide = head({"a": ["float64", [2**62, 4]]})
    for message in (len(deep).to_bytes(4, "little") + deep, wide, b"", bytes(4), bytes(64)):
        with pytest.raises(ValueError, match="message"):
            wire.unpack(message)


anything = st.recursive(
    values, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("dlva"), inner)
)


@settings(max_examples=200, deadline=None)
@given(anything, st.binary(max_size=16))
def test_whatever_arrives_is_understood_or_refused(content, rest):
    try:
        found = wire.unpack(head(content) + rest)
    except ValueError:
        return
    assert_arrived(wire.unpack(wire.pack(found)), found)
