"""What became of one mutated input."""

from typing import NamedTuple

VERDICTS = ("accepted", "refused", "wrong", "crashed")


class Outcome(NamedTuple):
    """One input; `wrong` is accepted though it means another thing, or refused without a reason."""

    kind: str  # what was mutated
    verdict: str  # one of VERDICTS
    detail: str  # how to see it again, and what was said
