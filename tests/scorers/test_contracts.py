"""Contracts of every harm scorer in the folder."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harmjax import itinerary, scorers, statistics
from harmjax.federations import memory, stepwise, stream
from harmjax.scorers import traffic
from tests.scorers.twins import (
    CLEAN,
    FLIPPED,
    B,
    N,
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
    """Per scorer: the scorer, its jitted reference and evidence, and a count of their traces."""

    def build(name):
        scorer, traces = scorers.get(name)(), []

        @jax.jit
        def reference(model):
            traces.append("reference")
            return scorer.reference(fed, model, 1)

        @jax.jit
        def evidence(model, stop, reference):
            traces.append("evidence")
            return scorers.evidence(scorer, fed, model, stop, reference)

        return scorer, reference, evidence, traces

    return {name: build(name) for name in NAMES}


def test_names_are_found_and_unknown_ones_are_explained():
    assert {"alignment", "combined", "with_without", "error_rate", "neighbours"} <= set(NAMES)
    with pytest.raises(ValueError, match="no 'alignement' in scorers; known: .*alignment"):
        scorers.get("alignement")


@pytest.mark.parametrize("name", NAMES)
def test_evidence_is_a_few_floats_a_sample_and_nan_in_padding(runs, model, name):
    scorer, reference, evidence, _ = runs[name]
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
    scorer, reference, evidence, _ = runs[name]
    ref = reference(model)
    first = evidence(model, stop_of(2, 3, 4, N), ref)
    turned = evidence(model, stop_of(4, N, 2, 3), ref)
    assert_close(rows(first, [2, 3, 0, 1]), turned)
    bare = jax.jit(lambda s: scorers.evidence(scorer, fed, model, s, ref))(stop_of(2, 3, 4))
    assert_close(rows(first, [0, 1, 2]), bare)
    assert_close(first, evidence(model, stop_of(2, 3, 4, N), ref), atol=0)


@pytest.mark.parametrize("name", ALONE)
def test_a_sample_is_judged_on_its_own(runs, model, name):
    _, reference, evidence, _ = runs[name]
    ref = reference(model)
    together = evidence(model, stop_of(2, 3, 4, 5), ref)
    assert_close(rows(together, [1]), rows(evidence(model, stop_of(N, 3, N, N), ref), [1]))


@pytest.mark.parametrize("name", NAMES)
def test_compiles_once_whatever_the_model_and_the_stop(runs, lrn, data, model, name):
    _, reference, evidence, traces = runs[name]
    for m, stop in ((model, stop_of(2, 3, 4, 5)), (trained(lrn, data, 3), stop_of(6, N, N, N))):
        evidence(m, stop, reference(m))
    assert sorted(traces) == ["evidence", "reference"]


@pytest.mark.parametrize("name", NAMES)
def test_federations_agree(runs, lrn, data, model, name):
    scorer, reference, _, _ = runs[name]
    stops = jax.tree.map(
        lambda *s: jnp.stack(s), stop_of(CLEAN, FLIPPED, 2, 3), stop_of(4, 5, 6, N)
    )
    memory_fed = memory.memory(lrn, *data, chunk=16)
    expected_reference = reference(model)
    expected = jax.jit(lambda s, r: scorers.survey(scorer, memory_fed, model, s, r))(
        stops, expected_reference
    )
    assert jnp.isnan(next(iter(expected.values()))[7:]).all()
    on_disk = jax.tree.map(np.asarray, data[:2])
    for other in (
        stepwise.stepwise(lrn, *data, chunk=16),
        stream.stream(lrn, *on_disk, data[2], chunk=16),
    ):
        ref = scorer.reference(other, model, 1)
        assert_close(ref, expected_reference)
        assert_close(scorers.survey(scorer, other, model, stops, ref), expected)


@pytest.mark.parametrize("name", NAMES)
def test_mapped_over_models_it_equals_a_loop(runs, lrn, data, fed, model, name):
    scorer, reference, evidence, _ = runs[name]
    stop = stop_of(2, 3, 4, N)
    each = [model, trained(lrn, data, 3)]

    def run(model):
        return scorers.evidence(scorer, fed, model, stop, scorer.reference(fed, model, 1))

    mapped = jax.jit(jax.vmap(run))(jax.tree.map(lambda *m: jnp.stack(m), *each))
    for number, m in enumerate(each):
        looped = evidence(m, stop, reference(m))
        assert_close(jax.tree.map(lambda e: e[number], mapped), looped)  # noqa: B023


@pytest.mark.parametrize("name", [name for name in NAMES if name != "appearance"])
def test_a_flipped_label_scores_above_its_clean_twin(runs, lrn, data, fed, model, name):
    scorer, reference, _, _ = runs[name]
    if name == "error_rate":
        fed, model = in_strides(lrn, data, model)
    ref = reference(model)
    draw = itinerary.itinerary(np.asarray(data[0].centre), batch_size=B)
    stops = draw(jax.random.key(0), jnp.ones(N, bool), 0)
    found = jax.jit(lambda s, r: scorers.survey(scorer, fed, model, s, r))(stops, ref)
    harm = scorer.judge(found, ref)
    assert harm.shape == (N,) and jnp.isfinite(harm).all()
    assert harm[FLIPPED] > harm[CLEAN]


@pytest.mark.parametrize("name", NAMES)
def test_what_it_sends_is_known_beforehand(runs, fed, model, name):
    scorer = runs[name][0]
    sent = traffic.exchanges(scorer, fed, model, stop_of(2, 3, 4, 5))
    evidence = [e for e in sent if e.step == "evidence"]
    if scorer.trial is None:
        (at,) = evidence
        assert (at.request, at.centres, at.passes) == ("at", "one", scorer.passes)
        assert at.bytes_back <= B * 4 * 32
    else:
        assert {e.request for e in evidence} & {"learn"}
    for e in sent:
        if e.request not in ("learn", "at"):
            assert e.centres == ("all" if e.request == "counts" else "large")


def test_traffic_counts_every_round_of_the_conjugate_gradients(fed, model):
    scorer = scorers.get("influence")(iterations=7)
    sent = {e.request: e for e in traffic.exchanges(scorer, fed, model, stop_of(2, 3))}
    parameters = sum(leaf.nbytes for leaf in jax.tree.leaves(model.params))
    assert sent["gauss_newton_product"].times == 7
    assert sent["gradient"].times == 1
    assert sent["gradient"].bytes_back == parameters + 4
    assert sent["at"].bytes_back == 8


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


def test_every_statistic_says_what_it_costs():
    asked = {n for n, f in vars(statistics).items() if callable(f) and not n.startswith("_")}
    assert set(statistics.PASSES) == asked
    assert set(statistics.EVERY_CENTRE) <= asked


@pytest.mark.parametrize(
    ("name", "settings", "match"),
    [
        ("alignment", {"optimiser": "lion"}, "alignment.optimiser='lion'; known: adam, sgd"),
        ("with_without", {"replicas": "pmap"}, "with_without.replicas='pmap'; known: map, vmap"),
        ("influence", {"curvature": "fisher"}, "influence.curvature='fisher'; known"),
        ("alignment", {"verify": "recall"}, "alignment.verify='recall'; known: loss, error"),
        ("influence", {"verify": "recall"}, "influence.verify='recall'; known: loss, error"),
        ("with_without", {"verify": "recall"}, "with_without.verify='recall'; known: loss, error"),
        ("alignment", {"derivative": "vjp"}, "alignment.derivative='vjp'; known: jvp, difference"),
        ("influence", {"derivative": "vjp"}, "influence.derivative='vjp'; known: jvp, difference"),
        ("influence", {"damping": 0.0}, "influence.damping=0.0"),
        ("distance", {"shrinkage": 0.0}, "distance.shrinkage=0.0"),
        ("combined", {"families": ()}, "combined.families is empty"),
        ("combined", {"families": ("marjin",)}, "Did you mean 'margin'"),
    ],
)
def test_settings_that_cannot_work_are_refused(name, settings, match):
    with pytest.raises(ValueError, match=match):
        scorers.get(name)(**settings)


def test_the_page_on_extending_shows_a_scorer_that_works(tmp_path, monkeypatch, fed, model):
    text = PAGE.read_text()
    name = re.search(r"`harmjax/scorers/(\w+)\.py`:", text)[1]
    source = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.setattr(scorers, "__path__", [*scorers.__path__, str(tmp_path)])
    assert f'scorers = ("{name}",)' in text
    scorer = scorers.get(name)()
    ref = scorer.reference(fed, model, 0)
    found = scorers.evidence(scorer, fed, model, stop_of(CLEAN, FLIPPED, 2, N), ref)
    harm = scorer.judge(found, ref)
    assert harm[FLIPPED] > 0 > harm[CLEAN]
    assert jnp.isnan(harm[3])
    assert all(f"`{known}`" in text for known in NAMES)
