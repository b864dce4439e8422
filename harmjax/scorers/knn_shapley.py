"""KNN-Shapley on features: what a sample does for the nearest-neighbour vote of its class."""

import jax
import jax.numpy as jnp

from harmjax import scorers, types


def knn_shapley(
    *, prototypes: int = 8, k: int = 10, iterations: int = 4, smallest: int = 5, seed: int = 0
) -> types.HarmScorer:
    """A scorer by KNN-Shapley, in which prototypes take the place of verification scans.

    The exact recursion needs a sample's distance to every verification point. Features of single
    scans must not leave a centre, so the points are means of groups of verification scans of one
    class: k-means whose every round is a sum over centres with enough scans. Groups of fewer than
    `smallest` scans are not used, and a point counts as often as its group has scans.

    What leaves: per class `prototypes` sums of features a round. What comes back of a training
    sample: its label and its distance to each point. The value is relative to the samples judged
    together: judge the whole cohort rather than one stop. Harm is minus the value times their
    number.

    Args:
        prototypes: Points per class.
        k: Neighbours that vote.
        iterations: Rounds of k-means.
        smallest: Verification scans in the smallest group that is used.
        seed: Of the first prototypes.

    References:
        Jia et al., Efficient task-specific data valuation for nearest neighbor algorithms, PVLDB
        12(11), 2019, arXiv 1908.08619, theorem 1.

    Example:
        >>> knn_shapley(prototypes=2).trial is None
        True
    """

    def reference(fed: types.Federation, model: types.Model, cycle, fold=None):
        del cycle
        number, total, second = fed.total("feature_moments", model, fold=fold)
        mean = total / jnp.maximum(number, 1)[:, None]
        square = jnp.diagonal(second) / jnp.maximum(jnp.sum(number), 1)
        sd = jnp.sqrt(jnp.maximum(square - jnp.mean(mean, axis=0) ** 2, 0))
        noise = jax.random.normal(jax.random.key(seed), (len(mean), prototypes, mean.shape[-1]))
        points = mean[:, None] + sd * noise

        def round_(carry, _):
            points, _ = carry
            size, sums = fed.total("nearest_feature_sums", model, points, fold=fold)
            moved = sums / jnp.maximum(size, 1)[..., None]
            return (jnp.where(size[..., None] > 0, moved, points), size), None

        carry = points, jnp.zeros((len(mean), prototypes))
        (points, size), _ = fed.scan(round_, carry, jnp.arange(iterations))
        return {"points": points, "size": jnp.where(size >= smallest, size, 0)}

    def measure(learner: types.Learner, model: types.Model, batch: types.Batch, reference):
        features = learner.features(model, batch.image)
        points = reference["points"].reshape(-1, features.shape[-1])
        square = jnp.sum((features[:, None] - points) ** 2, axis=-1)
        return {"label": batch.label.astype(jnp.float32), "distances": jnp.sqrt(square)}

    def judge(evidence, reference):
        size = reference["size"]
        label = jnp.repeat(jnp.arange(float(len(size))), size.shape[1])
        match = evidence["label"][:, None] == label
        known = ~jnp.isnan(evidence["label"])
        value = jax.vmap(shapley, (1, 1, None, None), 1)(evidence["distances"], match, known, k)
        size = size.ravel()
        mean = value @ size / jnp.maximum(jnp.sum(size), 1)
        return scorers.answered(-mean * jnp.sum(known), jnp.sum(size))

    return types.HarmScorer(reference, measure, judge)


def shapley(distance, match, known, k: int):
    """Shapley value [N] of every sample for the vote of the k nearest at one point.

    The utility of a set is the share of votes, out of k, that its k samples nearest the point cast
    for the point's class.

    Args:
        distance: [N] of the samples from the point.
        match: [N] bool, whether the sample has the point's class.
        known: [N] bool; the others take no part and get NaN.
        k: Neighbours that vote.

    Returns:
        [N] float32; the sum is the utility of all.
    """
    number = jnp.sum(known)
    order = jnp.argsort(jnp.where(known, distance, jnp.inf))
    hit = (match & known)[order].astype(jnp.float32)
    place = jnp.arange(1, len(order) + 1)
    farthest = jnp.where(place == number, hit * jnp.minimum(k, number) / (k * number), 0)
    following = jnp.append(hit[1:], 0)
    gain = (hit - following) / k * jnp.minimum(k, place) / place
    steps = farthest + jnp.where(place < number, gain, 0)
    value = jnp.cumsum(steps[::-1])[::-1]
    return jnp.where(known, jnp.zeros(len(order)).at[order].set(value), jnp.nan)
