import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmjax import harms
from harmjax.harms import motion, scenario

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
    with pytest.raises(ValueError, match="'plan'.*known: "):
        harms.get("plan")
    with pytest.raises(ValueError, match="'movie'.*image, tabular, any"):
        harms.names("movie")


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(("name", "data"), CASES)
def test_contract(name, data, classes):
    harm = scenario.resolve(name, "tabular" if data == "row" else "image", classes)[name]
    scans = jnp.stack([scan_of(data, seed) for seed in range(classes)])
    donors = jnp.stack([scan_of(data, seed + classes) for seed in range(classes)])
    keys, labels = jax.random.split(jax.random.key(7), classes), jnp.arange(classes)
    damaged, after = jax.jit(jax.vmap(harm))(keys, scans, labels, donors)

    assert damaged.shape == scans.shape and damaged.dtype == jnp.float32
    assert after.shape == (classes,) and after.dtype == jnp.int32
    assert after.min() >= 0 and after.max() < classes
    assert np.isfinite(damaged).all()
    if data != "row":
        assert damaged.min() >= 0 and damaged.max() <= 255
    assert (after != labels).all() if name == "label_flip" else (after == labels).all()
    changed = np.abs(damaged - scans).max(axis=tuple(range(1, scans.ndim))) > 1
    assert changed.all() or name == "label_flip"

    if data == "slices" or classes > 2:
        return  # Operation by operation is slow, and the same for slices and more classes.
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


def flipped(label, keys, **settings):
    flip = jax.jit(jax.vmap(harms.get("label_flip")(**settings), (0, None, None, None)))
    return np.asarray(flip(keys, jnp.zeros(1), jnp.int32(label), jnp.zeros(1))[1])


def test_a_label_becomes_any_other_one_evenly():
    keys = jax.random.split(jax.random.key(3), 3000)
    for label in range(2):
        assert (flipped(label, keys) == 1 - label).all()
    for label in range(4):
        counts = np.bincount(flipped(label, keys, classes=4), minlength=4)
        assert counts[label] == 0 and counts.sum() == 3000
        # A third of 3,000 draws; the standard deviation is 26.
        assert (np.abs(np.delete(counts, label) - 1000) < 110).all()


def test_a_label_becomes_the_one_that_is_named():
    keys = jax.random.split(jax.random.key(3), 200)
    assert set(flipped(0, keys, classes=3, to=2)) == set(flipped(1, keys, classes=3, to=2)) == {2}
    assert set(flipped(2, keys, classes=3, to=2)) == {0, 1}
    assert set(flipped(1, keys, to=0)) == {0} and set(flipped(0, keys, to=0)) == {1}
    for to in (-1, 3):
        with pytest.raises(ValueError, match=f"label_flip: to={to} of 3 classes; choose 0 to 2"):
            harms.get("label_flip")(classes=3, to=to)
    with pytest.raises(ValueError, match="1 classes; there is no other label"):
        harms.get("label_flip")(classes=1)


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
