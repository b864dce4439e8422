"""What may be asked about a sample: equal questions are one, and settings reach the scorer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmjax import offers, policies, scorers, types
from harmjax.federations import memory, site, stepwise, stream, wire
from harmjax.policies import evidence, screen
from harmjax.runs import training
from harmjax.scorers import measures
from tests import classes, conftest, sites

MAKERS = {"stepwise": stepwise.stepwise, "stream": stream.stream, "loopback": sites.messages}
KEY = jax.random.key(7)


@functools.cache
def held(num_classes):
    train, held_out = (classes.samples(n, i, num_classes) for i, n in enumerate((20, 45)))
    lrn = classes.perceptron(num_classes)
    return lrn, jax.jit(lrn.init)(jax.random.key(0), train.image[:1]), train, held_out


def stop_at(train, c):
    ids = np.flatnonzero(train.centre == c)[:3].astype(np.int32)
    return types.Stop(jnp.int32(0), jnp.int32(c), jnp.asarray(ids), jnp.ones(len(ids)))


def test_equal_measures_are_one_and_resolve_to_the_same_function():
    one = measures.measure("influence", {"verify": "error", "damping": 0.2})
    two = measures.measure("influence", {"damping": 0.2, "verify": "error"})
    assert one == two and hash(one) == hash(two) and one is not two
    assert measures.resolved(one) is measures.resolved(two)
    assert measures.scorer(one) is measures.scorer(two)
    plain = measures.measure("influence")
    assert plain == measures.measure("influence", {}) != one
    assert measures.resolved(plain) is not measures.resolved(one)
    listed = measures.measure("combined", {"families": ["margin", "loss"]})
    assert listed == measures.measure("combined", {"families": ("margin", "loss")})
    folded = [measures.cross_fitted([plain, listed]) for _ in range(2)]
    assert folded[0] is not folded[1]
    assert measures.resolved(folded[0]) is measures.resolved(folded[1])


@pytest.mark.parametrize("name", MAKERS)
def test_an_equal_measure_compiles_nothing_again(name):
    lrn, model, train, held_out = held(2)
    traces = []

    def forward(*asked):
        traces.append(1)
        return lrn.logits(*asked)

    counted = lrn._replace(logits=forward)
    fed = MAKERS[name](counted, train, held_out, KEY, chunk=8)

    def ask(settings):
        asked = measures.measure("margin")
        folded = measures.cross_fitted([measures.measure("influence", settings)])
        one = {"direction": jax.tree.map(jnp.ones_like, model.params)}
        both = {"influence": jax.tree.map(lambda x: jnp.stack([x, -x]), one)}
        leg = offers.leg(stop_at(train, 1))
        found = fed.at(asked, model, leg, {}), fed.at(folded, model, leg, both)
        return found, (fed.survey(asked, model, {}), fed.survey(folded, model, both))

    first = ask({"damping": 0.2, "iterations": 3})
    number = len(traces)
    again = ask({"iterations": 3, "damping": 0.2})
    assert 0 < number == len(traces)
    jax.tree.map(np.testing.assert_array_equal, first, again)


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("name", ["memory", "loopback"])
def test_settings_reach_the_scorer_at_the_centre(name, num_classes):
    """Against the scorer that its factory makes of them, where the samples are at hand."""
    lrn, model, train, held_out = held(num_classes)
    fed = (MAKERS | {"memory": memory.memory})[name](lrn, train, held_out, KEY, chunk=8)
    told = {"verify": "error", "optimiser": "sgd", "derivative": "difference"}
    stop = stop_at(train, 2)
    batch = types.Batch(train.image[stop.ids], train.label[stop.ids], None, None)
    found = {}
    for settings_ in ({}, {"derivative": "difference"}, told):
        asked = measures.measure("alignment", settings_)
        reference = measures.scorer(asked).reference(fed, model, 0)
        expected = scorers.get("alignment")(**settings_).measure(lrn, model, batch, reference)
        seen = measures.evidence(asked, fed, model, stop, reference)["alignment"]
        np.testing.assert_allclose(seen, expected["alignment"], rtol=1e-3, atol=1e-7)
        found[len(settings_)] = np.asarray(seen)
    assert np.abs(found[0] - found[3]).max() > 1e-3


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(ValueError, match="no 'marjin' in scorers .*; known: .*margin"):
        measures.resolved(measures.measure("marjin"))
    with pytest.raises(ValueError, match="scorer mahalanobis: .*'depth'.*settings: .*'depth', 3"):
        measures.resolved(measures.measure("mahalanobis", {"depth": 3}))
    with pytest.raises(ValueError, match="'error_rate' tries updates out and measures nothing"):
        measures.resolved(measures.measure("error_rate"))


plain = st.one_of(st.text(), st.integers(), st.booleans(), st.none(), st.floats(allow_nan=False))
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3), max_leaves=5)
told = st.builds(measures.measure, st.text(), st.dictionaries(st.text(), values, max_size=3))


@settings(max_examples=100, deadline=None)
@given(st.one_of(told, st.lists(told, max_size=3).map(measures.cross_fitted)))
def test_a_measure_travels_as_a_message(asked):
    found = site.measure_of(wire.unpack(wire.pack(site.told_of(asked))))
    assert found == asked and hash(found) == hash(asked)


def verified_against(settings_):
    """What `screen` measures verification scans by, in robust standard deviations."""
    lrn, model, train, held_out = held(3)
    fed = memory.memory(lrn, train, held_out, KEY, minimum=2)
    policy = screen.screen(families=("margin", "mahalanobis"), settings=settings_)
    state = policy.init(len(train.label), fed.total("confusion", model))
    opened = jax.jit(lambda t: policy.open(fed, t, 0))(types.Travel(model, state))
    return np.asarray(opened.state.calibration.reference["mahalanobis"]["whiten"])


def test_settings_of_screen_reach_its_scorers():
    lrn, model, train, held_out = held(3)
    fed = memory.memory(lrn, train, held_out, KEY, minimum=2)
    other = {"mahalanobis": {"shrinkage": 0.7}}
    for shrinkage, told in ((0.1, None), (0.1, {"margin": {}}), (0.7, other)):
        found = verified_against(told)
        scorer = scorers.get("mahalanobis")(shrinkage=shrinkage)
        for own in range(2):
            expected = scorer.reference(fed, model, 0, fold=1 - own)["whiten"]
            np.testing.assert_allclose(found[own], expected, rtol=1e-3, atol=1e-4)
    asked = evidence.families(("margin", "mahalanobis"), settings=other)
    members = dict(asked.measure.settings)["members"]
    assert members == (
        measures.measure("margin"),
        measures.measure("mahalanobis", {"shrinkage": 0.7}),
    )


@pytest.mark.parametrize(
    ("told", "match"),
    [
        ({"mahalanobis": {"depth": 3}}, "scorer mahalanobis: .*'depth'"),
        ({"mahalanobis": {"shrinkage": 0.0}}, "mahalanobis.shrinkage=0.0"),
        ({"loss": {}}, r"screen.settings has \['loss'\], .* screen.families=\('margin', 'maha"),
    ],
)
def test_settings_that_screen_cannot_hand_on_are_refused(told, match):
    with pytest.raises(ValueError, match=match):
        policies.get("screen")(families=("margin", "mahalanobis"), settings=told)


def test_settings_of_screen_come_from_the_config(tmp_path):
    manifest = conftest.write_patients(tmp_path / "patients.csv", held_out=80)
    config = conftest.patients_config(manifest)
    config.policy.name, config.train.minimum_group = "screen", 2
    config.policy.screen.settings = {"appearance": {"shrinkage": 0.0}}
    with pytest.raises(ValueError, match="appearance.shrinkage=0.0: expected a fraction"):
        training.train(config, tmp_path / "run", progress=False)
