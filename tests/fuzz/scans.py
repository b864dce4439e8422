"""NIfTI headers and gzip streams, mutated: read as the oracle reads them, or refused by name.

Every input goes through `ingest.load` as a record of its own, so that a refusal is a problem that
names the file.
"""

import gzip
import io
import itertools
import math
import re

import numpy as np

from harmjax.data import ingest, records
from harmjax.data.scans import nifti
from tests.fuzz import forge, oracle
from tests.fuzz.outcome import Outcome

SPACING = 16
SHAPE, GRID = nifti.grid(SPACING)
# Words of which a refusal has one: a field, the file's state, or what the box would show.
DEFECT = re.compile(
    r"\bdim\b|datatype|pixdim|vox_offset|scl_(slope|inter)|xyzt_units|[sq]form|srow|quatern|qoffset|magic"
    r"|sizeof_hdr|Analyze|truncated|damaged|is empty|compressed|archive|NaN or infinite"
    r"|every voxel|model's box|filled with zeros|text, not|not a readable NIfTI|web page|DICOM"
)
UNNAMED = re.compile(r"\w+(Error|Exception)\b")
GEOMETRY = ("pixdim", "quatern", "qoffset", "srow")
NUMBERS = (0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 1000.0, 1e-3, 1e-9, 1e9, 3e38, math.inf, -math.inf)
WHOLE = (0, 1, -1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 16, 40, 64, 128, 255, 511, 512, 1280, 2304)
BASES = {
    "bytes": dict(dtype="u1", axes="LAS", sform=4, qform=4, voxel=(16, 16, 16), packed=True),
    "CT": dict(dtype="i2", axes="RAS", sform=2, voxel=(8, 10, 9), order=">", slope=0.5, air=-1000),
    "microns": dict(
        **dict(dtype="f4", axes="PIR", qform=1, voxel=(12, 12, 14), packed=True, version=2),
        **dict(unit=3, per_mm=1000.0),
    ),
    "pair": dict(
        **dict(dtype="u2", axes="ASL", sform=1, qform=1, voxel=(15, 14, 9), packed=True),
        **dict(unit=1, per_mm=0.001, pair=True),
    ),
    "large": dict(
        **dict(dtype="f8", axes="RSP", sform=3, voxel=(16, 16, 16), order=">", version=2),
        **dict(pair=True, unit=0),
    ),
}


def head(shape, air=0):
    """Returns float64 [A, B, C]: an off-centre ellipsoid with a gradient, in air."""
    place = np.meshgrid(*[np.linspace(-1, 1, side) for side in shape], indexing="ij")
    x, y, z = place
    inside = (x - 0.1) ** 2 / 0.6 + y**2 / 0.7 + (z + 0.1) ** 2 / 0.5 < 1
    return np.where(inside, np.rint(100 + 60 * x + 30 * y - 20 * z), air)


def base(name):
    """Returns (fields, stored voxels, byte order, version, packed, ending) of a sound scan."""
    spec = {"order": "<", "version": 1, "packed": False, "pair": False, "slope": 1.0, "air": 0}
    spec |= {"sform": 0, "qform": 0, "unit": 2, "per_mm": 1.0} | BASES[name]
    voxel = np.array(spec["voxel"], float)
    axis = [next(k for k, ends in enumerate(("LR", "PA", "IS")) if a in ends) for a in spec["axes"]]
    sign = np.array([1 if a in "RAS" else -1 for a in spec["axes"]])
    shape = [round(nifti.BOX_MM[a] / v) for a, v in zip(axis, voxel, strict=True)]
    affine = np.eye(4)
    affine[:3, :3] = 0
    affine[axis, range(3)] = sign * voxel
    middle = np.add(nifti.CORNER_MM, np.divide(nifti.BOX_MM, 2))
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    if name == "CT":
        turn = np.deg2rad(10)
        affine[:2] = [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]] @ (
            affine[:2]
        )
    values = (head(shape, spec["air"]) - spec["air"]) / spec["slope"]
    voxels = values.astype(spec["dtype"])
    keys = ("version", "pair", "sform", "qform", "unit", "per_mm")
    field = forge.fields(voxels, affine, **{k: spec[k] for k in keys})
    field |= {"scl_slope": spec["slope"], "scl_inter": float(spec["air"])}
    ending = (".img" if spec["pair"] else ".nii") + ".gz" * spec["packed"]
    return field, voxels, spec["order"], spec["version"], spec["packed"], ending


def outcomes(num, seed, folder):
    """Yields `num` `Outcome`s, every kind of mutation in turn on every base in turn.

    Args:
        num: how many inputs.
        seed: of the mutations; input i of a seed is the same whatever `num` is.
        folder: where the files are written, a `pathlib.Path`.
    """
    for i, (kind, name) in zip(range(num), _turns(), strict=False):
        rng = np.random.default_rng((seed, i))
        place = folder / f"{i}"
        place.mkdir(parents=True)
        path, told, sound = MUTATIONS[kind](rng, name, place)
        verdict, what = judged(path, sound, kind, told)
        yield Outcome(f"scan: {kind}", verdict, f"seed {seed}, input {i}, {name}, {told}: {what}")


def judged(path, sound, kind="", told=""):
    """Returns (verdict, why) of one file.

    Args:
        path: as a manifest would list it.
        sound: whether nothing that counts was mutated, so that a refusal is wrong.
        kind: of the mutation.
        told: the mutation in words, a field's name first.
    """
    scan = records.Record(
        row=2, subject="s", session="", centre="A", label=0, split="train", path=str(path)
    )
    try:
        how = ingest.Reading(spacing=SPACING, dtype="float32")
        cohort, problems = ingest.load([scan], how, progress=False)
    except Exception as error:
        return "crashed", f"{type(error).__name__}: {error}"
    if problems:
        return _refusal(problems, path, sound, kind, told)
    try:
        wanted, share = oracle.volume(*oracle.decoded(*contents(path)), SHAPE, GRID)
    except oracle.Refusal as refusal:
        return "wrong", f"accepted, but {refusal}"
    spread = wanted.max() - wanted.min()
    off = np.abs(cohort.images[0] - wanted).max()
    # Quaternions of float32 turn a scan by up to .1 degrees.
    if not off <= 5e-3 * spread or share[1] < nifti.LEAST_INSIDE:
        return "wrong", f"accepted, {off:g} off in {spread:g}, {share[1]:.0%} inside"
    if nifti.digest(path) != cohort.digests[0]:
        return "wrong", "two digests"
    return "accepted", ""


def _refusal(problems, path, sound, kind, told):
    (problem,) = problems
    if problem.place != str(path) or UNNAMED.search(problem.what):
        return "wrong", f"refused without name or reason: {problem}"
    if sound:
        return "wrong", f"refused, but nothing is wrong: {problem.what}"
    field = told.split()[0] if kind == "field" else ""
    named = DEFECT
    if field and field not in GEOMETRY:
        named = re.compile(rf"\b{field}\b|every voxel|Analyze")
    if not named.search(problem.what):
        return "wrong", f"refused for another reason: {problem.what}"
    return "refused", problem.what


def contents(path):
    """Returns the decompressed content of a scan's one or two files, the header's first."""
    files = [path]
    if ".img" in path.name:
        files = [path.with_name(path.name.replace(".img", ".hdr")), path]
    found = []
    for file in files:
        content = file.read_bytes()
        if content[:2] == b"\x1f\x8b":
            try:
                content = gzip.decompress(content)
            except Exception as error:
                raise oracle.Refusal(f"gzip: {error}") from None
        found.append(content)
    return found


def _turns():
    for turn in itertools.count():
        for k, kind in enumerate(("field", *MUTATIONS)):
            yield kind, list(BASES)[(turn + k) % len(BASES)]


def _written(field, voxels, order, version, packed, ending, place):
    path = place / f"scan{ending}"
    body = forge.stored(voxels, order)
    return forge.write(path, forge.header(field, order=order, version=version), body, packed=packed)


def _field(rng, name, place):
    field, *rest = base(name)
    names = [key for key in field if key not in forge.INERT]
    key = names[rng.integers(len(names))]
    form = forge.FIELDS[rest[2] - 1][key][0]
    values = list(field[key]) if isinstance(field[key], tuple) else [field[key]]
    k = rng.integers(len(values))
    if form[-1] == "s":
        content = bytearray(values[0])
        content[rng.integers(len(content))] = rng.integers(256)
        values[0] = bytes(content) if rng.random() < 0.7 else bytes(len(content))
    elif form[-1] in "fd":
        mended = (values[k] * rng.choice([-1, 1.1, 0.9, 1.2, 3, 1e-3, 1e3]), rng.choice(NUMBERS))
        values[k] = float([*mended, math.nan][rng.choice(3, p=(0.5, 0.4, 0.1))])
    elif form == "B":
        values[k] = int(rng.integers(256))
    else:
        edge = int(rng.choice([-32768, 32767, *WHOLE]))
        values[k] = edge if rng.random() < 0.7 else values[k] + int(rng.choice([-1, 1]))
    changed = tuple(values) if len(values) > 1 else values[0]
    same = repr(changed) == repr(field[key])
    field[key] = changed
    path = _written(field, *rest, place)
    return path, f"{key} [{k}] = {values[k]!r}", same


def _inert(rng, name, place):
    field, *rest = base(name)
    key = forge.INERT[rng.integers(len(forge.INERT))]
    form = forge.FIELDS[rest[2] - 1][key][0]
    if form[-1] == "s":
        field[key] = rng.bytes(int(form[:-1]))
    else:
        field[key] = float(rng.choice(NUMBERS)) if form in "fd" else int(rng.choice(WHOLE))
    return _written(field, *rest, place), f"{key} = {field[key]!r}", True


def _header_bits(rng, name, place):
    field, voxels, order, version, packed, ending = base(name)
    content = bytearray(forge.header(field, order=order, version=version))
    at = rng.integers(len(content), size=rng.choice([1, 1, 2, 8]))
    for k in at:
        content[k] ^= 1 << rng.integers(8)
    body = forge.stored(voxels, order)
    path = forge.write(place / f"scan{ending}", bytes(content), body, packed=packed)
    return path, f"bytes {at.tolist()}", False


def _voxel_bits(rng, name, place):
    field, voxels, order, version, _, ending = base(name)
    body = bytearray(forge.stored(voxels, order))
    at = rng.integers(len(body), size=3)
    for k in at:
        body[k] ^= 1 << rng.integers(8)
    content = forge.header(field, order=order, version=version)
    path = forge.write(place / f"scan{ending.removesuffix('.gz')}", content, bytes(body))
    return path, f"bytes {at.tolist()}", False


def _length(rng, name, place):
    path = _written(*base(name), place)
    content = path.read_bytes()
    if rng.random() < 0.6:
        content = content[: rng.integers(len(content))]
    else:
        content += rng.choice([b"\0", b"x", b"\0" * 600, b"<html>"]) * int(rng.integers(1, 4))
    path.write_bytes(content)
    return path, f"{len(content)} bytes", False


def _stream_bits(rng, name, place):
    *parts, _, ending = base(name)
    path = _written(*parts, True, ending.removesuffix(".gz") + ".gz", place)
    content = bytearray(path.read_bytes())
    first = rng.random() < 0.3  # the stream's own header of ten bytes, else anywhere
    at = rng.integers(10 if first else len(content), size=rng.choice([1, 1, 3]))
    for k in at:
        content[k] ^= 1 << rng.integers(8)
    path.write_bytes(bytes(content))
    return path, f"bytes {at.tolist()}", set(at.tolist()) <= {4, 5, 6, 7, 8, 9}


def _stream_form(rng, name, place):
    *parts, _, ending = base(name)
    path = _written(*parts, False, ending.removesuffix(".gz"), place)
    content = path.read_bytes()
    cut = int(rng.integers(1, len(content)))
    named = io.BytesIO()
    with gzip.GzipFile("a name.nii", "wb", int(rng.integers(10)), named) as file:
        file.write(content)
    forms = {
        "another level, with a name": (named.getvalue(), True),
        "two members": (gzip.compress(content[:cut]) + gzip.compress(content[cut:]), True),
        "an empty member": (gzip.compress(b"") + gzip.compress(content), True),
        "zeros behind": (gzip.compress(content) + bytes(int(rng.integers(1, 99))), True),
        "not compressed": (content, True),
        "garbage behind": (gzip.compress(content) + rng.bytes(9), False),
        "another member behind": (gzip.compress(content) * 2, False),
        "compressed twice": (gzip.compress(gzip.compress(content)), False),
        "no checksum": (gzip.compress(content)[:-8], False),
        "stored, damaged": (gzip.compress(content, 0).replace(b"\x64", b"\x65", 1), False),
    }
    form = list(forms)[rng.integers(len(forms))]
    path.write_bytes(forms[form][0])
    return path, form, forms[form][1]


def _garbage(rng, name, place):
    path = place / str(rng.choice(["scan.nii", "scan.nii.gz", "scan.img"]))
    content = rng.bytes(int(rng.choice([0, 1, 3, 347, 348, 600, 5000])))
    if rng.random() < 0.5:
        field, _, order, version, *_ = base(name)
        content = forge.header(field, order=order, version=version) + content
    if rng.random() < 0.3:
        content = gzip.compress(content)
    path.write_bytes(content)
    path.with_suffix(".hdr").write_bytes(content[:352])
    return path, f"{len(content)} bytes", False


MUTATIONS = {
    "field": _field,
    "inert field": _inert,
    "header's bits": _header_bits,
    "voxels' bits": _voxel_bits,
    "length": _length,
    "stream's bits": _stream_bits,
    "stream's form": _stream_form,
    "garbage": _garbage,
}
