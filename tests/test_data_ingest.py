"""From files to one array: order, failures, stores; and the table of what is wrong."""

import nibabel
import numpy as np
import pytest

from harmjax.data import checks, ingest, records, splits
from harmjax.data.scans import nifti

SHAPE, AFFINE = nifti.grid(16)


def planted(folder, num=6):
    """Returns records of scans whose voxels name their subject: the last axis counts, +10 i."""
    scans = []
    for i in range(num):
        volume = np.full(SHAPE, 10 * i, np.uint8)
        volume[:, :, :] += np.arange(SHAPE[2], dtype=np.uint8) * 5
        path = nifti.write(folder / f"{i}.nii.gz", volume, AFFINE)
        split = records.SPLITS[i % 3]
        scans.append(record(i, centre="BA"[i % 2], split=split, path=str(path)))
    return scans


def record(i, *, session="", **known):
    return records.Record(row=2 + i, subject=f"s{i}", session=session, label=i % 2, **known)


def load(scans, *, store=None, unique=True, **settings):
    how = ingest.Reading(**{"spacing": 16, **settings})
    return ingest.load(scans, how, store=store, unique=unique, progress=False)


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
    one = records.Record(row=2, subject="sub-01", session="1", centre="A", label=0)
    assert records.identity(one) == 3435563728


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


def test_the_same_image_under_two_records_is_nobodys(tmp_path):
    scans = planted(tmp_path)
    (tmp_path / "0.nii.gz").unlink()
    (tmp_path / "0.nii.gz").symlink_to("5.nii.gz")  # s0 trains, s5 tests
    packed = tmp_path / "1.nii.gz"  # s1 has the image of s2 in another orientation
    image = nibabel.load(tmp_path / "2.nii.gz")
    nibabel.save(image.as_reoriented([[1, -1], [0, 1], [2, -1]]), packed)
    for store in (None, tmp_path / "images.bin", tmp_path / "images.bin"):
        cohort, problems = load(scans, store=store)
        assert [r.subject for r in cohort.records] == ["s3", "s4"]
        assert subjects(cohort) == [3, 4]
        assert [(p.row, p.subject, p.place) for p in problems] == [
            (scans[i].row, scans[i].subject, scans[i].path) for i in (0, 1, 5, 2)
        ]
        assert problems[0].what.startswith("the same image as row 7 (subject s5, centre A), so")
        assert problems[1].what.startswith("the same image as row 4 (subject s2, centre B), so")
        assert "correct the paths" in problems[0].what
    other = [r._replace(row=r.row + 10, subject=f"t{r.subject}") for r in scans]
    _, renamed = load(other, store=store)
    assert renamed[0].what.startswith("the same image as row 17 (subject ts5, centre A), so")


def test_an_image_that_cannot_be_used_under_one_record_is_nobodys_either(tmp_path):
    scans = planted(tmp_path, 3)
    image = nibabel.load(tmp_path / "1.nii.gz")
    far = AFFINE.copy()
    far[0, 3] += 300
    nifti.write(tmp_path / "2.nii.gz", np.asarray(image.dataobj), far)
    scans[2] = scans[2]._replace(session="two")
    cohort, problems = load(scans)
    assert subjects(cohort) == [0]
    assert problems[0].what.startswith("the same image as row 4 (subject s2, session two, centre B")
    assert "mm off" in problems[1].what and "; the same image as row 3 (subj" in problems[1].what


def test_of_many_records_of_one_image_three_are_named(tmp_path):
    scans = [r._replace(path=planted(tmp_path)[0].path) for r in planted(tmp_path)]
    cohort, problems = load(scans)
    assert (cohort.records, len(problems)) == ((), 6)
    assert "row 2 (subject s0, centre B), row 3 (" in problems[0].what
    assert ", 2 more, so nobody" in problems[0].what


def test_digests_and_notices_come_with_the_images_and_the_store(tmp_path):
    scans = planted(tmp_path)
    volume = np.arange(1200, dtype=np.float32).reshape(SHAPE)[:, :, :-2]
    nifti.write(scans[4].path, volume, AFFINE)
    for store in (None, tmp_path / "images.bin", tmp_path / "images.bin"):
        cohort, problems = load(scans, store=store, dtype="float32")
        assert problems == ()
        assert cohort.digests == tuple(nifti.digest(r.path) for r in cohort.records)
        assert cohort.notices == (
            records.Problem(
                6, "s4", scans[4].path, "the field of view covers 80% of the model's box"
            ),
        )
    findings = checks.check(splits.assign(people(800)), notices=cohort.notices)
    assert "1 used, but look at them:" in findings.text and "covers 80%" in findings.text
    assert findings.problems == ()


def test_a_change_of_the_other_half_of_a_pair_is_seen(tmp_path):
    image = nibabel.load(planted(tmp_path, 1)[0].path)
    pair = nibabel.Nifti1Pair(np.asarray(image.dataobj), AFFINE)
    nibabel.save(pair, tmp_path / "a.img")
    scans = [record(0, centre="A", split="train", path=str(tmp_path / "a.img"))]
    store = tmp_path / "images.bin"
    first = np.array(load(scans, store=store)[0].images[0])
    moved = AFFINE.copy()
    moved[2, 3] += 16
    pair.set_sform(moved)
    nibabel.save(pair, tmp_path / "b.img")
    (tmp_path / "b.hdr").rename(tmp_path / "a.hdr")
    again, _ = load(scans, store=store)
    np.testing.assert_array_equal(again.images[0][..., 1:], first[..., :-1])


def test_whatever_a_reader_raises_is_that_scans_problem(tmp_path):
    scans = planted(tmp_path, 3)
    scans[1] = scans[1]._replace(path="a\0b")
    scans[2] = scans[2]._replace(path=str(tmp_path / ("x" * 300)))
    cohort, problems = load(scans)
    assert subjects(cohort) == [0]
    assert [p.place for p in problems] == [scans[1].path, scans[2].path]
    assert "File name too long" in problems[1].what


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
    return [record(i, centre=centre)._replace(subject=f"{centre}{i}") for i in range(num)]


def test_a_sound_cohort_has_nothing_to_say():
    findings = checks.check(splits.assign(people(800)))
    assert (findings.problems, findings.warnings) == ((), ())
    assert findings.text.splitlines()[1].split() == ["train", "280", "280", "1"]


def test_problems_are_listed_or_refused():
    problem = records.Problem(5, "s5", "age", "'x' is not a number")
    scans = splits.assign(people(800))
    findings = checks.check(scans, [problem])
    assert findings.problems == (problem,)
    assert "  5  s5       age    'x' is not a number" in findings.text
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


AD = ("HC", "MCI", "AD")


def test_three_classes_are_counted_by_name():
    people = [records.Record(2 + i, f"s{i}", "", "AB"[i % 2], i % 3) for i in range(12)]
    scans = [r._replace(split="train") for r in people[:7]]
    scans += [r._replace(split="verification") for r in people[7:] if r.label != 2]
    findings = checks.check(scans, classes=AD)
    assert findings.text.splitlines()[:4] == [
        "split         HC  MCI  AD  centres",
        "train          3    2   2        2",
        "verification   1    2   0        2",
        "test           0    0   0        0",
    ]
    assert findings.warnings[0].startswith("verification has 1 HC, fewer than 50")
    assert findings.warnings[2:] == (
        "verification has no AD: its errors cannot be seen",
        *(f"test has no {name}: AUROC is undefined there" for name in AD),
    )
    assert checks.by_centre(scans, AD).splitlines() == [
        "centre  train      verification  test",
        "A       2 + 1 + 1  0 + 1 + 0     0 + 0 + 0",
        "B       1 + 1 + 1  1 + 1 + 0     0 + 0 + 0",
        "HC + MCI + AD",
    ]
    with pytest.raises(checks.ManifestError, match="no training scan of AD .*data.words, data.fr"):
        checks.check([r for r in scans if r.label != 2], classes=AD)
