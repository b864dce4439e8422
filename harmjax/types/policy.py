"""Who is met and trained on, and what is kept."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from harmjax.types.federation import Federation
from harmjax.types.records import Array, Cycle, Info, Offer, PyTree, Stop, Travel, Verdicts


class OpenFn(Protocol):
    def __call__(self, fed: Federation, travel: Travel, cycle: Cycle) -> Travel:
        """The traveller as the cycle begins.

        Args:
            fed: Where the data are.
            travel: Model and state after the last cycle.
            cycle: [] int32, its number.
        """


class VisitFn(Protocol):
    def __call__(self, fed: Federation, travel: Travel, leg: Stop) -> tuple[Travel, Info]:
        """The traveller after a leg, and the info [T, R] of its trials.

        Args:
            fed: Where the data are.
            travel: Model and state as they arrive.
            leg: [T] stops at one centre.
        """


class CloseFn(Protocol):
    def __call__(self, fed: Federation, travel: Travel, cycle: Cycle) -> tuple[Travel, Info]:
        """The traveller as the cycle ends, and the info [R] of what was tried or decided.

        Args:
            fed: Where the data are.
            travel: Model and state after the last stop.
            cycle: [] int32, its number.
        """


class QualityControl(NamedTuple):
    """A policy: what is met and trained on, and what a visit tries, keeps and rolls back."""

    init: Callable[[int, Array | None], PyTree]
    # num_samples, confusion [K, K] int32 of the first model (None where nothing is verified): state
    offer: Callable[[PyTree, Cycle], Offer]  # state, cycle: what the cycle's stops hold
    visit: VisitFn
    close: CloseFn
    verdicts: Callable[[PyTree, Cycle], Verdicts]  # state, cycle
    open: OpenFn | None = None
