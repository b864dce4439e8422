"""Where the data are, and what may be asked of them."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from harmjax.types.records import AnyArray, Array, Measure, Model, PyTree, Stop


class LegFn(Protocol):
    """Learning at a centre."""

    def __call__(self, model: Model, leg: Stop) -> tuple[Model, Array]:
        """The model after a leg, and the loss [T] float32 of each of its stops, in nats.

        An update that is not finite leaves the model as it was and the loss NaN.

        Args:
            model: As it arrives.
            leg: [T] stops at one centre.
        """


class AtFn(Protocol):
    """Measuring at a centre, without learning."""

    def __call__(self, asked: Measure, model: Model, leg: Stop, reference: PyTree) -> PyTree:
        """Evidence about the samples of a leg: a dict of float32 [T, B, ...], NaN in padding.

        Args:
            asked: What is measured.
            model: To measure with.
            leg: [T] stops at one centre.
            reference: From `HarmScorer.reference`.
        """


class TotalFn(Protocol):
    """Summing at every centre."""

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
    """Measuring every centre's held-out scans."""

    def __call__(self, asked: Measure, model: Model, reference: PyTree) -> PyTree:
        """Evidence about all held-out scans: a dict of float32 [M, ...].

        Args:
            asked: What is measured.
            model: To measure with.
            reference: From `HarmScorer.reference`.
        """


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
    scan: Callable[..., Any]  # as `jax.lax.scan(body, carry, xs)`
    cond: Callable[..., Any]  # as `jax.lax.cond(predicate, true_fn, false_fn, *operands)`
    by_leg: bool = False  # whether all stops of a centre are one leg; else each stop is
    evaluate: Callable[[Model], dict[str, dict]] | None = None
    # split -> group -> metrics, where held-out scans are not at hand
