"""Contracts of every harm scorer in the folder."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harmjax import offers, scorers, types
from harmjax.engine import itinerary
from harmjax.federations import memory, passes, statistics, stepwise, stream, traffic
from harmjax.scorers import combined, descriptors, measures
from tests import sites
from tests.scorers.twins import (
    CLEAN,
    FLIPPED,
    THREE,
    TWO,
    B,
    M,
    N,
    asked,
    assert_close,
    in_strides,
    rows,
    stop_of,
    trained,
)

NAMES = scorers.names()
ALONE = [name for name in NAMES if name not in ("with_without",)]
PAGE = pathlib.Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.fixture(scope="module")
def runs(fed):
    """Per scorer: its measure and itself, its jitted reference and evidence, and their traces."""

    def build(name):
        (measure, scorer), traces = asked(name), []

        @jax.jit
        def reference(model):
            traces.append("reference")
            return scorer.reference(fed, model, 1)

        @jax.jit
        def evidence(model, stop, reference):
            traces.append("evidence")
            return measures.evidence(measure, fed, model, stop, reference)

        return measure, scorer, reference, evidence, traces

    return {name: build(name) for name in NAMES}


def test_names_are_found_and_unknown_ones_are_explained():
    assert {"alignment", "combined", "with_without", "error_rate", "knn_shapley"} <= set(NAMES)
    with pytest.raises(ValueError, match="no 'alignement' .*'alignment'.*; known: .*margin"):
        scorers.get("alignement")


@pytest.mark.parametrize("name", NAMES)
def test_evidence_is_a_few_floats_a_sample_and_nan_in_padding(runs, model, name):
    _, scorer, reference, evidence, _ = runs[name]
    ref = reference(model)
    found = evidence(model, stop_of(2, 3, N, 5), ref)
    for leaf in found.values():
        assert leaf.dtype == jnp.float32
        assert leaf.shape[0] == B and leaf[0].size <= 32
        assert jnp.isnan(leaf[2]).all() and jnp.isfinite(leaf[jnp.array([0, 1, 3])]).all()
    harm = scorer.judge(found, ref)
    assert harm.shape == (B,)
    assert jnp.isnan(harm).tolist() == [False, False, True, False]
    assert_close(harm[jnp.array([0, 1, 3])], scorer.judge(rows(found, [0, 1, 3]), ref))


@pytest.mark.parametrize("name", NAMES)
def test_padding_and_order_do_not_matter_and_nothing_is_remembered(runs, fed, model, name):
    measure, _, reference, evidence, _ = runs[name]
    ref = reference(model)
    first = evidence(model, stop_of(2, 3, 4, N), ref)
    turned = evidence(model, stop_of(4, N, 2, 3), ref)
    assert_close(rows(first, [2, 3, 0, 1]), turned)
    bare = jax.jit(lambda s: measures.evidence(measure, fed, model, s, ref))(stop_of(2, 3, 4))
    assert_close(rows(first, [0, 1, 2]), bare)
    assert_close(first, evidence(model, stop_of(2, 3, 4, N), ref), atol=0)


@pytest.mark.parametrize("name", ALONE)
def test_a_sample_is_judged_on_its_own(runs, model, name):
    *_, reference, evidence, _ = runs[name]
    ref = reference(model)
    together = evidence(model, stop_of(2, 3, 4, 5), ref)
    assert_close(rows(together, [1]), rows(evidence(model, stop_of(N, 3, N, N), ref), [1]))


@pytest.mark.parametrize("name", NAMES)
def test_compiles_once_whatever_the_model_and_the_stop(runs, lrn, data, model, name):
    *_, reference, evidence, traces = runs[name]
    for m, stop in ((model, stop_of(2, 3, 4, 5)), (trained(lrn, data, 3), stop_of(6, N, N, N))):
        evidence(m, stop, reference(m))
    assert sorted(traces) == ["evidence", "reference"]


@pytest.fixture(scope="module")
def others(lrn, data):
    on_disk = jax.tree.map(np.asarray, data[:2])
    return (
        stepwise.stepwise(lrn, *data, chunk=16),
        stream.stream(lrn, *on_disk, data[2], chunk=16),
        sites.messages(lrn, *on_disk, data[2], chunk=16),
    )


@THREE
@pytest.mark.parametrize("name", NAMES)
def test_federations_agree(runs, others, lrn, data, model, name):
    measure, scorer, reference, _, _ = runs[name]
    first, second = (CLEAN, FLIPPED, 2, 9), (4, 5, 12, N)
    stops = jax.tree.map(lambda *s: jnp.stack(s), stop_of(*first), stop_of(*second))
    stops = stops._replace(centre=jnp.array([0, 1]))
    assert data[0].centre[jnp.array([*first, *second[:3]])].tolist() == [0] * 4 + [1] * 3
    memory_fed = memory.memory(lrn, *data, chunk=16)
    expected_reference = reference(model)
    expected = jax.jit(lambda s, r: measures.survey(measure, memory_fed, model, s, r))(
        stops, expected_reference
    )
    known = ~jnp.isnan(next(iter(expected.values())).reshape(N, -1)[:, 0])
    assert jnp.flatnonzero(known).tolist() == sorted({*first, *second} - {N})
    for other in others:
        ref = scorer.reference(other, model, 1)
        assert_close(ref, expected_reference)
        assert_close(measures.survey(measure, other, model, stops, ref), expected)


@TWO
@pytest.mark.parametrize("name", NAMES)
def test_mapped_over_models_it_equals_a_loop(runs, lrn, data, fed, model, name):
    measure, scorer, reference, evidence, _ = runs[name]
    stop = stop_of(2, 3, 4, N)
    each = [model, trained(lrn, data, 3)]

    def run(model):
        return measures.evidence(measure, fed, model, stop, scorer.reference(fed, model, 1))

    mapped = jax.jit(jax.vmap(run))(jax.tree.map(lambda *m: jnp.stack(m), *each))
    for number, m in enumerate(each):
        looped = evidence(m, stop, reference(m))
        assert_close(jax.tree.map(lambda e: e[number], mapped), looped)  # noqa: B023


@pytest.mark.parametrize("name", [name for name in NAMES if name != "appearance"])
def test_a_flipped_label_scores_above_its_clean_twin(runs, lrn, data, fed, model, name):
    measure, scorer, reference, _, _ = runs[name]
    if name == "error_rate":
        fed, model = in_strides(lrn, data, model)
    ref = reference(model)
    draw = itinerary.itinerary(np.asarray(data[0].centre), batch_size=B)
    stops = draw(jax.random.key(0), types.Offer(jnp.ones(N, bool), jnp.ones(N)), 0)
    found = jax.jit(lambda s, r: measures.survey(measure, fed, model, s, r))(stops, ref)
    harm = scorer.judge(found, ref)
    assert harm.shape == (N,) and jnp.isfinite(harm).all()
    assert harm[FLIPPED] > harm[CLEAN]


PASSES = {  # over a sample at a stop, and over a held-out scan for the reference; by hand
    "alignment": (["jvp"], ["gradient"]),
    "appearance": ([], []),
    "mahalanobis": (["forward"], ["forward"]),
    "influence": (["jvp"], ["gradient", *10 * ["jvp", "gradient"]]),
    "loss": (["forward"], []),
    "margin": (["forward"], []),
    "knn_shapley": (["forward"], 5 * ["forward"]),
}
PASSES["combined"] = tuple(
    [p for name in combined.FAMILIES for p in PASSES[name][place]] for place in range(2)
)


def counted(answers, learner, image, about):
    """What a function `about` a federation asks of it: (by request, passes of all its requests)."""
    recorder = traffic.recorder(learner, image)
    watched, tally = recorder.watch(answers)
    about(watched)
    found = recorder.asked([tally()])
    made = [kind for request, n in found.items() for kind in request.passes * n.times]
    return {request.name: (request, n) for request, n in found.items()}, made


@pytest.mark.parametrize("name", PASSES)
def test_passes_are_those_that_the_learner_was_asked_for(runs, fed, lrn, data, model, name):
    measure, scorer, reference, _, _ = runs[name]
    image, ref, stop = data[0].image, reference(model), stop_of(2, 3, N, 5)

    def evidence(fed):
        measures.evidence(measure, fed, model, stop, ref)

    found, made = counted(traffic.silent(fed), lrn, image, evidence)
    request, asked = found["at"]
    assert sorted(made) == sorted(PASSES[name][0])
    assert tuple(asked) == (1, 1, 3)
    back = jax.eval_shape(lambda: fed.at(measure, model, offers.leg(stop), ref))
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(jax.tree.map(jnp.zeros_like, back)))
    assert request.bytes_back == size / B <= 4 * 32
    _, made = counted(fed, lrn, image, lambda fed: scorer.reference(fed, model, 0))
    assert sorted(made) == sorted(PASSES[name][1])


@TWO
@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("loss", "margin", "error_rate")])
def test_evidence_against_nobody_is_not_known(lrn, data, model, name):
    """No centre has enough held-out scans: sums of nothing are no mean of 0."""
    (measure, scorer), fed = asked(name), memory.memory(lrn, *data, minimum=M)
    ref = scorer.reference(fed, model, 1)
    found = measures.evidence(measure, fed, model, stop_of(2, 3), ref)
    assert jnp.isnan(scorer.judge(found, ref)).all()


def test_every_scorer_is_counted():
    assert set(PASSES) | {"with_without", "error_rate"} == set(NAMES)


def test_every_trial_and_every_round_of_a_loop_counts(fed, lrn, data, model, num_classes):
    image, stop = data[0].image, stop_of(2, 3, N, 5)
    parameters = sum(leaf.nbytes for leaf in jax.tree.leaves(model.params))
    everything = sum(leaf.nbytes for leaf in jax.tree.leaves(model))

    def reference(fed):
        scorers.get("influence")(iterations=7).reference(fed, model, 0)

    found, _ = counted(fed, lrn, image, reference)
    assert tuple(found["gauss_newton_product"][1]) == (7, 7 * 3, 7 * M)
    assert tuple(found["gradient"][1]) == (1, 3, M)
    assert found["gradient"][0].bytes_back == parameters + 4
    assert traffic.bytes_back(*found["gradient"]) == 3 * (parameters + 4)

    def trial(fed):
        scorers.get("error_rate")().trial(fed, model, stop, {})

    found, _ = counted(fed, lrn, image, trial)
    assert tuple(found["learn"][1]) == (4, 4, 3), "an empty slot is tried too, on no sample"
    assert tuple(found["confusion"][1]) == (5, 5 * 3, 5 * M)
    assert traffic.bytes_back(*found["learn"]) == 4 * (everything + 4)
    assert traffic.bytes_back(*found["confusion"]) == 5 * 3 * 4 * num_classes**2


@THREE
@pytest.mark.parametrize("name", NAMES)
def test_a_centre_with_few_held_out_scans_leaves_no_trace_in_the_reference(
    lrn, data, model, name, runs
):
    train, held_out, key = data
    lonely = held_out._replace(centre=held_out.centre.at[:4].set(7))
    moved = lonely._replace(image=lonely.image.at[:4].add(3.0))
    found = [
        scorers.get(name)().reference(memory.memory(lrn, train, h, key, minimum=5), model, 1)
        for h in (lonely, moved)
    ]
    assert_close(*found, atol=0)


STATISTICS = {  # passes over a held-out scan, by hand
    "confusion": ("forward",),
    "loss": ("forward",),
    "gradient": ("gradient",),
    "error": ("forward",),
    "error_gradient": ("gradient",),
    "hessian_product": ("gradient", "gradient"),
    "gauss_newton_product": ("jvp", "gradient"),
    "feature_moments": ("forward",),
    "appearance_sums": (),
    "appearance_scatter": (),
    "nearest_feature_sums": ("forward",),
}


@TWO
def test_every_statistic_costs_what_the_learner_was_asked_for(lrn, data, model, num_classes):
    known = set(statistics.names())
    assert set(STATISTICS) == known and set(statistics.EVERY_CENTRE) <= known
    prototypes = jnp.zeros((num_classes, 8, lrn.features(model, data[0].image[:1]).shape[1]))
    more = {
        "hessian_product": (model.params,),
        "gauss_newton_product": (model.params,),
        "appearance_scatter": (descriptors.describe(data[0].image[0]),),
        "nearest_feature_sums": (prototypes,),
    }
    for name, expected in STATISTICS.items():
        arguments = (model, *more.get(name, ()))
        fn = passes.of_statistic(name)
        assert passes.passes(fn, lrn, data[0].image, arguments) == expected, name


@TWO
def test_a_gradient_of_every_sample_is_a_gradient(lrn, data, model):
    """As a measure of its own may take it; mapped, and differentiated twice."""

    def each(learner, model, batch):
        def logit(params, image):
            return learner.logits(model._replace(params=params), image[None])[0, 1]

        return jax.vmap(jax.grad(logit), (None, 0))(model.params, batch.image)

    assert passes.passes(each, lrn, data[0].image, (model,)) == ("gradient",)


@TWO
@pytest.mark.parametrize("make", [memory.memory, stepwise.stepwise, stream.stream])
def test_scans_of_small_centres_that_do_not_answer_cost_nothing(lrn, data, model, make):
    train, held_out, key = jax.tree.map(np.asarray, data[:2]) + (data[2],)
    lonely = held_out._replace(centre=np.where(np.arange(M) < 4, 70, held_out.centre))
    fed = make(lrn, train, lonely, key, chunk=16)
    sizes = np.bincount(held_out.centre[4:])
    of_fold = [int((-(-sizes // 2)).sum()), int((sizes // 2).sum())]

    def ask(fed):
        fed.total("loss", model)
        fed.total("error", model, fold=1)
        fed.total("confusion", model)

    found, _ = counted(fed, lrn, train.image, ask)
    assert tuple(found["loss"][1]) == (1, 3, M - 4)
    assert tuple(found["error"][1]) == (1, 3, of_fold[1])
    assert tuple(found["confusion"][1]) == (1, 4, M)
    for fold, number in ((None, M - 4), (0, of_fold[0]), (1, of_fold[1])):
        assert float(fed.total("loss", model, fold=fold)[1]) == number


@pytest.mark.parametrize(
    ("name", "settings", "match"),
    [
        ("alignment", {"optimiser": "lion"}, "alignment.optimiser='lion'; known: adam, sgd"),
        ("with_without", {"replicas": "pmap"}, "with_without.replicas='pmap'.*; known: map, vmap"),
        ("influence", {"curvature": "fisher"}, "influence.curvature='fisher'; known"),
        ("alignment", {"verify": "recall"}, "alignment.verify='recall'; known: loss, error"),
        ("influence", {"verify": "recall"}, "influence.verify='recall'; known: loss, error"),
        ("with_without", {"verify": "recall"}, "with_without.verify='recall'; known: loss, error"),
        ("alignment", {"derivative": "vjp"}, "alignment.derivative='vjp'.*; known: jvp"),
        ("influence", {"derivative": "vjp"}, "influence.derivative='vjp'.*; known: jvp"),
        ("influence", {"damping": 0.0}, "influence.damping=0.0"),
        ("mahalanobis", {"shrinkage": 0.0}, "mahalanobis.shrinkage=0.0"),
        ("combined", {"families": ()}, "combined.families is empty"),
        ("combined", {"families": ("marjin",)}, "did you mean 'margin'"),
    ],
)
def test_settings_that_cannot_work_are_refused(name, settings, match):
    with pytest.raises(ValueError, match=match):
        scorers.get(name)(**settings)


@THREE
def test_the_page_on_extending_shows_a_scorer_that_works(tmp_path, monkeypatch, fed, model):
    text = PAGE.read_text()
    name = re.search(r"`harmjax/scorers/(\w+)\.py`:", text)[1]
    source = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.setattr(scorers, "__path__", [*scorers.__path__, str(tmp_path)])
    assert f'scorers = ("{name}",)' in text
    measure, scorer = asked(name)
    ref = scorer.reference(fed, model, 0)
    found = measures.evidence(measure, fed, model, stop_of(CLEAN, FLIPPED, 2, N), ref)
    harm = scorer.judge(found, ref)
    assert harm[FLIPPED] > 0 > harm[CLEAN]
    assert jnp.isnan(harm[3])
    assert all(f"`{known}`" in text for known in NAMES)
