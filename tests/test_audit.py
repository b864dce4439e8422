"""Quality control of arrays in one call."""

import math
import typing

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmjax import types
from harmjax.runs import audit, audit_arguments, logbook


def patients(number=240):
    rng = np.random.default_rng(0)
    label = np.arange(number) % 2
    x = rng.normal(size=(number, 5)).astype(np.float32)
    x[:, 0] += 4 * label - 2
    return x, label, np.array(["North", "South", "West"])[np.arange(number) // 2 % 3]


def test_it_finds_damaged_rows_with_a_flax_module_of_ones_own(tmp_path):
    x, label, where = patients()
    verification = np.arange(len(x)) % 3 == 0
    bad = [7, 100, 200]
    x[bad] = 8.0

    class Mine(nn.Module):
        @nn.compact
        def __call__(self, image, train):
            hidden = nn.Dropout(0.1, deterministic=not train)(nn.relu(nn.Dense(8)(image)))
            return nn.Dense(1)(hidden)

    settings = {"cycles": 5, "warmup_cycles": 1, "learning_rate": 0.01, "progress": False}
    rows = audit.audit(
        x, label, where, classifier=Mine(), verification=verification, workdir=tmp_path, **settings
    )
    assert len(rows) == (~verification).sum()
    gone = {int(row["subject"]) for row in rows if row["verdict"] == "eliminated"}
    assert set(bad) <= gone and len(gone) <= len(bad) + 4
    assert {row["centre"] for row in rows} == {"North", "South", "West"}
    assert (tmp_path / "decisions.csv").exists()
    assert repr(rows) == repr(logbook.read_harm(tmp_path / "harm.csv"))
    assert [type(rows[0][name]) for name in ("subject", "label", "harm", "p_value", "mask")] == [
        *(str, int, float, float, float)
    ]


X, LABEL, WHERE = patients()
HUGE = 10**400  # beyond what a float holds


class Narrow(nn.Module):
    @nn.compact
    def __call__(self, image):
        return image @ nn.Dense(2)(image)


WRONG = {
    "images": [
        *(None, "a", 5, {}, [[1, 2], [3]], X[:0], X[:, :0], X[0], X[None, None, None], X[:5]),
        *(
            X * np.nan,
            X * 1j,
            np.full((240, 5), "a"),
            np.zeros((240, 5), "M8[s]"),
            [[None] * 5] * 240,
        ),
        X.astype(float) * 1e300,
    ],
    "labels": [
        *(None, "a", 5, {}, [], LABEL[:5], LABEL[:, None], LABEL + 1, LABEL * np.nan, LABEL * 1j),
        *([None] * 240, np.zeros(240), [HUGE] * 240, [[0]] * 240, range(240), LABEL - 1),
        *(["a", 1] * 120, ["a"] * 240, ["a", ""] * 120, ["a", "n/a"] * 120, [b"a", b"c"] * 120),
        *(["AD", "ad"] * 120, ["a", "b;c"] * 120, ["a", "b\a"] * 120, [0, 1.5] * 120, 2 * LABEL),
        *([0, 1] * 119 + [2, 2.5], [0, 1] * 119 + [1, 2], ["a", "b"] * 119 + ["a", "c"]),
    ],
    "centres": [
        *(
            None,
            "a",
            5,
            {},
            [],
            WHERE[:5],
            WHERE[:, None],
            [None] * 240,
            [np.nan] * 240,
            [""] * 240,
        ),
        *(["a"] * 239 + [np.nan], np.array(["a"] * 239 + [np.nan]), [b"a"] * 240, [1.5] * 240),
        *([True] * 240, [[1]] * 240, [("a", "b")] * 240, [np.inf] * 240, [HUGE] * 240),
    ],
    "names": [
        *("x", 5, {}, [], range(239), ["a"] * 240, [None] * 240, [np.nan] * 240, [[]] * 240),
        [*range(239), 0],
    ],
    "verification": [
        *(
            "x",
            5,
            True,
            [],
            (np.arange(240) % 3 == 0).astype(int),
            np.arange(5),
            [0, 1, 2],
            [None] * 240,
            {},
        ),
        *(np.zeros(240, bool), np.ones(240, bool), np.arange(240) == 2, LABEL.astype(bool)),
        np.zeros((240, 1), bool),
    ],
    "alpha": [0, 1, -1, 2, None, "a", np.nan, True, [0.1], HUGE],
    "families": [(), "margin", ("margin",) * 2, ("nope",), None, 3, (3,), ("error_rate",), [[]]],
    "cycles": [0, -1, 1.5, None, "3", True, np.nan, HUGE],
    "warmup_cycles": [12, -1, 0.5, None, "3", np.nan],
    "learning_rate": [0, -1, np.nan, np.inf, None, "x", True, HUGE],
    "seed": [-1, 2**32, 1.0, None, "1", True, np.nan],
    "workdir": [5, 3.5, b"x", "a\0b", [], __file__, f"{__file__}/x", "~no-such-person/x"],
    "classifier": [5, "sfcn", len, nn.Dense, nn.Dense(3), Narrow()],
}


@pytest.mark.parametrize(
    "name, value",
    [
        pytest.param(name, value, id=f"{name}-{number}")
        for name, values in WRONG.items()
        for number, value in enumerate(values)
    ],
)
def test_a_wrong_argument_is_named_in_one_line(name, value):
    given = {"images": X, "labels": LABEL, "centres": WHERE, "progress": False} | {name: value}
    with pytest.raises(ValueError, match=f"^{name}|^labels: shape|^no 'nope'") as refused:
        audit.audit(**given)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.complex_numbers(),
)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(WRONG.keys() - {"workdir"})),
    value=st.one_of(ODD, st.lists(ODD, max_size=4), st.lists(ODD, min_size=240, max_size=240)),
)
def test_no_argument_ends_in_another_exception(name, value):
    """Every argument is read by one function, which takes a value or refuses it by name."""
    readers = {
        "images": audit_arguments.images,
        "labels": lambda x: audit_arguments.labels(x, 240),
        "centres": lambda x: audit_arguments.texts("centres", x, 240),
        "names": lambda x: audit_arguments.names(x, 240),
        "verification": lambda x: audit_arguments.verification(x, LABEL),
        "alpha": lambda x: audit_arguments.between("alpha", x, 0, 1),
        "learning_rate": lambda x: audit_arguments.between("learning_rate", x, 0, np.inf),
        "families": audit_arguments.families,
        "cycles": lambda x: audit_arguments.whole("cycles", x, 1, 100),
        "warmup_cycles": lambda x: audit_arguments.whole("warmup_cycles", x, 0, 11),
        "seed": lambda x: audit_arguments.whole("seed", x, 0, audit_arguments.LARGEST_SEED),
        "classifier": lambda x: audit_arguments.classifier(x, X[:1]),
    }
    try:
        readers[name](value)
    except ValueError as error:
        assert str(error).startswith((name, "no "))


def test_labels_and_centres_of_any_plain_kind_are_read_alike():
    for label in (LABEL, LABEL.astype(float), LABEL.astype(bool), LABEL.tolist()):
        found, names = audit_arguments.labels(label, 240)
        assert np.array_equal(found, LABEL) and found.dtype == np.int32 and names == ()
    three = np.arange(240) % 3
    for label in (three, three.astype(float), three.astype(np.uint8), three.tolist()):
        found, names = audit_arguments.labels(label, 240)
        assert np.array_equal(found, three) and names == ("0", "1", "2")
    # In sorted order, so that the same texts are the same classes whoever comes first.
    for texts in (np.array(["MCI", "HC", "AD"])[three], [("MCI", "HC", "AD")[k] for k in three]):
        found, names = audit_arguments.labels(texts, 240)
        assert names == ("AD", "HC", "MCI") and found.dtype == np.int32
        assert [names[k] for k in found] == list(texts)
    for where in (np.arange(240), np.arange(240.0), [str(i) for i in range(240)]):
        assert audit_arguments.texts("centres", where, 240).tolist() == [str(i) for i in range(240)]


def test_a_workdir_goes_on_with_the_same_call_only(tmp_path):
    call = {"images": X, "labels": LABEL, "centres": WHERE, "workdir": tmp_path, "progress": False}
    call |= {"cycles": 2, "warmup_cycles": 1}
    first = audit.audit(**call)
    assert repr(audit.audit(**call)) == repr(first)
    with pytest.raises(ValueError, match="is of a run on other samples: .*label was"):
        audit.audit(**call | {"labels": 1 - LABEL})
    with pytest.raises(ValueError, match="policy.screen.alpha was 0.01 and is now 0.5"):
        audit.audit(**call | {"alpha": 0.5})
    with pytest.raises(ValueError, match="is of a run on other samples: .*centre was"):
        audit.audit(**call | {"centres": [f"c{where}" for where in WHERE]})


def test_a_workdir_goes_on_with_the_same_classifier_only(tmp_path):
    class Net(nn.Module):
        act: typing.Callable

        @nn.compact
        def __call__(self, x):
            return nn.Dense(1)(self.act(nn.Dense(4)(x)))[:, 0]

    call = {"images": X, "labels": LABEL, "centres": WHERE, "workdir": tmp_path, "progress": False}
    call |= {"cycles": 2, "warmup_cycles": 1}
    first = audit.audit(**call, classifier=Net(nn.relu))
    assert repr(audit.audit(**call, classifier=Net(nn.relu))) == repr(first)
    with pytest.raises(ValueError, match="classifier was another one"):
        audit.audit(**call, classifier=Net(nn.tanh))


@pytest.mark.parametrize(
    "shape, model",
    [((9, 5), "mlp"), ((9, 28, 28), "cnn2d"), ((9, 40, 48, 3), "cnn2d"), ((9, 40, 48, 40), "sfcn")],
)
def test_the_default_model_fits_the_arrays(shape, model):
    assert audit._default_model(shape) == model


def test_an_alarm_is_a_warning():
    x, label, where = patients()
    verification = np.arange(len(x)) % 3 == 0
    x[~verification] += 9
    settings = {"cycles": 3, "warmup_cycles": 1, "progress": False, "families": ("appearance",)}
    with pytest.warns(UserWarning, match="most of the training samples look unlike"):
        audit.audit(x, label, where, verification=verification, **settings)


@pytest.mark.parametrize(
    "given, message",
    [
        ([0, 1, 3] * 4, "labels: 3 at position 2, and 2 nowhere; number the classes from 0"),
        ([1, 2] * 6, "labels: 1 at position 0, and 0 nowhere"),
        ([0, 1, 2, 0, 1, 0] * 2 + [3], "labels: 3 at position 12 and nowhere else; two samples"),
        ([0, 1, -1] * 4, "labels: -1 at position 2; give whole numbers from 0"),
        (["a", "b", 1] * 4, "labels: 1 at position 2; give every sample a text, or every sample"),
        (["x", "y", "nan"] * 4, "labels: 'nan' at position 2; give every sample a text"),
        (["AD", "ad", "HC"] * 4, "labels: 'AD' and 'ad' are one name: rename one of them"),
    ],
)
def test_what_is_wrong_with_labels_is_said_with_its_place(given, message):
    with pytest.raises(ValueError, match=message):
        audit_arguments.labels(given, len(given))


def test_verification_holds_every_class():
    label, names = np.arange(12) % 3, ("AD", "HC", "MCI")
    mask = np.arange(12) % 2 == 0
    assert audit_arguments.verification(mask, label, names).tolist() == mask.tolist()
    for wrong, where in ((mask & (label != 1), "in"), (mask | (label == 1), "outside")):
        with pytest.raises(ValueError, match=f"of every class are needed {where} it.*none of 'HC'"):
            audit_arguments.verification(wrong, label, names)
    with pytest.raises(ValueError, match=r"both classes are needed in it.*\[6, 0\] of 0 and 1"):
        audit_arguments.verification(np.arange(12) % 2 == 0, np.arange(12) % 2)


class Shaped(nn.Module):
    rest: tuple

    @nn.compact
    def __call__(self, image):
        return nn.Dense(math.prod(self.rest))(image).reshape(-1, *self.rest)


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("rest", [(), (1,), (2,), (3,), (4,), (2, 2), (1, 3)])
def test_a_classifier_gives_a_logit_for_every_class(classes, rest):
    def init(key, image):
        return types.Variables({}, {})

    def apply(variables, image, weight, keys, train):
        return jnp.zeros((len(image), *rest)), image, variables

    given = types.Classifier(init, apply)
    if rest == (classes,):
        assert audit_arguments.classifier(given, X[:1], classes) is given
    else:
        with pytest.raises(ValueError, match=f"for 2 images; give {classes} each"):
            audit_arguments.classifier(given, X[:1], classes)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("rest", [(), (1,), (2,), (3,), (4,)])
def test_a_module_of_ones_own_may_give_one_logit_of_two_classes(classes, rest):
    fits = rest in ({(), (1,), (2,)} if classes == 2 else {(3,)})
    if fits:
        found = audit_arguments.classifier(Shaped(rest), X[:1], classes)
        variables = found.init(jax.random.key(0), X[:1])
        assert found.apply(variables, X[:7], None, None, False)[0].shape == (7, classes)
    else:
        with pytest.raises(ValueError, match=f"for 2 images; give {classes} each"):
            audit_arguments.classifier(Shaped(rest), X[:1], classes)


def test_the_study_of_arrays_knows_its_classes():
    texts = np.array(["no", "mild", "severe"])[np.arange(240) % 3]
    label, names = audit_arguments.labels(texts, 240)
    study = audit._study(X, label, names, WHERE, None, None, seed=0)
    assert study.classes == ("mild", "no", "severe")
    assert [study.classes[k] for k in study.train.label] == [
        str(texts[int(name)]) for name in study.names
    ]
    # Three centres, three classes: 80 of each class, about 30% of each centre's held out.
    assert np.bincount(study.verification.label).tolist() == pytest.approx([24] * 3, abs=3)
    label, names = audit_arguments.labels(LABEL, 240)
    assert audit._study(X, label, names, WHERE, None, None, seed=0).classes == (
        *("control", "patient"),
    )
