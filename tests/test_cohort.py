"""The semi-synthetic cohort: who is in it, what the scans show, and what lies on disk."""

import math
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harmjax.cohort import anatomy, fields, generator, plan, scanner, subject


@pytest.fixture(scope="module")
def rows():
    return plan.rows(plan.centres("83"))


@pytest.fixture(scope="module")
def generate():
    return generator.generator(effect=3.0)


def count(rows, **wanted):
    return sum(all(getattr(row, name) == value for name, value in wanted.items()) for row in rows)


def test_the_full_cohort_has_the_sizes_of_the_table(rows):
    for split, controls, patients in (
        ("train", 730, 680),
        ("test", 220, 187),
        ("verification", 220, 187),
    ):
        assert count(rows, split=split, label=0) == controls
        assert count(rows, split=split, label=1) == patients
    assert count(rows, centre="C02", split="train", label=1) == 61
    assert count(rows, centre="C09", split="test", label=0) == 0
    assert len({row.subject for row in rows}) == len({row.place for row in rows}) == 2224


@pytest.mark.parametrize("number", [5, 10, 20, 40])
def test_fewer_centres_keep_the_character_of_the_cohort(number):
    chosen = plan.centres(number, seed=1)
    train = np.array([centre.train for centre in chosen])
    assert len(chosen) == len({centre.name for centre in chosen}) == number
    assert 0.4 < train[:, 1].sum() / train.sum() < 0.6
    assert train.sum(1).max() >= 30
    assert train.sum(1).min() == 1
    assert 0.4 <= (train == 0).any(axis=1).mean() <= 0.8
    assert plan.centres(number, seed=1) == chosen


def test_held_out_scans_are_topped_up_in_proportion():
    table = [plan.Centre("A", (30, 0), (1, 0)), plan.Centre("B", (10, 5), (0, 1))]
    rows = plan.rows(table, min_test=9, min_verification=2)
    # 8 more controls 3:1 over A and B, 8 more patients at B alone.
    assert count(rows, centre="A", split="test", label=0) == 1 + 6
    assert count(rows, centre="B", split="test", label=0) == 0 + 2
    assert count(rows, centre="B", split="test", label=1) == 1 + 8
    assert count(rows, split="verification") == 2 + 2


def test_a_person_stays_the_same_when_centres_and_counts_change(rows):
    fewer = plan.rows([c for c in plan.centres("83") if c.name in ("C07", "C40")], min_test=30)
    known = {row.place: row for row in rows}
    shared = [row for row in fewer if row.place in known]
    assert len(shared) == count(rows, centre="C07") + count(rows, centre="C40")
    assert all(row._replace(subject="") == known[row.place]._replace(subject="") for row in shared)


def test_age_and_sex_are_those_of_a_parkinson_cohort(rows):
    age, label = np.array([row.age for row in rows]), np.array([row.label for row in rows])
    assert 58 < age.mean() < 64
    assert age.min() >= 35 and age.max() <= 90
    assert abs(age[label == 1].mean() - age[label == 0].mean()) < 1.5
    assert 0.57 < np.mean([row.sex == "M" for row in rows if row.label]) < 0.67


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("centre,train_hc\nA,1\n", "no column train_pd"),
        ("centre,train_hc,train_pd,test_hc,test_pd\nA,1,-2,0,0\n", "row 2: train_pd='-2'"),
        ("centre,train_hc,train_pd,test_hc,test_pd\nA,1,1,0,0\nA,1,1,0,0\n", "named twice: A"),
        ("centre,train_hc,train_pd,test_hc,test_pd\n", "no centres"),
    ],
)
def test_a_bad_table_of_centres_is_refused(tmp_path, table, message):
    path = tmp_path / "sizes.csv"
    path.write_text(table)
    with pytest.raises(ValueError, match=message):
        plan.centres(path)


def test_bad_settings_are_refused_with_their_range():
    with pytest.raises(ValueError, match="choose from 2 to that many"):
        plan.centres("84")
    with pytest.raises(ValueError, match="no such file"):
        plan.centres("eighty")
    with pytest.raises(ValueError, match="spacing=8.0 mm"):
        generator.generator(spacing=8.0)
    with pytest.raises(ValueError, match="effect=-1"):
        generator.generator(effect=-1)
    with pytest.raises(ValueError, match="no centre trains on patients"):
        plan.rows([plan.Centre("A", (3, 0), (1, 0))], min_test=2)


def test_pull_is_distance_times_fading_weight():
    field = anatomy.pull([(18.0, 2.0, 2.0)], 10.0)
    x, y, z = np.round((np.array([26.0, 2.0, 2.0]) - [-78, -110, -70]) / 4).astype(int)
    np.testing.assert_allclose(field[:, x, y, z], [8 * math.exp(-0.64), 0, 0], atol=1e-5)
    np.testing.assert_allclose(field[:, -1 - x, y, z], [-8 * math.exp(-0.64), 0, 0], atol=1e-5)


def test_tissue_is_linear_between_the_levels():
    image = np.full((9, 9, 9), 163, np.uint8)
    image[4, 4, 4], image[4, 4, 5], image[4, 4, 3] = 221, 192, 0
    image[0] = 0
    found = anatomy.tissue(image, (62.0, 163.0, 221.0))
    assert found[4, 4, 4] == 3.0 and found[4, 4, 5] == 2.5 and found[2, 2, 2] == 2.0
    assert found[0].max() == 0
    assert found[4, 4, 3] == pytest.approx(0.8)  # a hole inside the brain is fluid, not air


def test_smooth_fields_have_unit_variance_up_to_the_edge():
    draws = np.stack(fields.smooth(jax.random.key(0), 4.0, 12.0, 60))
    assert abs(draws.std() - 1) < 0.05
    assert abs(draws[:, 0].std() - 1) < 0.1
    neighbours = (draws[:, 1:] * draws[:, :-1]).mean()
    assert abs(neighbours - math.exp(-(4**2) / (4 * 12**2))) < 0.05


def test_thick_slices_average_and_interpolate_back():
    axis = np.arange(8) + 0.5
    np.testing.assert_allclose(fields.slices(axis, 1.0), np.eye(8), atol=1e-6)
    matrix = np.asarray(fields.slices(axis, 2.0))
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-5)
    # Voxel 1 lies a quarter of the way from the slice of voxels 0, 1 to that of 2, 3.
    np.testing.assert_allclose(matrix[1], [0.375, 0.375, 0.125, 0.125, 0, 0, 0, 0], atol=1e-5)


def test_digitise_puts_the_percentile_at_230():
    image = jnp.arange(1.0, 1001.0).reshape(10, 10, 10)
    stored = np.asarray(scanner.digitise(image, image > 100))
    assert stored[0].max() == 0
    # 99.5 % of the 900 brain voxels are at most 996.
    assert stored.ravel()[995] == 230 and stored.ravel()[999] == round(1000 * 230 / 995.5)


def test_without_effect_the_label_leaves_no_trace_and_with_it_the_structures_shrink():
    atlas = anatomy.atlas(4.0)
    make = jax.jit(lambda key, label, effect: subject.subject(key, atlas, label, 60.0, 1.0, effect))
    place = fields.positions(4.0)

    def within(centre, radius):
        return (
            np.linalg.norm(np.abs(place * [1, 0, 0]) + place * [0, 1, 1] - centre, axis=-1) < radius
        )

    nigra, putamen = within([10, -18, -12], 6), within([29, -2, 3], 12)
    darker, thinner = [], []
    for key in jax.random.split(jax.random.key(1), 6):
        control, same, patient = make(key, 0.0, 3.0), make(key, 1.0, 0.0), make(key, 1.0, 4.0)
        np.testing.assert_array_equal(control.tissue, same.tissue)
        np.testing.assert_array_equal(control.nigra, same.nigra)
        darker.append(float((control.nigra - patient.nigra)[nigra].mean()))
        far = place[..., 1] > 60
        np.testing.assert_allclose(control.tissue[far], patient.tissue[far], atol=0.02)
        thinner.append(float(np.abs(control.tissue - patient.tissue)[putamen].mean()))
    # Effect 4 takes 24 % of the signal at the centre, about half of that over 6 mm.
    assert 0.05 < np.mean(darker) < 0.24
    assert min(thinner) > 0.01


def test_shrinking_a_structure_moves_its_wall_inwards():
    place = fields.positions(4.0)
    distance = place - [18.0, 2.0, 2.0]
    ball = jnp.asarray((np.linalg.norm(distance, axis=-1) < 14).astype(np.float32))
    pull = anatomy.pull([(18.0, 2.0, 2.0)], 20.0)
    right = place[..., 0] > 0
    volume = {}
    for change in (-0.3, 0.0, 0.3):
        moved = [place[..., axis] + change * pull[axis] for axis in range(3)]
        volume[change] = float(subject.sample(ball, 4.0, moved)[right].sum())
    assert volume[0.3] < 0.75 * volume[0.0] < 0.75 * 0.75 * volume[-0.3]


def test_sampling_a_ramp_returns_the_place():
    place = fields.positions(4.0)
    at = [jnp.asarray([10.0, -77.0]), jnp.asarray([-3.5, 0.0]), jnp.asarray([-20.0, 30.2])]
    for axis in range(3):
        ramp = jnp.asarray(place[..., axis], jnp.float32)
        np.testing.assert_allclose(subject.sample(ramp, 4.0, at), at[axis], atol=1e-4)


def test_two_people_alike_in_age_and_sex_are_not_the_same(rows, generate):
    twin = rows[0]._replace(place=(*rows[0].place[:3], 99))
    first, second = generate([rows[0], twin]).astype(float)
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] < 0.98
    assert np.abs(first - second).mean() > 5


@pytest.mark.optimised
def test_scans_depend_on_their_row_alone(rows, generate):
    some = [rows[0], rows[1], rows[300], rows[1000], rows[2223]]
    scans = generate(some)
    np.testing.assert_array_equal(scans, generate(some))
    np.testing.assert_array_equal(scans[3], generate(some[3:4])[0])
    np.testing.assert_array_equal(scans[::-1], generate(some[::-1]))
    assert len({scan.tobytes() for scan in scans}) == len(some)
    assert scans.shape == (5, 40, 48, 40) and scans.dtype == np.uint8
    for scan in scans:
        assert abs(np.percentile(scan[scan > 0], 99.5) - 230) <= 2
        assert 0.30 < (scan > 0).mean() < 0.50
        assert scan[0].max() == 0


def test_finer_scans_show_the_same_heads(rows, generate):
    fine = generator.generator(spacing=2.0, effect=3.0, batch_size=1)(rows[:1])[0].astype(float)
    assert fine.shape == (80, 96, 80)
    coarse = fine.reshape(40, 2, 48, 2, 40, 2).mean((1, 3, 5))
    assert np.corrcoef(coarse.ravel(), generate(rows[:1])[0].ravel())[0, 1] > 0.97


def test_patients_are_dealt_to_two_diseases(rows):
    two = plan.rows(plan.centres("83"), diseases=2)
    assert [(r.place, r.age, r.sex) for r in two if not r.label] == [
        (r.place, r.age, r.sex) for r in rows if not r.label
    ]
    for centre in {row.centre for row in rows}:
        for split in plan.SPLITS:
            both = [count(two, centre=centre, split=split, label=k) for k in (1, 2)]
            assert sum(both) == count(rows, centre=centre, split=split, label=1)
            assert abs(both[0] - both[1]) <= 1
    # Odd ones fall to both: without that, one disease would have 25 or more scans too many.
    assert abs(count(two, label=1) - count(two, label=2)) < 12
    assert len({row.place for row in two}) == len(two) == len(rows)
    table = [plan.Centre("A", (2, 3), (0, 1)), plan.Centre("B", (0, 5), (0, 0))]
    odd = [zlib.crc32(name) % 2 for name in (b"A train", b"B train")]
    dealt = plan.rows(table, diseases=2)
    assert count(dealt, centre="A", split="train", label=1) == 1 + odd[0]
    assert count(dealt, centre="B", split="train", label=1) == 2 + odd[1]
    assert count(dealt, centre="A", split="test") == 1
    with pytest.raises(ValueError, match="diseases=3: 1 or 2"):
        plan.rows(table, diseases=3)
    with pytest.raises(ValueError, match="no centre trains on nigrostriatal"):
        plan.rows([plan.Centre("B", (1, 1), (0, 0))], diseases=2, min_test=1)


def test_each_disease_changes_its_own_structures():
    """Mean images of twelve people as controls and with either disease."""
    atlas = anatomy.atlas(4.0, diseases=2)

    @jax.jit
    def mean(label):
        keys = jax.random.split(jax.random.key(5), 12)
        make = lambda key: subject.subject(key, atlas, label, 60.0, 1.0, 4.0, diseases=2)  # noqa: E731
        return jax.tree.map(lambda x: x.mean(0), jax.lax.map(make, keys))

    control, first, second = mean(0.0), mean(1.0), mean(2.0)
    place = fields.positions(4.0)

    def near(*names, reach=1.5):
        """Within the reach of a change around the skeletons, and as far again by warps."""
        inside = np.zeros(place.shape[:3], bool)
        for name in names:
            width, points = anatomy.structures(2)[name]
            both = np.concatenate([points, np.array(points) * (-1, 1, 1)])
            distance = np.linalg.norm(place[..., None, :] - both, axis=-1).min(-1)
            inside |= distance < reach * width
        return inside

    def share(found, inside):
        change = np.asarray(found.tissue - control.tissue) ** 2
        return change[inside].sum() / change.sum()

    own = {1: near("putamen", "caudate", "midbrain"), 2: near("hippocampus", "ventricles")}
    assert share(first, own[1]) > 0.9 and share(second, own[2]) > 0.9
    assert share(first, own[2] & ~own[1]) < 0.05 and share(second, own[1] & ~own[2]) < 0.05
    for inside in (own[1], own[2]):
        assert inside.mean() < 0.12  # of the box, so that being there says something
    # The nigra darkens in one, and the brain holds more fluid in the other.
    assert float((control.nigra - first.nigra).max()) > 0.1
    np.testing.assert_allclose(control.nigra, second.nigra, atol=0.005)  # it moves a little
    middle = near("ventricles", reach=0.8)
    assert (control.tissue - second.tissue)[middle].mean() > 0.03


def test_people_of_a_cohort_of_two_diseases_are_those_of_one(rows, generate):
    """But for the hippocampus, whose size then varies between people too."""
    some = [rows[0], rows[200]]
    one, two = generate(some).astype(float), generator.generator(diseases=2)(some).astype(float)
    for a, b in zip(one, two, strict=True):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.99
