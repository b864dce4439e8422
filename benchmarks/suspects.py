"""Would exact verification of suspects tell wrong labels from good scans? It does not.

    python -m experiments.make_cohort --config=configs/suite83.py --workdir=runs/cohort83
    python -m benchmarks.suspects

Tuning seeds of `suite83`, 36 flipped labels and 36 noise images planted as single scans. A run of
`screen` ends; its suspects are the good and the flipped scans with a p-value of 10% at most. Each
of them joins a batch with four unsuspected scans, which the delivered model learns with and without
it (`with_without`, 92 forward passes for every scan of the batch and once more). AUROC of flips
among the suspects, by that change of the mean verification loss, by that of the mean error, and by
the evidence that the run had at hand.
"""

import itertools
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import tqdm

from benchmarks import record
from configs import suite83
from harmjax import metrics, preparation, scorers, training, types
from harmjax.federations import memory

SEEDS = (100, 101, 102)
SUSPICIOUS, UNSUSPECTED = 0.1, 0.2  # p-values
BATCH = 5


def main(seeds=SEEDS):
    cases = list(itertools.product(seeds, ("clean", "as_is")))
    record.write("suspects", [row(*case) for case in tqdm.tqdm(cases)])


def config(seed, warmup):
    """Single flips and noise images in the cohort of `suite83`, under `screen`."""
    made = suite83.get_config()
    made.seed = made.scenario.seed = seed
    made.scenario.name, made.scenario.count = "singles", 72
    made.scenario.harm = ("label_flip", "noise")
    made.policy.name = "screen"
    made.train.warmup_on, made.report = warmup, False
    return made


def row(seed, warmup) -> dict:
    """How well each kind of evidence ranks the flips among the suspects of one run."""
    one = config(seed, warmup)
    with tempfile.TemporaryDirectory() as folder:
        study = preparation.prepare(one, folder, progress=False)
        outcome = training.train(one, folder, study=study, progress=False)
    kind, p_value = np.array(study.kind), outcome.verdicts.p_value
    suspects = np.flatnonzero((p_value <= SUSPICIOUS) & np.isin(kind, ("", "label_flip")))
    company = np.random.default_rng(seed).choice(
        np.flatnonzero(p_value > UNSUSPECTED), (len(suspects), BATCH - 1)
    )
    ids = np.concatenate([suspects[:, None], company], axis=1)
    evidence = {
        "margin": outcome.verdicts.evidence["margin"][suspects],
        "p-value": -p_value[suspects],
        "loss, with and without": with_and_without(one, study, outcome.model, ids, "loss"),
        "error, with and without": with_and_without(one, study, outcome.model, ids, "error"),
    }
    flipped = kind[suspects] == "label_flip"
    return {
        "seed": seed,
        "warmup": warmup,
        "suspects": len(suspects),
        "flips": int(flipped.sum()),
        **{name: record.rounded(metrics.auroc(harm, flipped)) for name, harm in evidence.items()},
    }


def with_and_without(config, study, model, ids, verify):
    """Harm [K] of the first sample of each batch of `ids` [K, B]."""
    fed = memory.memory(
        training.build_learner(config), study.train, study.verification, jax.random.key(config.seed)
    )
    scorer = scorers.get("with_without")(verify=verify)

    def harm(ids):
        stop = types.Stop(jnp.int32(config.train.cycles), jnp.int32(0), ids)
        found = scorers.evidence(scorer, fed, model, stop, scorer.reference(fed, model, stop.cycle))
        return scorer.judge(found, {})[0]

    return np.asarray(jax.jit(lambda ids: jax.lax.map(harm, ids))(jnp.asarray(ids, jnp.int32)))


if __name__ == "__main__":
    main()
