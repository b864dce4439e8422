"""Reading ahead: order, bounds, errors at their place, and threads that end."""

import threading

import numpy as np
import pytest

from harmjax.data import stream


def running():
    return [t for t in threading.enumerate() if t.name.startswith("batches")]


@pytest.mark.parametrize("depth", [1, 2, 50])
def test_every_batch_comes_in_order(tmp_path, depth):
    images = np.memmap(tmp_path / "a.bin", np.uint8, "w+", shape=(30, 2))
    images[:] = np.arange(30)[:, None]
    ids = np.random.default_rng(0).integers(0, 30, (11, 4))
    found = list(stream.batches(lambda at: np.asarray(images[at]), ids, depth))
    np.testing.assert_array_equal(found, np.broadcast_to(ids[..., None], (11, 4, 2)))
    assert running() == []


def test_no_more_than_depth_batches_are_read_ahead():
    asked = []
    ahead = stream.batches(lambda ids: ids, (asked.append(i) or i for i in range(20)), depth=3)
    assert asked == []
    next(ahead)
    assert asked == [0, 1, 2, 3]
    next(ahead)
    assert asked == [0, 1, 2, 3, 4]
    ahead.close()
    assert running() == []


def test_an_error_arrives_after_the_batches_before_it():
    def fetch(ids):
        if ids == 3:
            raise OSError("disk gone")
        return ids

    ahead = stream.batches(fetch, range(9), depth=4)
    assert [next(ahead) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RuntimeError, match="batch 3, ids 3: disk gone") as caught:
        next(ahead)
    assert isinstance(caught.value.__cause__, OSError)
    assert running() == []


def test_closing_starts_no_other_read():
    begun, never = [], threading.Event()

    def fetch(ids):
        begun.append(ids)
        if ids:
            never.wait(0.1)
        return ids

    ahead = stream.batches(fetch, range(100), depth=20)
    next(ahead)
    ahead.close()
    assert len(begun) < 20
    assert running() == []


def test_an_error_of_the_ids_ends_the_thread():
    def ids():
        yield 0
        yield 1
        raise KeyError("ids")

    ahead = stream.batches(lambda i: i, ids(), depth=1)
    assert next(ahead) == 0
    with pytest.raises(KeyError):
        list(ahead)
    assert running() == []


def test_nothing_to_read_and_no_depth():
    assert list(stream.batches(lambda ids: ids, [])) == []
    with pytest.raises(ValueError, match="depth=0"):
        stream.batches(lambda ids: ids, [], depth=0)
