"""What looks harmful, and what a scorer may see.

`measure` runs at the centre that holds the samples and sees a `Batch`: image, label, keys and fold,
of no other centre (`federations/memory` makes it). `reference` and `judge` run at the server, which
sees sums over held-out scans that `federations/permitted` lets a centre answer, and of a sample its
evidence. How many numbers that may be is held by `tests/scorers/test_contracts.py`, not by a
federation. `trial` sees the whole federation.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from harmjax.types.federation import Federation
from harmjax.types.learner import Learner
from harmjax.types.records import Array, Batch, Cycle, Model, PyTree, Stop


class ReferenceFn(Protocol):
    def __call__(
        self, fed: Federation, model: Model, cycle: Cycle, fold: int | None = None
    ) -> PyTree:
        """The reference, which travels out: a dict of arrays.

        Args:
            fed: Where the data are; asked for sums over held-out scans.
            model: To measure with.
            cycle: [] int32.
            fold: 0 or 1, that of every centre's held-out scans that sums run over; all by default.
        """


class MeasureFn(Protocol):
    def __call__(self, learner: Learner, model: Model, batch: Batch, reference: PyTree) -> PyTree:
        """Evidence about the samples of a batch, a few numbers each: a dict of float32 [B, ...].

        Args:
            learner: What the centre computes.
            model: To measure with.
            batch: B slots.
            reference: From `reference`.
        """


class TrialFn(Protocol):
    def __call__(self, fed: Federation, model: Model, stop: Stop, reference: PyTree) -> PyTree:
        """Evidence about the samples of a stop: a dict of float32 [B, ...].

        Args:
            fed: Where the data are.
            model: As it arrives at the stop.
            stop: One stop.
            reference: From `reference`.
        """


class HarmScorer(NamedTuple):
    """How harmful samples look, in three steps: at the server, at a centre, at the server.

    `judge` takes the evidence of any number of samples, of one stop or of the whole cohort; NaN is
    "not known" and stays NaN. Harm > 0 means that including the sample raises the verification
    loss. Where `is_verdict`, it is the model's verdict on a label, > 0 where the model contradicts
    it and < 0 where it agrees, so that held-out samples show how much the model knows.
    """

    reference: ReferenceFn
    measure: MeasureFn | None
    judge: Callable[[PyTree, PyTree], Array]  # evidence [J], reference: harm [J] float32
    trial: TrialFn | None = None  # instead of `measure`
    is_verdict: bool = False
