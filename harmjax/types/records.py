"""The records of data."""

from typing import Any, NamedTuple

import jax
import numpy as np

Array = jax.Array
AnyArray = jax.Array | np.ndarray  # in the memory of a device or of the host
Cycle = jax.Array | int  # [] int32, from 0
PyTree = Any
BINARY = ("control", "patient")  # what two classes are called that nobody has named


class Samples(NamedTuple):
    """Labelled images of one split, in one order."""

    image: AnyArray  # [N, *S] uint8, bfloat16 or float32
    label: AnyArray  # [N] int32, which of the K classes; of two, 1 = disease
    centre: AnyArray  # [N] int32, index into the cohort's centre names
    identity: AnyArray  # [N] uint32, a stable hash of subject and session


class Batch(NamedTuple):
    """What one training or evaluation step sees."""

    image: Array  # [B, *S] as stored
    label: Array  # [B] int32
    keys: Array  # [B] typed PRNG keys, one per sample
    fold: Array  # [B] int32, 0 or 1, of its centre's scans, for cross-fitting


class Variables(NamedTuple):
    """Everything a classifier's forward pass reads."""

    params: PyTree
    batch_stats: PyTree


class Model(NamedTuple):
    """What travels between centres, is rolled back and is checkpointed."""

    params: PyTree
    batch_stats: PyTree
    opt_state: PyTree


class Offer(NamedTuple):
    """Which training samples take part in a cycle, and how: see `offers`."""

    met: Array  # [N] bool, at the stops of their centre
    weight: Array  # [N] float32 in [0, 1], of their loss; 0 is met only to be looked at


class Stop(NamedTuple):
    """One batch at one centre; with a leading axis [T], a leg: stops in a row at one centre."""

    cycle: AnyArray  # [] int32
    centre: AnyArray  # [] int32
    ids: AnyArray  # [B] int32, N where the slot is empty
    weight: AnyArray  # [B] float32 in [0, 1], of the sample's loss; 0 where the slot is empty


class Measure(NamedTuple):
    """What is measured of a sample, by name: both ends resolve it to the same function.

    Hashable, so that programs that ask for it are compiled once; see `measures.resolved`.
    """

    name: str  # of a file of `scorers`, or `measures.CROSS_FITTED`
    settings: tuple[tuple[str, Any], ...] = ()  # pairs of a setting and its hashable value


class Travel(NamedTuple):
    """What the next stop needs."""

    model: Model
    state: PyTree  # of the quality control


class Info(NamedTuple):
    """What the log keeps: one row per trial, `kind` NO_TRIAL where a slot was not used."""

    kind: Array  # [R] int32, index into TRIAL_KINDS
    ids: Array  # [R, B] int32, N where the slot is empty
    loss: Array  # [R] float32, of the samples tried, before the update; NaN if that is not finite
    confusion: Array  # [R, K, K] int32, of the model after the update
    reference: Array  # [R, K, K] int32, of the last accepted model
    allowed: Array  # [R] float32, rate by which the reference may be exceeded
    accepted: Array  # [R] bool
    p_value: Array  # [R] float32, NaN where nothing was tested


NO_TRIAL, BATCH, SINGLE, REVISIT, UNVERIFIED, SUSPICION, EXAMINATION, CENTRE, COPIED = range(9)
TRIAL_KINDS = (
    *("", "batch", "single", "revisit", "unverified", "suspicion", "examination", "centre"),
    "single",
)
VERIFIED = (BATCH, SINGLE, REVISIT)  # trials of an update, each verified at every centre
COMPARED = (*VERIFIED, COPIED)  # COPIED: a batch of one was its sample's lone trial; costs nothing
JUDGED = (SUSPICION, EXAMINATION, CENTRE)  # verdicts on evidence, without an update


class Verdicts(NamedTuple):
    """What a policy says of every training sample; NaN and -1 stand for "nothing yet"."""

    harm: Array  # [N] float32, > 0 means that including the sample raises misdiagnosis
    pending: Array  # [N] bool
    eliminated: Array  # [N] bool
    cycle: Array  # [N] int32, of the last verdict
    p_value: Array | None = None  # [N] float32
    evidence: PyTree = {}  # name of a scorer -> [N] float32
    alarms: Array | None = None  # [A] bool, which of `suspicion.ALARMS` are on
