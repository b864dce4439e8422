import collections
import functools
import pathlib

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmjax import harms, types
from harmjax.harms import motion, plan, scenario

SHAPES = {"volume": (10, 16, 6), "slices": (11, 16, 1), "row": (6,)}
CASES = [
    (name, data)
    for name in harms.names()
    for data in SHAPES
    if name in harms.names("tabular" if data == "row" else "image")
]
TIGHT = {"atol": 0.02, "rtol": 1e-5}


def scan_of(data, seed=0):
    rng = np.random.default_rng(seed)
    if data == "row":
        return rng.uniform(1, 100, SHAPES[data]).astype(np.float32)
    scan = np.zeros(SHAPES[data], np.float32)
    scan[2:-1, 3:-2] = rng.uniform(60, 220, scan[2:-1, 3:-2].shape)
    return scan


def test_files_names_and_kinds_agree():
    folder = pathlib.Path(harms.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "plan", "scenario"}
    assert set(harms.names()) == files
    assert all(harms.get(name).__name__ == name for name in files)
    assert set(harms.names("image")) | set(harms.names("tabular")) == files
    assert set(harms.names("image")) & set(harms.names("tabular")) == set(harms.names("any"))


def test_unknown_names_list_the_known():
    with pytest.raises(ValueError, match="'inversoin'.*did you mean 'inversion'.*wrong_patient"):
        harms.get("inversoin")
    with pytest.raises(ValueError, match="'plan'.*known harms"):
        harms.get("plan")
    with pytest.raises(ValueError, match="'movie'.*image, tabular, any"):
        harms.names("movie")


@pytest.mark.parametrize(("name", "data"), CASES)
def test_contract(name, data):
    harm = harms.get(name)()
    scans = jnp.stack([scan_of(data), scan_of(data, 1)])
    donors = jnp.stack([scan_of(data, 2), scan_of(data, 3)])
    keys, labels = jax.random.split(jax.random.key(7), 2), jnp.array([0, 1], jnp.int32)
    damaged, after = jax.jit(jax.vmap(harm))(keys, scans, labels, donors)

    assert damaged.shape == scans.shape and damaged.dtype == jnp.float32
    assert after.shape == (2,) and after.dtype == jnp.int32
    assert np.isfinite(damaged).all()
    if data != "row":
        assert damaged.min() >= 0 and damaged.max() <= 255
    assert (after != labels).all() if name == "label_flip" else (after == labels).all()
    changed = np.abs(damaged - scans).max(axis=tuple(range(1, scans.ndim))) > 1
    assert changed.all() or name == "label_flip"

    if data == "slices":
        return  # Operation by operation is slow, and the same for slices.
    loop = [harm(*one) for one in zip(keys, scans, labels, donors, strict=True)]
    np.testing.assert_allclose(damaged, [scan for scan, _ in loop], **TIGHT)
    np.testing.assert_array_equal(after, [label for _, label in loop])
    again, _ = harm(keys[0], scans[0], labels[0], donors[0])
    np.testing.assert_array_equal(again, loop[0][0])


@settings(max_examples=3, deadline=None, derandomize=True)
@given(shape=st.tuples(*[st.integers(1, 9)] * 3), level=st.sampled_from([0.0, 17.0, 255.0]))
def test_odd_shapes_stay_in_range(shape, level):
    scan = jnp.full(shape, level, jnp.float32).at[0, 0, 0].set(100.0)

    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def everything(key):
        return {n: harms.get(n)()(key, scan, 1, scan)[0] for n in harms.names("image")}

    for name, damaged in everything(jax.random.key(1)).items():
        assert damaged.shape == shape, name
        assert np.isfinite(damaged).all(), name
        assert damaged.min() >= 0 and damaged.max() <= 255, name


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from([np.nan, -3.0, 0.0, 2.5, 140.0]), min_size=4, max_size=4),
    st.integers(0, 3),
)
def test_rows_with_gaps(values, seed):
    row = jnp.array(values, jnp.float32)
    for name in harms.names("tabular"):
        after, _ = compiled(name)(jax.random.key(seed), row, 1, row)
        assert after.shape == row.shape and after.dtype == row.dtype
        assert np.isnan(after).sum() == np.isnan(row).sum(), name


@functools.cache
def compiled(name, **strength):
    return jax.jit(harms.get(name)(**strength))


def damage(name, scan, donor=None, seed=0, **strength):
    scan = jnp.asarray(scan, jnp.float32)
    donor = scan if donor is None else donor
    return compiled(name, **strength)(jax.random.key(seed), scan, jnp.int32(1), donor)


def test_values_by_hand():
    scan = np.arange(6.0).reshape(2, 3, 1) * 51
    assert damage("inversion", scan)[0].ravel().tolist() == [255, 204, 153, 102, 51, 0]
    assert damage("left_right", scan)[0].ravel().tolist() == [153, 204, 255, 0, 51, 102]
    donor = jnp.full(scan.shape, 9.0)
    swapped, label = damage("wrong_patient", scan, donor)
    assert (swapped == 9).all() and label == 1
    same, label = damage("label_flip", scan)
    assert (same == scan).all() and label == 0 and damage("label_flip", same)[1].dtype == jnp.int32


def test_axis_swap_crops_and_pads_about_the_centre():
    scan = np.arange(1.0, 9.0).reshape(2, 4, 1)
    # Transposed: rows (1 5), (2 6), (3 7), (4 8); the two in the middle stay, zeros on both sides.
    assert damage("axis_swap", scan)[0][..., 0].tolist() == [[0, 2, 6, 0], [0, 3, 7, 0]]
    cube = np.random.default_rng(0).uniform(0, 255, (4, 5, 4))
    swapped, _ = damage("axis_swap", cube, axes=(0, 2))
    np.testing.assert_allclose(swapped, cube.transpose(2, 1, 0), rtol=1e-6)


def test_thick_slices_average_whole_slices():
    scan = np.array([0.0, 30.0, 60.0, 100.0, 110.0, 120.0]).reshape(1, 6, 1)
    assert damage("thick_slices", scan, num_slices=2)[0].ravel().tolist() == [30] * 3 + [110] * 3
    np.testing.assert_allclose(damage("thick_slices", scan, num_slices=9)[0], scan, rtol=1e-6)
    with_z = damage("thick_slices", scan.transpose(0, 2, 1), num_slices=3, axis=2)[0]
    assert with_z.ravel().tolist() == [15, 15, 80, 80, 115, 115]


def test_noise_statistics():
    scan = np.full((24, 24, 24), 128.0)
    noisy = np.asarray(damage("noise", scan)[0])
    assert abs(noisy.mean() - 128) < 1 and abs(noisy.std() - 25) < 0.7
    dark = np.asarray(damage("noise", 0 * scan)[0])
    assert abs((dark == 0).mean() - 0.5) < 0.03
    pure = np.asarray(damage("pure_noise", scan)[0])
    assert abs(pure.mean() - 127.5) < 2 and abs(pure.std() - 50) < 2
    np.testing.assert_array_equal(pure, damage("pure_noise", 0 * scan)[0])
    assert np.abs(pure - np.asarray(damage("pure_noise", scan, seed=1)[0])).mean() > 20


def test_a_shift_of_the_whole_recording_is_a_shift_of_the_scan():
    scan = scan_of("volume")
    path = np.tile([2 / 10, -3 / 16], (16, 1))
    np.testing.assert_allclose(
        motion.moved(scan, path), np.roll(scan, (2, -3), axis=(0, 1)), atol=0.01
    )


def test_a_shift_during_the_recording_mixes_lines_of_two_scans():
    scan = scan_of("volume")
    path = np.zeros((16, 2))
    path[7:] = [1 / 10, 4 / 16]
    still, later = (np.fft.fft2(np.roll(scan, by, (0, 1)), axes=(0, 1)) for by in ((0, 0), (1, 4)))
    frequency = np.fft.fftfreq(16, 1 / 16)
    # Lines are recorded from -8 to 7: from the eighth on, the head lies elsewhere.
    mixed = np.where((frequency >= -1)[None, :, None], later, still)
    expected = np.abs(np.fft.ifft2(mixed, axes=(0, 1)))
    np.testing.assert_allclose(motion.moved(scan, path), expected, atol=0.01)


def test_ghosts_are_shifted_copies():
    scan = np.zeros((3, 12, 2), np.float32)
    scan[1, 5] = 90.0
    ghosts = np.asarray(damage("ghosting", scan, strength=0.5, num_ghosts=3)[0])
    # Copies of strength/2 at +-4 of 12 voxels; then scaled by 1 / (1 + 2/4) to the old mean.
    expected = (scan + 0.25 * np.roll(scan, 4, 1) + 0.25 * np.roll(scan, -4, 1)) / 1.5
    np.testing.assert_allclose(ghosts, expected, atol=1e-3)
    # With two ghosts both copies fall on one place, where they add up to strength cos(phase).
    for seed in range(8):
        pair = np.asarray(damage("ghosting", scan, seed=seed, strength=0.5, num_ghosts=2)[0])
        assert 0.25 <= pair[1, 11, 0] / pair[1, 5, 0] <= 0.5


def test_spikes_are_bright_points_of_k_space():
    scan = np.full((16, 16, 16), 60.0)
    one = np.asarray(damage("spike", scan, strength=0.5, num_spikes=1)[0])
    # |60 + 30 exp(i phase)|: between 30 and 90, with the mean square of the two.
    assert one.min() >= 29.9 and one.max() <= 90.1 and one.max() - one.min() > 55
    assert abs((one**2).mean() - 60**2 - 30**2) < 100
    np.testing.assert_allclose(damage("spike", scan, strength=0.0)[0], scan, rtol=1e-5)


def test_bias_field_is_smooth_spans_its_ratio_and_keeps_the_mean():
    scan = np.full((12, 12, 12), 30.0)
    biased = np.asarray(damage("bias_field", scan, ratio=6.0)[0])
    assert biased.max() / biased.min() == pytest.approx(6.0, rel=1e-4)
    assert biased.mean() == pytest.approx(30.0, rel=1e-4)
    assert max(np.abs(np.diff(np.log(biased), axis=a)).max() for a in range(3)) < 0.5
    patchy = scan_of("volume")
    ratio = np.asarray(damage("bias_field", patchy, ratio=1.5)[0])[patchy > 0] / patchy[patchy > 0]
    assert ratio.max() / ratio.min() < 1.5


def test_unit_error_by_hand():
    row = [50.0, np.nan, 5.0, 0.0]
    after, _ = damage("unit_error", row, column=2)
    np.testing.assert_allclose(after, [50, np.nan, 193.35, 0], rtol=1e-6)
    after, _ = damage("unit_error", row, column=2, factor=1.8, offset=32)
    np.testing.assert_allclose(after, [50, np.nan, 41, 0], rtol=1e-6)
    after, _ = damage("unit_error", row, column=1, factor=1.8, offset=32)
    np.testing.assert_array_equal(after, np.float32(row))
    keys = jax.random.split(jax.random.key(0), 20)
    many = jax.vmap(harms.get("unit_error")(), (0, None, None, None))
    drawn = np.nan_to_num(many(keys, jnp.array(row), 1, jnp.array(row))[0]) != np.nan_to_num(row)
    assert (drawn.sum(axis=1) == 1).all()
    assert set(np.flatnonzero(drawn.any(axis=0))) == {0, 2}
    with pytest.raises(ValueError, match="column 4 of a row of 4.*0 to 3"):
        damage("unit_error", row, column=4)


def test_swapped_columns_by_hand():
    row = [1.0, np.nan, 1.0, 1.0]
    after, _ = damage("swapped_columns", row, columns=(1, 2))
    np.testing.assert_array_equal(after, [1, 1, np.nan, 1])
    keys = jax.random.split(jax.random.key(0), 10)
    many = jax.vmap(harms.get("swapped_columns")(), (0, None, None, None))
    drawn = np.isnan(many(keys, jnp.array(row), 1, jnp.array(row))[0])
    assert (drawn.sum(axis=1) == 1).all() and not drawn[:, 1].any()
    with pytest.raises(ValueError, match=r"columns \(0, 9\) of a row of 4"):
        damage("swapped_columns", row, columns=(0, 9))


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
    damaged, corrupted, kind = scenario.plant(samples, "none", "", seed=0)
    assert not corrupted.any() and kind == [""] * len(samples.label)
    np.testing.assert_array_equal(damaged.image, samples.image)


@pytest.mark.parametrize("seed", range(3))
def test_centres_are_damaged_whole(seed):
    samples = cohort()
    before = samples.image.copy()
    damaged, corrupted, kind = scenario.plant(
        samples, "centres", ("inversion", "label_flip"), seed=seed, count=3, max_fraction=0.2
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
    given = {"centres": ["C01", 8], "centre_names": names}
    _, corrupted, _ = scenario.plant(samples, "centres", "inversion", seed=0, **given)
    assert set(samples.centre[corrupted]) == {1, 8} and corrupted.sum() == 32
    _, corrupted, _ = scenario.plant(samples, "singles", "inversion", seed=0, count=4, **given)
    assert set(samples.centre[corrupted]) == {8} and corrupted.sum() == 4
    with pytest.raises(ValueError, match="'C3'.*did you mean 'C03'.*C00, C01"):
        plan.draw(
            samples.label, samples.centre, "centres", seed=0, centres=["C3"], centre_names=names
        )
    with pytest.raises(ValueError, match="centre 99 .*0, 1, 2"):
        plan.draw(samples.label, samples.centre, "centres", seed=0, centres=[99])


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 24))
def test_singles_spread_over_centres(seed, count):
    samples = cohort()
    chosen = plan.draw(samples.label, samples.centre, "singles", 3, seed=seed, count=count)
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
        chosen = plan.draw(samples.label, samples.centre, name, num_harms, seed=seed, count=count)
        return set(np.flatnonzero(chosen.turn >= 0).tolist())

    assert hit(1) < hit(2) < hit(3)
    assert (
        hit(3) == hit(3, num_harms=2) == hit(3, seed=jax.random.key(5)) == hit(3, seed=np.int64(5))
    )
    assert any(hit(2) != hit(2, seed=other) for other in range(6, 10))


def test_a_sample_comes_out_the_same_beside_others():
    samples = cohort()
    few, some, _ = scenario.plant(samples, "singles", ("noise",), seed=1, count=2)
    more, others, kind = scenario.plant(
        samples, "singles", ("noise", "inversion"), seed=1, count=20
    )
    both = some & (np.array(kind) == "noise")
    assert both.any() and others.sum() == 20
    np.testing.assert_array_equal(few.image[both], more.image[both])
    check_untouched(samples, more, others)
    noisy = more.image[np.array(kind) == "noise"].astype(int)
    plain = samples.image[np.array(kind) == "noise"].astype(int)
    assert len({row.tobytes() for row in noisy - plain}) == len(noisy)
    again, _, _ = scenario.plant(samples, "singles", ("noise", "inversion"), seed=1, count=20)
    np.testing.assert_array_equal(again.image, more.image)


def test_wrong_patients_come_from_the_other_class():
    samples = cohort()
    damaged, corrupted, _ = scenario.plant(samples, "singles", "wrong_patient", seed=2, count=12)
    for i in np.flatnonzero(corrupted):
        source = np.flatnonzero((samples.image == damaged.image[i]).all(axis=(1, 2, 3)))
        assert len(source) == 1 and samples.label[source[0]] != samples.label[i]
        assert damaged.label[i] == samples.label[i]


@pytest.mark.parametrize("dtype", [np.uint8, ml_dtypes.bfloat16, np.float32])
def test_storage_is_kept_for_slices(dtype):
    samples = cohort(shape=(6, 5, 2), dtype=dtype)
    for name in ("inversion", "noise"):
        damaged, corrupted, _ = scenario.plant(samples, "singles", name, seed=0, count=2)
        check_untouched(samples, damaged, corrupted)
        assert damaged.image.min() >= 0 and damaged.image.max() <= 255
    store = scenario._store(np.float32([0.5, 1.5, 254.6, 300, -2]), np.dtype(np.uint8))
    assert store.tolist() == [0, 2, 255, 255, 0]


@pytest.mark.parametrize("name", harms.names("tabular"))
def test_tables(name):
    samples = cohort(shape=(5,), dtype=np.float32)
    samples.image[::3, 1] = np.nan
    damaged, corrupted, kind = scenario.plant(samples, "singles", name, seed=0, count=4)
    check_untouched(samples, damaged, corrupted)
    assert kind.count(name) == 4
    moved = ~np.isclose(damaged.image, samples.image, equal_nan=True).all(axis=1)
    assert (moved | (damaged.label != samples.label) == corrupted).all()


def test_harms_of_other_strength():
    samples = cohort()
    chosen = {"noise": harms.get("noise")(std=0.0), "mine": lambda key, s, y, d: (0 * s, y)}
    damaged, corrupted, kind = scenario.plant(samples, "singles", chosen, seed=0, count=2)
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
        scenario.plant(cohort(), name, harm, seed=0, **choice)


def test_both_classes_stay_clean():
    label, centre = np.repeat([0, 1, 1, 0], 5), np.repeat([0, 1, 2, 3], 5)
    for seed in range(4):
        chosen = plan.draw(label, centre, "centres", seed=seed, count=2, max_fraction=0.5)
        assert set(label[chosen.turn < 0]) == {0, 1}
    with pytest.raises(ValueError, match="3 wanted, 2 available"):
        plan.draw(label, centre, "centres", seed=0, count=3, max_fraction=0.5)
    with pytest.raises(ValueError, match="single class"):
        plan.draw(0 * label, centre, "centres", seed=0)


@pytest.mark.parametrize("scale", [1 / 255, -1.0, 10.0])
def test_normalised_images_are_refused(scale):
    samples = cohort(dtype=np.float32)
    with pytest.raises(ValueError, match="intensities span.*before any normalisation"):
        scenario.plant(samples._replace(image=samples.image * scale), "singles", "noise", seed=0)
