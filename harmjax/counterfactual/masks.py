"""Which masks to ask for: float32 [R, N] in plain NumPy, 1 = trained on."""

import numpy as np


def everything(num_samples: int) -> np.ndarray:
    """The mask [1, N] of the training run itself.

    Example:
        >>> everything(3)
        array([[1., 1., 1.]], dtype=float32)
    """
    return np.ones((1, num_samples), np.float32)


def leave_one_out(num_samples: int, ids=None) -> np.ndarray:
    """One mask for every sample, without it.

    Args:
        num_samples: N.
        ids: [R] int, the samples to leave out; all by default.

    Returns:
        [R, N].

    Raises:
        ValueError: An id that is no sample.

    Example:
        >>> leave_one_out(3, ids=[1])
        array([[1., 0., 1.]], dtype=float32)
    """
    ids = np.arange(num_samples) if ids is None else np.asarray(ids, int)
    wrong = ids[(ids < 0) | (ids >= num_samples)]
    if len(wrong):
        raise ValueError(f"ids={wrong.tolist()}: samples are numbered 0 to {num_samples - 1}")
    kept = np.ones((len(ids), num_samples), np.float32)
    kept[np.arange(len(ids)), ids] = 0
    return kept


def leave_one_centre_out(centre) -> np.ndarray:
    """One mask for every centre, without its samples.

    Args:
        centre: [N] int, the centre of each sample.

    Returns:
        [C, N], centres in order.

    Example:
        >>> leave_one_centre_out([0, 0, 1])
        array([[0., 0., 1.],
               [1., 1., 0.]], dtype=float32)
    """
    centre = np.asarray(centre)
    return (centre != np.arange(centre.max() + 1)[:, None]).astype(np.float32)


def random_subsets(
    num_samples: int, num_masks: int, *, fraction: float | None = 0.5, seed: int = 0
) -> np.ndarray:
    """Random subsets.

    Args:
        num_samples: N.
        num_masks: R.
        fraction: Size of every subset, as a fraction of N rounded to the nearest number (as for
            datamodels); None lets every sample in with probability one half, all subsets equally
            likely (as for the Banzhaf value).
        seed: Of the draw.

    Returns:
        [R, N].

    Raises:
        ValueError: The fraction is outside [0, 1].

    Example:
        >>> random_subsets(4, 2, fraction=0.75).sum(axis=1)
        array([3., 3.], dtype=float32)
    """
    rng = np.random.default_rng(seed)
    order = rng.random((num_masks, num_samples))
    if fraction is None:
        return (order < 0.5).astype(np.float32)
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction={fraction}: must lie between 0 and 1")
    rank = np.argsort(np.argsort(order, axis=1), axis=1)
    return (rank < round(fraction * num_samples)).astype(np.float32)


def permutations(num_samples: int, num_permutations: int, *, seed: int = 0) -> np.ndarray:
    """Random orders of the samples, int32 [P, N], each drawn together with its reverse.

    A sample that comes early in one comes late in the next, which lowers the variance of the
    Shapley value.

    References:
        Mitchell et al., Sampling permutations for Shapley value estimation, JMLR 23, 2022.

    Example:
        >>> orders = permutations(4, 2)
        >>> bool((orders[1] == orders[0][::-1]).all())
        True
    """
    rng = np.random.default_rng(seed)
    orders = np.empty((num_permutations, num_samples), np.int32)
    for p in range(num_permutations):
        orders[p] = orders[p - 1][::-1] if p % 2 else rng.permutation(num_samples)
    return orders


def prefixes(orders, sizes=None) -> np.ndarray:
    """The masks of the first k samples of each order.

    Args:
        orders: [P, N] int, permutations of the samples.
        sizes: The k to ask for; 0 to N by default.

    Returns:
        [P, K, N]; reshape to [P * K, N] to ask for them.

    Example:
        >>> prefixes([[1, 0]])[0]
        array([[0., 0.],
               [0., 1.],
               [1., 1.]], dtype=float32)
    """
    orders = np.asarray(orders)
    num_samples = orders.shape[-1]
    sizes = np.arange(num_samples + 1) if sizes is None else np.asarray(sizes)
    rank = np.argsort(orders, axis=-1)
    return (rank[:, None, :] < sizes[:, None]).astype(np.float32)
