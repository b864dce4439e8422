"""Where the data are, and what may be asked of them."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from harmjax.types.learner import Learner
from harmjax.types.records import AnyArray, Array, Measure, Model, PyTree, Samples, Stop


class LegFn(Protocol):
    def __call__(self, model: Model, leg: Stop) -> tuple[Model, Array]:
        """The model after a leg, and the loss [T] float32 of each of its stops, in nats.

        An update that is not finite leaves the model as it was and the loss NaN.

        Args:
            model: As it arrives.
            leg: [T] stops at one centre.
        """


class AtFn(Protocol):
    def __call__(self, asked: Measure, model: Model, leg: Stop, reference: PyTree) -> PyTree:
        """Evidence about the samples of a leg: a dict of float32 [T, B, ...], NaN in padding.

        Args:
            asked: What is measured.
            model: To measure with.
            leg: [T] stops at one centre.
            reference: From `HarmScorer.reference`.
        """


class TotalFn(Protocol):
    def __call__(
        self, statistic: str, model: Model, *args: PyTree, fold: int | None = None
    ) -> PyTree:
        """The sums of a statistic over the held-out scans of every centre.

        Args:
            statistic: Name of a function of `federations/statistics.py`.
            model: That it is about.
            args: What else the statistic takes.
            fold: 0 or 1 for the scans of this fold of their centre; all by default.
        """


class SurveyFn(Protocol):
    def __call__(self, asked: Measure, model: Model, reference: PyTree) -> PyTree:
        """Evidence about all held-out scans: a dict of float32 [M, ...].

        Args:
            asked: What is measured.
            model: To measure with.
            reference: From `HarmScorer.reference`.
        """


class ScanFn(Protocol):
    def __call__(
        self, body: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any, /
    ) -> tuple[Any, Any]:
        """What `jax.lax.scan` returns: the last carry, and the outputs of all rounds stacked."""


class CondFn(Protocol):
    def __call__(
        self,
        predicate: Any,
        true_fn: Callable[..., Any],
        false_fn: Callable[..., Any],
        /,
        *operands: Any,
    ) -> Any:
        """What `jax.lax.cond` returns: that of one of the two functions of the operands."""


class Federation(NamedTuple):
    """The only thing that touches data; the algorithm is written against it once.

    In memory the functions are pure JAX and `scan` and `cond` are those of `jax.lax`. Elsewhere
    they may send messages, and `scan` and `cond` are their plain Python twins.
    """

    num_classes: int  # K
    centre: AnyArray  # [N] int32, which centre holds each training sample
    held_out_centre: np.ndarray  # [M] int32, the same of the held-out scans; concrete
    learn: LegFn
    at: AtFn
    total: TotalFn
    survey: SurveyFn
    scan: ScanFn
    cond: CondFn
    by_leg: bool = False  # whether all stops of a centre are one leg; else each stop is
    evaluate: Callable[[Model], dict[str, dict[str, Any]]] | None = None
    # split -> group -> metrics, where held-out scans are not at hand


class FederationFn(Protocol):
    def __call__(
        self,
        learner: Learner,
        train: Samples,
        held_out: Samples,
        key: Array,
        *,
        chunk: int = 64,
        minimum: int = 5,
    ) -> Federation:
        """The federation.

        Args:
            learner: What every centre computes.
            train: N training samples.
            held_out: M verification samples; who holds them must be concrete.
            key: Root of the per-sample dropout keys.
            chunk: Verification scans per forward pass, at most.
            minimum: Centres with fewer held-out scans than this answer their confusion only.
        """
