"""Planting: who is damaged, who is left alone, and what stays as it was."""

import collections

import jax
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmjax import harms, types
from harmjax.harms import plan, scenario

SIZES = (1, 2, 3, 5, 6, 8, 9, 12, 30)


def cohort(shape=(4, 4, 4), dtype=np.uint8, sizes=SIZES):
    centre = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    num = len(centre)
    image = np.random.default_rng(0).integers(1, 200, (num, *shape)).astype(dtype)
    label = (np.arange(num) % 2).astype(np.int32)
    return types.Samples(image, label, centre, np.arange(num, dtype=np.uint32) + 1000)


def check_untouched(samples, damaged, corrupted):
    np.testing.assert_array_equal(damaged.image[~corrupted], samples.image[~corrupted])
    np.testing.assert_array_equal(damaged.label[~corrupted], samples.label[~corrupted])
    assert damaged.image.dtype == samples.image.dtype and damaged.label.dtype == samples.label.dtype
    assert set(damaged.label[~corrupted]) == {0, 1}


def test_none_changes_nothing():
    samples = cohort()
    damaged, corrupted, kind = scenario.plant(samples, plan.Choice("none"), "", seed=0)
    assert not corrupted.any() and kind == [""] * len(samples.label)
    np.testing.assert_array_equal(damaged.image, samples.image)


@pytest.mark.parametrize("seed", range(3))
def test_centres_are_damaged_whole(seed):
    samples = cohort()
    before = samples.image.copy()
    damaged, corrupted, kind = scenario.plant(
        samples,
        plan.Choice("centres", count=3, max_fraction=0.2),
        ("inversion", "label_flip"),
        seed=seed,
    )
    hit = set(samples.centre[corrupted])
    assert len(hit) == 3 and all(5 <= SIZES[c] <= 15 for c in hit)
    assert (corrupted == np.isin(samples.centre, list(hit))).all()
    kinds = {c: {kind[i] for i in np.flatnonzero(samples.centre == c)} for c in hit}
    assert sorted(map(sorted, kinds.values())) == [["inversion"], ["inversion"], ["label_flip"]]
    check_untouched(samples, damaged, corrupted)
    np.testing.assert_array_equal(samples.image, before)
    inverted = np.array(kind) == "inversion"
    np.testing.assert_array_equal(damaged.image[inverted], 255 - before[inverted])
    flipped = np.array(kind) == "label_flip"
    np.testing.assert_array_equal(damaged.label[flipped], 1 - samples.label[flipped])
    np.testing.assert_array_equal(damaged.image[flipped], before[flipped])


def test_named_centres():
    samples, names = cohort(), [f"C{c:02d}" for c in range(len(SIZES))]
    given = ["C01", 8]
    _, corrupted, _ = scenario.plant(
        samples, plan.Choice("centres", centres=given), "inversion", seed=0, centre_names=names
    )
    assert set(samples.centre[corrupted]) == {1, 8} and corrupted.sum() == 32
    _, corrupted, _ = scenario.plant(
        samples,
        plan.Choice("singles", count=4, centres=given),
        "inversion",
        seed=0,
        centre_names=names,
    )
    assert set(samples.centre[corrupted]) == {8} and corrupted.sum() == 4
    with pytest.raises(ValueError, match="'C3'.*did you mean 'C03'.*C00, C01"):
        plan.draw(
            samples.label,
            samples.centre,
            plan.Choice("centres", centres=["C3"]),
            seed=0,
            centre_names=names,
        )
    with pytest.raises(ValueError, match="centre 99; known: 0, 1, 2"):
        plan.draw(samples.label, samples.centre, plan.Choice("centres", centres=[99]), seed=0)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 24))
def test_singles_spread_over_centres(seed, count):
    samples = cohort()
    chosen = plan.draw(
        samples.label, samples.centre, plan.Choice("singles", count=count), 3, seed=seed
    )
    corrupted = chosen.turn >= 0
    assert corrupted.sum() == count
    hits = np.bincount(samples.centre[corrupted], minlength=len(SIZES))
    assert all(2 * hit < max(size, 1) for hit, size in zip(hits, SIZES, strict=True))
    assert not hits[:3].any()
    # Nobody gets another before everybody who may has had as many.
    room = np.array([(size - 1) // 2 if size >= 5 else 0 for size in SIZES])
    assert all(hits[c] >= min(room[c], hits.max() - 1) for c in range(len(SIZES)))
    dealt = collections.Counter(chosen.turn[corrupted].tolist())
    assert max(dealt.values()) - min(dealt.get(k, 0) for k in range(3)) <= 1
    assert (samples.label[chosen.donor] != samples.label).all()


@pytest.mark.parametrize("name", ["centres", "singles"])
def test_draws_are_nested_and_independent_of_the_number_of_harms(name):
    samples = cohort()

    def hit(count, num_harms=1, seed=5):
        chosen = plan.draw(
            samples.label, samples.centre, plan.Choice(name, count=count), num_harms, seed=seed
        )
        return set(np.flatnonzero(chosen.turn >= 0).tolist())

    assert hit(1) < hit(2) < hit(3)
    assert (
        hit(3) == hit(3, num_harms=2) == hit(3, seed=jax.random.key(5)) == hit(3, seed=np.int64(5))
    )
    assert any(hit(2) != hit(2, seed=other) for other in range(6, 10))


def test_a_sample_comes_out_the_same_beside_others():
    samples = cohort()
    few, some, _ = scenario.plant(samples, plan.Choice("singles", count=2), ("noise",), seed=1)
    more, others, kind = scenario.plant(
        samples, plan.Choice("singles", count=20), ("noise", "inversion"), seed=1
    )
    both = some & (np.array(kind) == "noise")
    assert both.any() and others.sum() == 20
    np.testing.assert_array_equal(few.image[both], more.image[both])
    check_untouched(samples, more, others)
    noisy = more.image[np.array(kind) == "noise"].astype(int)
    plain = samples.image[np.array(kind) == "noise"].astype(int)
    assert len({row.tobytes() for row in noisy - plain}) == len(noisy)
    again, _, _ = scenario.plant(
        samples, plan.Choice("singles", count=20), ("noise", "inversion"), seed=1
    )
    np.testing.assert_array_equal(again.image, more.image)


def test_wrong_patients_come_from_the_other_class():
    samples = cohort()
    damaged, corrupted, _ = scenario.plant(
        samples, plan.Choice("singles", count=12), "wrong_patient", seed=2
    )
    for i in np.flatnonzero(corrupted):
        source = np.flatnonzero((samples.image == damaged.image[i]).all(axis=(1, 2, 3)))
        assert len(source) == 1 and samples.label[source[0]] != samples.label[i]
        assert damaged.label[i] == samples.label[i]


@pytest.mark.parametrize("dtype", [np.uint8, ml_dtypes.bfloat16, np.float32])
def test_storage_is_kept_for_slices(dtype):
    samples = cohort(shape=(6, 5, 2), dtype=dtype)
    for name in ("inversion", "noise"):
        damaged, corrupted, _ = scenario.plant(
            samples, plan.Choice("singles", count=2), name, seed=0
        )
        check_untouched(samples, damaged, corrupted)
        assert damaged.image.min() >= 0 and damaged.image.max() <= 255
    store = scenario._store(np.float32([0.5, 1.5, 254.6, 300, -2]), np.dtype(np.uint8))
    assert store.tolist() == [0, 2, 255, 255, 0]


@pytest.mark.parametrize("name", harms.names("tabular"))
def test_tables(name):
    samples = cohort(shape=(5,), dtype=np.float32)
    samples.image[::3, 1] = np.nan
    damaged, corrupted, kind = scenario.plant(
        samples, plan.Choice("singles", count=4), name, seed=0
    )
    check_untouched(samples, damaged, corrupted)
    assert kind.count(name) == 4
    moved = ~np.isclose(damaged.image, samples.image, equal_nan=True).all(axis=1)
    assert (moved | (damaged.label != samples.label) == corrupted).all()


def test_harms_of_other_strength():
    samples = cohort()
    chosen = {"noise": harms.get("noise")(std=0.0), "mine": lambda key, s, y, d: (0 * s, y)}
    damaged, corrupted, kind = scenario.plant(
        samples, plan.Choice("singles", count=2), chosen, seed=0
    )
    assert sorted(filter(None, kind)) == ["mine", "noise"]
    assert (damaged.image[kind.index("mine")] == 0).all()
    np.testing.assert_array_equal(
        damaged.image[kind.index("noise")], samples.image[kind.index("noise")]
    )


@pytest.mark.parametrize(
    ("name", "harm", "choice", "message"),
    [
        ("single", "noise", {}, "'single'.*did you mean 'singles'.*none, centres, singles"),
        ("singles", "nois", {}, "'nois'.*did you mean 'noise'"),
        ("singles", "unit_error", {}, "'unit_error' is for tabular.*samples are image.*inversion"),
        ("singles", "noise", {"count": 500}, "500 wanted, 30 available.*lower the count"),
        ("centres", "noise", {"count": 9}, "9 wanted, 5 available.*max_fraction=0.2"),
        ("singles", "noise", {"count": 0}, "1 harms, count 0"),
        ("singles", (), {}, "0 harms, count 1"),
    ],
)
def test_errors(name, harm, choice, message):
    with pytest.raises(ValueError, match=message):
        scenario.plant(cohort(), plan.Choice(name, **choice), harm, seed=0)


def test_both_classes_stay_clean():
    label, centre = np.repeat([0, 1, 1, 0], 5), np.repeat([0, 1, 2, 3], 5)
    for seed in range(4):
        chosen = plan.draw(
            label, centre, plan.Choice("centres", count=2, max_fraction=0.5), seed=seed
        )
        assert set(label[chosen.turn < 0]) == {0, 1}
    with pytest.raises(ValueError, match="3 wanted, 2 available"):
        plan.draw(label, centre, plan.Choice("centres", count=3, max_fraction=0.5), seed=0)
    with pytest.raises(ValueError, match="single class"):
        plan.draw(0 * label, centre, plan.Choice("centres"), seed=0)


@pytest.mark.parametrize("scale", [1 / 255, -1.0, 10.0])
def test_normalised_images_are_refused(scale):
    samples = cohort(dtype=np.float32)
    with pytest.raises(ValueError, match="intensities span.*before any normalisation"):
        scenario.plant(
            samples._replace(image=samples.image * scale), plan.Choice("singles"), "noise", seed=0
        )


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_donors_and_wrong_labels_are_of_any_other_class(classes):
    samples = cohort(sizes=(40, 60, 80))
    samples = samples._replace(label=np.arange(180, dtype=np.int32) % classes)
    pairs = set()
    for seed in range(8):
        chosen = plan.draw(
            samples.label, samples.centre, plan.Choice("singles", count=9), seed=seed
        )
        pairs |= set(zip(samples.label.tolist(), samples.label[chosen.donor].tolist(), strict=True))
    assert pairs == {(a, b) for a in range(classes) for b in range(classes) if a != b}
    damaged, corrupted, _ = scenario.plant(
        samples, plan.Choice("singles", count=60), "label_flip", seed=0, classes=classes
    )
    np.testing.assert_array_equal(damaged.label != samples.label, corrupted)
    assert set(damaged.label) == set(range(classes))


def test_the_draws_for_two_classes_are_what_they_were():
    """Pinned: figures that were published with these draws can be made again."""
    label, centre = np.arange(40) % 2, np.repeat(np.arange(4), 10)
    chosen = plan.draw(label, centre, plan.Choice("singles", count=4), 2, seed=11)
    assert np.flatnonzero(chosen.turn >= 0).tolist() == [6, 14, 26, 33]
    assert chosen.donor[:12].tolist() == [1, 30, 13, 0, 17, 26, 15, 16, 19, 4, 13, 16]


def test_every_class_stays_clean():
    label, centre = np.repeat([0, 1, 2, 2], 5), np.repeat([0, 1, 2, 3], 5)
    for seed in range(6):
        chosen = plan.draw(label, centre, plan.Choice("centres", max_fraction=0.5), seed=seed)
        assert set(centre[chosen.turn >= 0]) < {2, 3}
    with pytest.raises(ValueError, match="2 wanted, 1 available.*every class among the clean"):
        plan.draw(label, centre, plan.Choice("centres", count=2, max_fraction=0.5), seed=0)


def test_harms_are_made_with_their_settings_and_no_others():
    samples = cohort()
    settings = {"noise": {"std": 0.0}, "label_flip": {"to": None}}
    damaged, corrupted, kind = scenario.plant(
        samples, plan.Choice("singles", count=4), ("noise", "label_flip"), seed=0, settings=settings
    )
    assert corrupted.sum() == 4 and kind.count("noise") == 2
    np.testing.assert_array_equal(damaged.image, samples.image)
    with pytest.raises(ValueError, match="scenario.noise: strength is no setting.*known are std"):
        scenario.resolve("noise", "image", settings={"noise": {"strength": 1}})
    with pytest.raises(ValueError, match="classes is no setting of this harm; known are to"):
        scenario.resolve("label_flip", "image", settings={"label_flip": {"classes": 3}})
