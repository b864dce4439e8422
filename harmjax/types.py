"""The records that everything else passes around.

Dimensions, used in every shape comment of the project:

    N  training samples          B  slots of a batch (padding carries id N)
    M  held-out scans            S  shape of one stored image: (X, Y, Z), (X, Y, C) or (F,)
    C  centres                   T  stops in a row
    K  classes                   J  samples judged together
    F  features of a sample      R  verifications of one stop
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

Array = jax.Array
PyTree = Any
BINARY = ("control", "patient")  # what two classes are called that nobody has named


class Samples(NamedTuple):
    """Labelled images of one split, in one order, on one device."""

    image: Array  # [N, *S] uint8, bfloat16 or float32
    label: Array  # [N] int32, which of the K classes; of two, 1 = disease
    centre: Array  # [N] int32, index into the cohort's centre names
    identity: Array  # [N] uint32, a stable hash of subject and session


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


class Classifier(NamedTuple):
    """A classifier as pure functions; one Flax module behind each, in `models/`.

    Of two classes the logits are `[0, z]`, see `task`. `weight` [B] reaches the batch statistics:
    samples of weight 0 leave no trace in them.
    With `train=False` running statistics are used, dropout is off and `weight` and `keys` are
    ignored.
    """

    init: Callable[..., Variables]  # (key, image[1, *S]) -> Variables
    apply: Callable[..., Any]
    # (Variables, image[B, *S], weight[B], keys[B], train: bool)
    #   -> (logits[B, K], features[B, F], Variables)
    # and, for `Learner.learn_along`, along=(direction, size[B]); see `models/ops/along.py`


class Offer(NamedTuple):
    """Which training samples take part in a cycle, and how: see `offers`."""

    met: Array  # [N] bool, at the stops of their centre
    weight: Array  # [N] float32 in [0, 1], of their loss; 0 is met only to be looked at


class Stop(NamedTuple):
    """One batch at one centre; with a leading axis [T], a leg: stops in a row at one centre."""

    cycle: Array  # [] int32
    centre: Array  # [] int32
    ids: Array  # [B] int32, N where the slot is empty
    weight: Array  # [B] float32 in [0, 1], of the sample's loss; 0 where the slot is empty


class Learner(NamedTuple):
    """One local update and one forward pass: all that a centre computes on its own scans."""

    task: Any  # `task.Task`: how logits are read
    init: Callable[..., Model]  # (key, image[1, *S]) -> Model
    learn: Callable[..., tuple[Model, Array]]
    # (Model, Batch, weight[B], offered[B] bool, cycle) -> (Model, loss [])
    logits: Callable[..., Array]  # (Model, image[B, *S]) -> [B, K]
    features: Callable[..., Array]  # (Model, image[B, *S]) -> [B, F]
    rate: Callable[..., Array]  # cycle -> learning rate []
    learn_along: Callable[..., tuple[Model, Array, Array]] | None = None
    # (Model, Batch, weight[B], offered[B] bool, cycle, direction) -> (Model, loss [], slope [B])
    forward: Callable[..., tuple[Array, Array]] | None = None
    # (Model, image[B, *S]) -> (logits [B, K], features [B, F])


class Measure(NamedTuple):
    """What is measured of a sample, by name: both ends resolve it to the same function.

    Hashable, so that programs that ask for it are compiled once; see `measures.resolved`.
    """

    name: str  # of a file of `scorers`, or `measures.CROSS_FITTED`
    settings: tuple[tuple[str, Any], ...] = ()  # pairs of a setting and its hashable value


class Federation(NamedTuple):
    """The only thing that touches data; the algorithm is written against it once.

    In memory the functions are pure JAX and `scan` and `cond` are those of `jax.lax`. Elsewhere
    they may send messages, and `scan` and `cond` are their plain Python twins.
    """

    num_classes: int  # K
    centre: Array  # [N] int32, which centre holds each training sample
    held_out_centre: np.ndarray  # [M] int32, the same of the held-out scans; concrete
    learn: Callable[..., tuple[Model, Array]]
    # (Model, leg: Stop [T]) -> (Model, loss [T]); an update that is not finite leaves the model as
    # it was and the loss NaN
    at: Callable[..., PyTree]
    # (Measure, Model, leg: Stop [T], Reference) -> Evidence [T, B, ...], NaN in padding
    total: Callable[..., PyTree]
    # (statistic name, Model, *args, fold=None) -> sums over every centre, of all held-out scans or
    # of those in one fold of their centre
    survey: Callable[..., PyTree]  # (Measure, Model, Reference) -> Evidence[M], of held-out scans
    scan: Callable[..., Any]
    cond: Callable[..., Any]
    by_leg: bool = False  # whether all stops of a centre are one leg; else each stop is
    evaluate: Callable[..., dict] | None = None
    # Model -> split -> group -> metrics, where held-out scans are not at hand


class HarmScorer(NamedTuple):
    """How harmful samples look, in three steps: at the server, at a centre, at the server.

    Evidence is a dict of float32 arrays [B, ...], a few numbers a sample. `judge` takes the
    evidence of any number of samples, of one stop or of the whole cohort; NaN is "not known" and
    stays NaN. Harm > 0 means that including the sample raises the verification loss.
    """

    reference: Callable[..., PyTree]
    # (Federation, Model, cycle, fold=None) -> Reference; travels out. Sums run over one fold of
    # every centre's held-out scans, or over all
    measure: Callable[..., PyTree] | None  # (Learner, Model, Batch, Reference) -> Evidence[B]
    judge: Callable[..., Array]  # (Evidence[J], Reference) -> harm[J]
    trial: Callable[..., PyTree] | None = None
    # (Federation, Model, Stop, Reference) -> Evidence[B]: instead of `measure`, where evidence
    # takes updates that are tried out at every centre
    learn: Callable[..., tuple[Model, Array, PyTree]] | None = None
    # (Learner, Model, Batch, weight[B], offered[B] bool, cycle, Reference)
    #   -> (Model, loss [], Evidence[B]): `Learner.learn` that measures in the same pass, or None


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


class QualityControl(NamedTuple):
    """A policy: what is met and trained on, and what a visit tries, keeps and rolls back."""

    init: Callable[..., PyTree]  # (num_samples, confusion [K, K] of the first model) -> state
    offer: Callable[..., Offer]  # (state, cycle) -> what the cycle's stops hold
    visit: Callable[..., tuple[Travel, Info]]
    # (Federation, Travel, leg: Stop [T]) -> (Travel, Info [T, R])
    close: Callable[..., tuple[Travel, Info]]  # (Federation, Travel, cycle) -> ...
    verdicts: Callable[..., "Verdicts"]  # (state, cycle) -> Verdicts
    open: Callable[..., Travel] | None = None  # (Federation, Travel, cycle) -> ..., before a cycle


class Verdicts(NamedTuple):
    """What a policy says of every training sample; NaN and -1 stand for "nothing yet"."""

    harm: Array  # [N] float32, > 0 means that including the sample raises misdiagnosis
    pending: Array  # [N] bool
    eliminated: Array  # [N] bool
    cycle: Array  # [N] int32, of the last verdict
    p_value: Array | None = None  # [N] float32
    evidence: PyTree = {}  # name of a scorer -> [N] float32
    alarms: Array | None = None  # [A] bool, which of ALARMS are on; any, all or none


ALARMS = (
    "most of the training samples look unlike the verification scans, or cannot be compared with "
    "them: nothing is eliminated any more; either most of the cohort is harmful or the "
    "verification scans are of another kind",
    "the verification scans hold outliers that the training samples do not: look at them, because "
    "what is eliminated is measured against them",
    "a family of evidence is not a number for any verification scan of a class, so harm that only "
    "that family shows is not found: look for scans that are not numbers, or for centres too small "
    "to answer",
)
