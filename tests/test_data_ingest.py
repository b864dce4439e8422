"""From files to one array: order, failures, stores; and the table of what is wrong."""

import numpy as np
import pytest

from harmjax.data import checks, ingest, nifti, records, splits

SHAPE, AFFINE = nifti.grid(16)


def planted(folder, num=6):
    """Returns records of scans whose voxels name their subject: the last axis counts, +10 i."""
    scans = []
    for i in range(num):
        volume = np.full(SHAPE, 10 * i, np.uint8)
        volume[:, :, :] += np.arange(SHAPE[2], dtype=np.uint8) * 5
        path = nifti.write(folder / f"{i}.nii.gz", volume, AFFINE)
        split = records.SPLITS[i % 3]
        scans.append(records.Record(2 + i, f"s{i}", "", "BA"[i % 2], i % 2, split, str(path)))
    return scans


def load(scans, **settings):
    return ingest.load(scans, **{"spacing": 16, "progress": False, **settings})


def subjects(cohort):
    return [int(image.flat[0]) // 10 for image in cohort.images]


def test_images_come_by_split_centre_and_subject(tmp_path):
    cohort, problems = load(planted(tmp_path)[::-1])
    assert problems == ()
    assert [r.subject for r in cohort.records] == ["s3", "s0", "s1", "s4", "s5", "s2"]
    assert subjects(cohort) == [3, 0, 1, 4, 5, 2]
    assert (cohort.images.dtype, cohort.images.shape) == (np.uint8, (6, *SHAPE))
    assert cohort.centres == ("A", "B")
    part = ingest.samples(cohort, "verification")
    assert part.label.tolist() == [1, 0]
    assert part.centre.tolist() == [0, 1]
    assert part.identity.tolist() == [records.identity(r) for r in cohort.records[2:4]]
    assert (part.label.dtype, part.centre.dtype, part.identity.dtype) == (
        "int32",
        "int32",
        "uint32",
    )
    assert np.shares_memory(part.image, cohort.images)
    np.testing.assert_array_equal(part.image, cohort.images[2:4])


def test_identity_is_pinned():
    assert records.identity(records.Record(2, "sub-01", "1", "A", 0)) == 3435563728


def test_an_unreadable_scan_leaves_no_gap(tmp_path):
    scans = planted(tmp_path)
    (tmp_path / "0.nii.gz").write_bytes(b"x")
    (tmp_path / "5.nii.gz").unlink()
    cohort, problems = load(scans)
    assert subjects(cohort) == [3, 1, 4, 2]
    assert [(p.subject, p.row) for p in problems] == [("s0", 2), ("s5", 7)]
    assert problems[0].place == scans[0].path


def test_a_store_is_written_once_and_mapped(tmp_path):
    scans = planted(tmp_path)
    (tmp_path / "0.nii.gz").write_bytes(b"x")
    store = tmp_path / "run" / "images.bin"
    first, problems = load(scans, store=store)
    assert isinstance(first.images, np.memmap) and not first.images.flags.writeable
    assert subjects(first) == [3, 1, 4, 5, 2]
    written = store.stat().st_mtime_ns
    again, same = load(scans[::-1], store=store)
    assert store.stat().st_mtime_ns == written
    np.testing.assert_array_equal(again.images, first.images)
    assert (again.records, same) == (first.records, problems)


@pytest.mark.parametrize("change", ["setting", "file", "scan", "interrupted"])
def test_a_store_is_written_anew_when_anything_changed(tmp_path, change):
    scans = planted(tmp_path)
    store = tmp_path / "images.bin"
    load(scans, store=store)
    settings = {}
    if change == "setting":
        settings = {"intensity": "percentile"}
    elif change == "file":
        nifti.write(scans[3].path, np.full(SHAPE, 9) + np.arange(SHAPE[2]) * 20.0, AFFINE)
    elif change == "scan":
        scans = scans[:-1]
    else:
        (tmp_path / "images.bin.json").unlink()
        store.write_bytes(b"\0" * store.stat().st_size)
    cohort, _ = load(scans, store=store, **settings)
    np.testing.assert_array_equal(cohort.images, load(scans, **settings)[0].images)


def test_slices_make_flat_images(tmp_path):
    cohort, _ = load(planted(tmp_path), slices=(-64, 8, 79.9))
    volumes, _ = load(planted(tmp_path))
    np.testing.assert_array_equal(cohort.images, volumes.images[..., [0, 5, 9]])
    with pytest.raises(ValueError, match="z = 90 mm lies outside the box, -72 to 88 mm"):
        load([], slices=(90,))


def test_intensities_out_of_range_are_a_problem(tmp_path):
    scans = planted(tmp_path, 2)
    nifti.write(scans[0].path, np.random.default_rng(0).normal(0, 1000, SHAPE), AFFINE)
    cohort, (problem,) = load(scans)
    assert subjects(cohort) == [1]
    assert "outside the 0 to 255" in problem.what and "percentile" in problem.what
    assert load(scans, intensity="zscore", dtype="bfloat16")[1] == ()


def test_every_scan_may_fail(tmp_path):
    scans = [r._replace(path="nowhere") for r in planted(tmp_path, 2)]
    for store in (None, tmp_path / "images.bin"):
        cohort, problems = load(scans, store=store)
        assert (len(problems), cohort.images.shape) == (2, (0, *SHAPE))
        assert ingest.samples(cohort, "train").image.shape == (0, *SHAPE)


def test_wrong_calls_are_named(tmp_path):
    scans = planted(tmp_path, 1)
    with pytest.raises(ValueError, match="subject s0: split ''.*splits.assign"):
        load([scans[0]._replace(split="")])
    with pytest.raises(ValueError, match="'zscore' gives negative"):
        load(scans, intensity="zscore")
    with pytest.raises(ValueError, match="train, verification, test"):
        ingest.samples(load(scans)[0], "training")


def people(num, centre="A"):
    return [records.Record(2 + i, f"{centre}{i}", "", centre, i % 2) for i in range(num)]


def test_a_sound_cohort_has_nothing_to_say():
    findings = checks.check(splits.assign(people(800)))
    assert (findings.problems, findings.warnings) == ((), ())
    assert findings.text.splitlines()[1].split() == ["train", "280", "280", "1"]


def test_problems_are_listed_or_refused():
    problem = records.Problem(5, "s5", "age", "'x' is not a number")
    scans = splits.assign(people(800))
    findings = checks.check(scans, [problem])
    assert findings.problems == (problem,)
    assert "5    s5       age    'x' is not a number" in findings.text
    with pytest.raises(checks.ManifestError, match="(?s)s5.*refused because of data.strict"):
        checks.check(scans, [problem], strict=True)


def test_a_centre_without_training_scans_is_a_problem():
    lost, held = people(3, "lost"), [r._replace(split="test") for r in people(4, "held")]
    scans = splits.assign(people(800))
    findings = checks.check((*scans, *held), listed=(*scans, *held, *lost))
    assert [p.place for p in findings.problems] == ["centre held", "centre lost"]


def test_few_verification_scans_are_a_warning():
    findings = checks.check(splits.assign(people(100)))
    assert len(findings.warnings) == 2
    assert "fewer than 50" in findings.warnings[0]
    assert all(f"warning: {w}" in findings.text for w in findings.warnings)


@pytest.mark.parametrize("label,word", [(0, "patients"), (1, "controls")])
def test_one_class_cannot_train(label, word):
    with pytest.raises(checks.ManifestError, match=f"no training scan of {word}"):
        checks.check([r for r in splits.assign(people(100)) if r.label == label])
