"""A model: how its logits are read, what its forward pass is, and one local update."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from harmjax.types.records import AnyArray, Array, Batch, Cycle, Model, Variables


class Task(NamedTuple):
    """How logits [B, K] are read against labels [B] of K classes, as pure functions."""

    num_classes: int  # K
    loss: Callable[[Array, Array], Array]  # logits, labels: cross-entropy [B], nats
    error: Callable[[Array, Array], Array]  # logits, labels: probability of the other classes [B]
    predicted: Callable[[Array], Array]  # logits: most probable class [B] int32
    curve: Callable[[Array, Array], Array]
    # logits, change [B, K]: `(diag p - p p^T) change` [B, K], p the softmax: the loss's Hessian


class ApplyFn(Protocol):
    def __call__(
        self, variables: Variables, image: Array, weight: Array, keys: Array, train: bool
    ) -> tuple[Array, Array, Variables]:
        """Logits [B, K] float32, features [B, F] float32, and the variables after the pass.

        With `train=False` running statistics are used, dropout is off and `weight` and `keys` are
        ignored.

        Args:
            variables: Parameters and batch statistics.
            image: [B, *S] as stored.
            weight: [B] float32, which reaches the batch statistics: samples of weight 0 leave no
                trace in them.
            keys: [B] typed PRNG keys, of dropout.
            train: Whether the model is being trained.
        """


ScheduleFn = Callable[[Cycle], Array]  # the learning rate [] of a cycle


class Classifier(NamedTuple):
    """A classifier as pure functions; one Flax module behind each, in `models/`.

    Of two classes the logits are `[0, z]`, see `task`.
    """

    init: Callable[[Array, AnyArray], Variables]  # key, image [1, *S]: fresh variables
    apply: ApplyFn


class LearnFn(Protocol):
    def __call__(
        self, model: Model, batch: Batch, weight: Array, offered: Array, cycle: Cycle
    ) -> tuple[Model, Array]:
        """The model after one optimiser step, and the stop's loss [] in nats, see `task.stop_loss`.

        Args:
            model: As it arrives.
            batch: B slots.
            weight: [B] float32 in [0, 1], of each sample's loss.
            offered: [B] bool, False where the slot is padding, pending or eliminated.
            cycle: [] int32, which decides about the learning rate.
        """


class Learner(NamedTuple):
    """One local update and one forward pass: all that a centre computes on its own scans."""

    task: Task  # how logits are read
    init: Callable[[Array, AnyArray], Model]  # key, image [1, *S]: a fresh model
    learn: LearnFn
    logits: Callable[[Model, Array], Array]  # model, image [B, *S]: [B, K]
    features: Callable[[Model, Array], Array]  # model, image [B, *S]: [B, F]
    rate: ScheduleFn
    forward: Callable[[Model, Array], tuple[Array, Array]]  # logits and features in one pass
