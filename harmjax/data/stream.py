"""Batches fetched ahead, for images that do not fit in memory."""

import collections
from concurrent import futures


def batches(fetch, ids_sequence, depth=2):
    """Returns an iterator over `fetch(ids)` for each ids, read ahead by a background thread.

    The order is that of `ids_sequence`. Closing the iterator, or dropping it half-way, waits for
    the read in progress and starts no other.

    Args:
        fetch: Function of ids to arrays; it runs in one background thread.
        ids_sequence: Iterable of ids, such as int [B]; it is read by the consumer's thread.
        depth: How many batches are held or read ahead, at least 1.

    Raises:
        ValueError: For a depth below 1.
        RuntimeError: At the consumer, naming the batch and its ids, where `fetch` raised; the
            batches before it are delivered first.

    Example:
        >>> list(batches(lambda ids: [10 * i for i in ids], [(0, 1), (2,)]))
        [[0, 10], [20]]
    """
    if depth < 1:
        raise ValueError(f"depth={depth}: expected at least one batch ahead")
    return _ahead(fetch, iter(ids_sequence), depth)


def _ahead(fetch, ids_sequence, depth):
    pool = futures.ThreadPoolExecutor(1, thread_name_prefix="batches")
    waiting: collections.deque = collections.deque()
    try:
        for place, ids in enumerate(ids_sequence):
            waiting.append((place, ids, pool.submit(fetch, ids)))
            if len(waiting) > depth:
                yield _result(*waiting.popleft())
        while waiting:
            yield _result(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _result(place, ids, job):
    try:
        return job.result()
    except Exception as error:
        raise RuntimeError(f"batch {place}, ids {ids}: {error}") from error
