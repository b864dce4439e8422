"""From records to one array of images, in memory or on disk."""

import contextlib
import hashlib
import json
import math
import os
import pathlib
from concurrent import futures
from typing import NamedTuple

import numpy as np
import tqdm

from harmjax import plugins, types, workdirs
from harmjax.data import records
from harmjax.data.scans import intensity, nifti

# Raise it when reading the same file gives other voxels than before.
FORMAT = 2
NUM_THREADS = max(2, min(8, os.cpu_count() or 1))


class Cohort(NamedTuple):
    """All images of a study, in one order: by split, then centre, then subject and session."""

    records: tuple[records.Record, ...]  # one per image
    images: np.ndarray  # [R, *S] uint8, bfloat16 or float32; a read-only memory map from a store
    centres: tuple[str, ...]  # names; types.Samples.centre indexes them
    digests: tuple[str, ...] = ()  # one per image, see nifti.digest; () for tabular data
    notices: tuple[records.Problem, ...] = ()  # about scans that are used


class Reading(NamedTuple):
    """How a scan becomes an image: group `data` of a config has the same names."""

    spacing: float = 4.0  # mm, voxel size of the model's grid
    intensity: str = "raw"  # 'raw', 'percentile' or 'zscore', see `intensity.scale`
    percentiles: tuple[float, float] = (0.5, 99.5)  # low and high, in percent, for 'percentile'
    dtype: str = "uint8"  # 'uint8', 'bfloat16' or 'float32'
    align: str = "world"  # 'world' or 'centre', see `nifti.load`
    slices: tuple[float, ...] = ()  # mm, axial; images are then [X, Y, len(slices)], not [X, Y, Z]


class _Read(NamedTuple):
    """What reading all scans gave besides the images, by index of the scan."""

    failures: dict[int, str]
    digests: dict[int, str]  # also of scans that failed later than at their voxels
    notices: dict[int, list[str]]


def load(scans, how: Reading, *, store=None, unique=True, progress=True):
    """Returns (Cohort, problems): scans that cannot be read are left out, each with a problem.

    So are all records of one image (the same voxels, whatever the file is called, however it is
    compressed or placed): nobody can say whose it is, and across splits it would be tested on what
    was trained on.

    Args:
        scans: Records with a path and a split; one without a path is a person who was taken out of
            the data while a run goes on, and whose image is 0.
        how: From a scan to its image.
        store: A file to keep the images in, for cohorts larger than memory and for resuming. It is
            read again as long as scans, files and settings are the same, else written anew.
        unique: Whether records of one image are left out; else each has a notice.
        progress: Whether to draw a progress bar.

    Raises:
        ValueError: For settings that do not fit together, or a record without a split.

    Example:
        >>> import tempfile
        >>> shape, affine = nifti.grid(16)
        >>> scan = np.arange(1200).reshape(shape) % 256
        >>> path = nifti.write(tempfile.mkdtemp() + "/a.nii", scan.astype(np.uint8), affine)
        >>> one = records.Record(
        ...     row=2, subject="a", session="", centre="A", label=1, split="train", path=str(path)
        ... )
        >>> cohort, problems = load([one], Reading(spacing=16), progress=False)
        >>> cohort.images.shape, cohort.centres, problems
        ((1, 10, 12, 10), ('A',), ())
    """
    intensity.validate(how.intensity, how.percentiles, how.dtype)
    grid, affine = nifti.grid(how.spacing)
    planes = _planes(how.slices, grid, affine)
    scans = in_order(scans)

    def image(path):
        if not path:
            return 0, nifti.Scan(np.empty(0), 0.0, 1.0, "", ())
        scan = nifti.load(path, grid, affine, align=how.align)
        volume = intensity.scale(scan.volume, how.intensity, how.percentiles, scan.background)
        volume = volume if planes is None else volume[:, :, planes]
        return intensity.store(volume, how.dtype), scan

    def filled(images):
        done = _fill(images, scans, image, progress)
        return images[: _close_up(images, _left_out(scans, done, unique))], done

    sides = grid if planes is None else (*grid[:2], len(planes))
    shape, dtype = (len(scans), *sides), intensity.DTYPES[how.dtype]
    if store is None:
        images, done = filled(np.empty(shape, dtype))
    else:
        mark = _fingerprint(scans, (FORMAT, how, planes, unique))
        images, done = _stored(pathlib.Path(store), mark, shape, dtype, filled)
        images = images[: len(scans) - len(_left_out(scans, done, unique))]
    failures = _left_out(scans, done, unique)
    good = [i for i in range(len(scans)) if i not in failures]
    notices = {i: list(what) for i, what in done.notices.items()}
    for i, what in ({} if unique else _repeated(scans, done)).items():
        notices.setdefault(i, []).append(what)
    cohort = Cohort(
        tuple(scans[i] for i in good),
        images,
        tuple(sorted({scans[i].centre for i in good})),
        tuple(done.digests[i] for i in good),
        tuple(_problem(scans[i], what) for i in good for what in notices.get(i, ())),
    )
    return cohort, tuple(_problem(scans[i], what) for i, what in sorted(failures.items()))


def in_order(scans):
    """Returns the records as a cohort holds them: by split, centre, subject and session.

    Raises:
        ValueError: For a record without a split.
    """
    for r in scans:
        if r.split not in records.SPLITS:
            raise ValueError(
                f"row {r.row}, subject {r.subject}: split {r.split!r}; expected one of "
                f"{', '.join(records.SPLITS)}, run splits.assign first"
            )
    key = lambda r: (records.SPLITS.index(r.split), r.centre, r.subject, r.session)  # noqa: E731
    return tuple(sorted(scans, key=key))


def samples(cohort, split):
    """Returns the `types.Samples` of one split as NumPy arrays; the images are a view.

    Args:
        cohort: A Cohort.
        split: 'train', 'verification' or 'test'.
    """
    plugins.one_of("split", split, records.SPLITS)
    at = [i for i, r in enumerate(cohort.records) if r.split == split]
    first, end = (at[0], at[-1] + 1) if at else (0, 0)
    chosen = cohort.records[first:end]
    centre = {name: i for i, name in enumerate(cohort.centres)}
    return types.Samples(
        image=cohort.images[first:end],
        label=np.array([r.label for r in chosen], np.int32),
        centre=np.array([centre[r.centre] for r in chosen], np.int32),
        identity=np.array([records.identity(r) for r in chosen], np.uint32),
    )


def _planes(slices, shape, affine):
    """Returns the z indices nearest to axial positions in mm, or None for whole volumes."""
    if not len(slices):
        return None
    planes = tuple(int(np.floor((mm - affine[2, 3]) / affine[2, 2] + 0.5)) for mm in slices)
    for mm, plane in zip(slices, planes, strict=True):
        if not 0 <= plane < shape[2]:
            low, high = nifti.CORNER_MM[2], nifti.CORNER_MM[2] + nifti.BOX_MM[2]
            raise ValueError(f"slices: z = {mm} mm lies outside the box, {low:g} to {high:g} mm")
    return planes


def _problem(scan, what):
    return records.Problem(scan.row, scan.subject, scan.path, what)


def _left_out(scans, done, unique):
    """Returns {index: why} of the scans that failed, and of those that share an image."""
    repeated = _repeated(scans, done) if unique else {}
    found = {i: (done.failures.get(i), repeated.get(i)) for i in {*done.failures, *repeated}}
    return {i: "; ".join(filter(None, both)) for i, both in found.items()}


def _repeated(scans, done):
    """Returns {index: whose image it is too} of the scans that share one."""
    repeated: dict[int, str] = {}
    same: dict[str, list[int]] = {}
    for i, digest in sorted(done.digests.items()):
        if digest:
            same.setdefault(nifti.image_digest(digest), []).append(i)
    for group in same.values():
        for i in group if len(group) > 1 else ():
            others = [_named(scans[k]) for k in group if k != i]
            if len(others) > 3:
                others[3:] = [f"{len(others) - 3} more"]
            what = f"the same image as {', '.join(others)}, so nobody can say whose it is: "
            what += "correct the paths, or remove the rows that are wrong"
            repeated[i] = what
    return repeated


def _named(scan):
    session = f", session {scan.session}" if scan.session else ""
    return f"row {scan.row} (subject {scan.subject}{session}, centre {scan.centre})"


def _stored(store, mark, shape, dtype, filled):
    """Returns (images [R, *S] of a store, what else reading gave), read anew by `filled` if due."""
    note = store.with_name(store.name + ".json")
    done = _known(note, mark, math.prod(shape) * dtype.itemsize)
    if done is None:
        store.parent.mkdir(parents=True, exist_ok=True)
        note.unlink(missing_ok=True)
        images = _map(store, dtype, shape, "w+")
        good, done = filled(images)
        if len(good):
            images.flush()
        # The note comes last: a store without one was interrupted and is written anew.
        workdirs.write(note, json.dumps({"fingerprint": mark, **done._asdict()}, indent=1))
    return _map(store, dtype, shape, "r"), done


def _fill(images, scans, image, progress):
    """Writes every image in place, in threads; returns what else reading gave."""
    done = _Read({}, {}, {})

    def fill(i):
        try:
            images[i], scan = image(scans[i].path)
        except Exception as error:
            # One bad scan must not end the others, whatever is wrong with it.
            known = isinstance(error, ValueError)
            done.failures[i] = str(error) if known else f"{type(error).__name__}: {error}"
            with contextlib.suppress(ValueError):
                done.digests[i] = nifti.digest(scans[i].path)
            return
        done.digests[i] = scan.digest
        if scan.notices:
            done.notices[i] = list(scan.notices)

    with futures.ThreadPoolExecutor(NUM_THREADS) as pool:
        jobs = [pool.submit(fill, i) for i in range(len(scans))]
        try:
            for job in tqdm.tqdm(
                futures.as_completed(jobs),
                "reading scans",
                len(jobs),
                unit="scan",
                disable=not progress,
            ):
                job.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return done


def _close_up(images, failures):
    """Moves the good images over the gaps of the failed ones; returns how many there are."""
    end = 0
    for i in range(len(images)):
        if i not in failures:
            if end < i:
                images[end] = images[i]
            end += 1
    return end


def _map(store, dtype, shape, mode):
    if not shape[0]:
        return np.empty(shape, dtype)
    if mode == "w+" and hasattr(os, "posix_fallocate"):
        # A full disk found while writing to a memory map ends the process without a word; so does
        # a file that is emptied while another process maps it.
        store.unlink(missing_ok=True)
        with open(store, "wb") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, math.prod(shape) * dtype.itemsize)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(store)) from None
        mode = "r+"
    return np.memmap(store, dtype, mode, shape=shape)


def _fingerprint(scans, settings):
    digest = hashlib.sha256(repr(settings).encode())
    for r in scans:
        digest.update(r.path.encode(errors="surrogateescape"))
        for file in nifti.files(r.path):
            size = when = -1
            with contextlib.suppress(OSError, ValueError):
                stat = os.stat(file)
                size, when = stat.st_size, stat.st_mtime_ns
            digest.update(repr((size, when)).encode())
    return digest.hexdigest()


def _known(note, mark, size):
    """Returns the `_Read` noted beside a whole store with this fingerprint, or None."""
    try:
        content = json.loads(note.read_text())
        # copied to a full disk, a store is shorter than its note says
        is_whole = not size or note.with_suffix("").stat().st_size == size
        if content["fingerprint"] == mark and is_whole:
            return _Read(*({int(i): x for i, x in content[f].items()} for f in _Read._fields))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return None
