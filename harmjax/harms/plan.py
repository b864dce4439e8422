"""Which samples a scenario damages, by which of the harms, decided before any image is touched."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from harmjax import plugins

SCENARIOS = ("none", "centres", "singles")


class Choice(NamedTuple):
    """What a scenario damages; group `scenario` of a config has the same names.

    'centres' damages every sample of `count` centres, or of exactly the named ones; 'singles'
    damages `count` samples in otherwise good centres, one per centre before any gets a second,
    always fewer than half of a centre.
    """

    name: str  # 'none', 'centres' or 'singles'
    count: int = 1  # type: ignore[assignment]  # centres or samples; unused where centres are named
    # Names or indices: the centres to damage, or that the single samples are drawn from, whatever
    # their size.
    centres: Sequence[str | int] = ()
    min_scans: int = 5  # smallest centre, in training samples, that is drawn
    max_fraction: float = 0.2  # largest that is drawn under 'centres', as a fraction of all N


class Plan(NamedTuple):
    """Which samples are to be damaged, before any image is touched."""

    turn: np.ndarray  # [N] int32, position of the harm in the list of harms, -1 = left alone
    donor: np.ndarray  # [N] int32, a sample of another class


def typed_key(seed):
    """Returns the typed key of an integer seed, or the typed key given."""
    return jax.random.key(seed) if isinstance(seed, int | np.integer) else seed


def _generator(key):
    return np.random.default_rng(np.asarray(jax.random.key_data(key)))


def _centre_ids(centres, centre_names, present):
    """The named centres as indices into `centre_names`; numbers are indices already."""
    ids = []
    for centre in centres:
        known = list(centre_names)
        is_name = isinstance(centre, str)
        index = known.index(centre) if is_name and centre in known else centre
        if isinstance(index, str) or index not in present:
            named = [known[i] if i < len(known) else int(i) for i in present]
            raise ValueError(
                f"scenario: no training scan of centre {centre!r}{plugins.choices(centre, named)}"
            )
        ids.append(int(index))
    return list(dict.fromkeys(ids))


def _units(choice, centre, rng, named):
    """What may be damaged, in order of preference: all samples of a centre, or single ones."""
    order = rng.permutation(np.unique(centre))
    members = {c: rng.permutation(np.flatnonzero(centre == c)) for c in order}
    least = choice.min_scans
    if choice.name == "centres":
        if named:
            return [members[c] for c in named]
        largest = choice.max_fraction * len(centre)
        return [members[c] for c in order if least <= len(members[c]) <= largest]
    pool = [c for c in order if c in named or (not named and len(members[c]) >= least)]
    # Fewer than half of a centre's scans, or it is no otherwise good centre.
    rounds = max(((len(members[c]) - 1) // 2 for c in pool), default=0)
    return [
        members[c][r : r + 1] for r in range(rounds) for c in pool if 2 * r + 2 < len(members[c])
    ]


def draw(
    label: jax.typing.ArrayLike,
    centre: jax.typing.ArrayLike,
    choice: Choice,
    num_harms: int = 1,
    *,
    seed,
    centre_names: Sequence[str] = (),
) -> Plan:
    """Returns the plan of a scenario: which samples to damage with which of the harms, and donors.

    The draw does not depend on `num_harms`, and a larger `count` adds to what a smaller one chose.
    Centres or samples that would leave a class without a clean sample are passed over.

    Args:
        label: [N] int, 0 to K - 1, of the training samples.
        centre: [N] int, index into `centre_names`.
        choice: What is damaged.
        num_harms: Harms to deal out round robin: a centre gets one kind, single samples take turns.
        seed: An int or a typed key.
        centre_names: Of the cohort; needed where `choice.centres` are names.

    Raises:
        ValueError: For an unknown scenario or centre, more than is available, or a class without a
            clean sample.

    Example:
        >>> label, centre = np.tile([0, 1], 20), np.repeat(np.arange(8), 5)
        >>> plan = draw(label, centre, Choice("centres", count=2), seed=0)
        >>> int((plan.turn >= 0).sum())
        10
    """
    label, centre = np.asarray(label), np.asarray(centre)
    plugins.one_of("scenario", choice.name, SCENARIOS)
    turn = np.full(len(label), -1, np.int32)
    if choice.name == "none":
        return Plan(turn, np.arange(len(label), dtype=np.int32))
    if num_harms < 1 or choice.count < 1:
        raise ValueError(
            f"scenario {choice.name!r}: {num_harms} harms, count {choice.count}; give at least "
            "one of each, or choose scenario 'none'"
        )
    present = np.unique(label)
    if len(present) < 2:
        raise ValueError(
            f"scenario {choice.name!r}: the {len(label)} training samples hold a single class; "
            "donors and clean samples are needed of two or more"
        )
    which_key, donor_key = jax.random.split(typed_key(seed))
    named = _centre_ids(choice.centres, centre_names, np.unique(centre).tolist())
    units = _units(choice, centre, _generator(which_key), named)
    wanted = len(named) if named and choice.name == "centres" else choice.count
    chosen = 0
    for unit in units:
        if chosen == wanted:
            break
        clean = turn < 0
        clean[unit] = False
        if len(np.unique(label[clean])) == len(present):
            turn[unit] = chosen % num_harms
            chosen += 1
    if chosen < wanted:
        raise ValueError(
            f"scenario {choice.name!r}: {wanted} wanted, {chosen} available with "
            f"min_scans={choice.min_scans}, max_fraction={choice.max_fraction} and every "
            "class among the clean samples; lower the count, relax these limits or name other "
            "centres"
        )
    others = [np.flatnonzero(label != own) for own in range(present[-1] + 1)]
    u = _generator(donor_key).random(len(label))
    donor = [others[own][int(x * len(others[own]))] for own, x in zip(label, u, strict=True)]
    return Plan(turn, np.asarray(donor, np.int32))
