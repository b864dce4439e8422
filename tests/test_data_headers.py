"""Units, sides, scaling and sizes as headers say them: the right volume, or a refusal by field.

Headers are forged field by field, and what they mean comes from the arrays that they were forged
for (tests/fuzz/oracle.py), not from the reader.
"""

import math
import re

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmjax.data.scans import nifti
from tests.fuzz import forge, oracle, scans

SHAPE, GRID = nifti.grid(16)
VOXELS = scans.head(SHAPE).astype(np.uint8)
TILTED = GRID @ [[1, 0, 0, 0], [0, 1, np.tan(np.deg2rad(20)), 0], [0, 0, 1, 0], [0, 0, 0, 1]]
MIRROR = np.diag([-1.0, 1, 1, 1])


def written(folder, *, voxels=VOXELS, affine=GRID, order="<", name="a.nii", version=1, **changes):
    """Returns the path of a scan; `changes` are arguments of `forge.fields`, or fields."""
    layout = {"sform", "qform", "unit", "per_mm"}
    chosen = {key: changes.pop(key) for key in layout & set(changes)}
    field = forge.fields(voxels, affine, version=version, pair=".img" in name, **chosen)
    for key, value in changes.items():
        if isinstance(value, dict):  # {position: number}
            value = tuple(value.get(k, old) for k, old in enumerate(field[key]))
        field[key] = value
    head = forge.header(field, order=order, version=version)
    packed = name.endswith(".gz")
    return forge.write(folder / name, head, forge.stored(voxels, order), packed=packed)


def loaded(path, align="world"):
    return nifti.load(path, SHAPE, GRID, align=align)


# Degrees. A half-turn's quaternion in float32 does not know less than this, see `HALF_TURN`.
TURNS = st.just(0.0) | st.floats(0.25, 20) | st.floats(-20, -0.25)


@st.composite
def worlds(draw):
    """A stored array, where it lies in mm, and the header's ways of saying both."""
    sides = st.floats(8, 19)
    voxel = np.array([draw(sides) for _ in range(3)])
    axes = draw(st.permutations(range(3)))
    signs = np.array(draw(st.tuples(*[st.sampled_from((-1, 1))] * 3)))
    shape = [math.ceil(nifti.BOX_MM[a] / v) for a, v in zip(axes, voxel, strict=True)]
    affine = np.eye(4)
    affine[:3, :3] = 0
    affine[axes, range(3)] = signs * voxel
    if draw(st.booleans()):
        for plane in ((0, 1), (1, 2)):
            angle = np.deg2rad(draw(TURNS))
            turn = np.eye(4)
            turn[np.ix_(plane, plane)] = [
                [np.cos(angle), -np.sin(angle)],
                [np.sin(angle), np.cos(angle)],
            ]
            affine = turn @ affine
    middle = np.add(nifti.CORNER_MM, np.divide(nifti.BOX_MM, 2))
    middle = middle + [draw(st.floats(-12, 12)) for _ in range(3)]
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    unit, per_mm = draw(st.sampled_from([(0, 1), (2, 1), (1, 0.001), (3, 1000)]))
    forms = [(1, 0), (0, 1), (4, 1), (2, 2), (0, 5), (3, 4)]
    sform, qform = draw(st.sampled_from(forms))
    slope, inter = draw(
        st.sampled_from([(1, 0), (0, 7), (math.nan, math.nan), (0.5, -1000), (-2, 300)])
    )
    return {
        "voxels": scans.head(shape).astype(draw(st.sampled_from(list(forge.CODES)))),
        "affine": affine,
        "order": draw(st.sampled_from("<>")),
        "version": draw(st.sampled_from((1, 2))),
        "name": draw(st.sampled_from(["a.nii", "a.nii.gz", "a.img", "a.img.gz"])),
        **{"unit": unit, "per_mm": per_mm, "sform": sform, "qform": qform},
        **{"scl_slope": float(slope), "scl_inter": float(inter)},
    }


@settings(max_examples=60, deadline=None)
@given(world=worlds())
def test_every_way_of_saying_it_gives_the_volume_that_is_meant(tmp_path_factory, world):
    path = written(tmp_path_factory.mktemp("world"), **world)
    values, slope = world["voxels"].astype(np.float64), world["scl_slope"]
    if slope and not math.isnan(slope):
        values = values * slope + world["scl_inter"]
    wanted, share = oracle.volume(values, world["affine"], SHAPE, GRID)
    found = loaded(path)
    np.testing.assert_allclose(found.volume, wanted, atol=1e-3 * np.ptp(values))
    assert found.background == values[0, 0, 0]
    assert share[0] <= found.inside <= share[1]
    assert nifti.digest(path) == found.digest


def test_nibabel_reads_what_is_forged(tmp_path):
    """The forger itself, against another reader: so that the tests here do not share its errors."""
    for name in scans.BASES:
        field, voxels, order, version, packed, ending = scans.base(name)
        path = tmp_path / f"{name}{ending}"
        head = forge.header(field, order=order, version=version)
        forge.write(path, head, forge.stored(voxels, order), packed=packed)
        image = nib.load(path)
        found, affine = oracle.decoded(*scans.contents(path))
        np.testing.assert_allclose(np.asarray(image.dataobj), found)
        mm = {"mm": 1, "unknown": 1, "meter": 1000, "micron": 0.001}
        per_unit = np.diag([mm[image.header.get_xyzt_units()[0]]] * 3 + [1])
        np.testing.assert_allclose(per_unit @ image.affine, affine, atol=1e-3)


@pytest.mark.parametrize("align", nifti.ALIGNMENTS)
@pytest.mark.parametrize("unit,per_mm", [(1, 0.001), (3, 1000), (0, 1)])
@pytest.mark.parametrize("forms", [dict(sform=4, qform=4), dict(sform=0, qform=1)])
def test_lengths_are_converted_to_millimetres(tmp_path, align, unit, per_mm, forms):
    path = written(tmp_path, unit=unit, per_mm=per_mm, **forms)
    np.testing.assert_allclose(loaded(path, align).volume, VOXELS, atol=0.1)


CODES = {"sform_code": 0, "qform_code": 0}
REFUSED = {  # what a header says, and the words of the refusal
    "the unit is no length": (dict(xyzt_units=5), "xyzt_units: 5 is no unit of length"),
    "mm called metres": (dict(unit=1), r"voxels of 1.6e\+04 .*srow or xyzt_units \(metres\)"),
    "mm called microns": (dict(unit=3), r"voxels of 0.016 .* mm, .*xyzt_units \(microns\)"),
    "metres called mm": (dict(per_mm=1e-3), r"voxels of 0.016 .*xyzt_units \(mm\)"),
    "cm of no unit": (dict(per_mm=0.1, unit=0), r"field of view of 16 x .*xyzt_units \(unknown\)"),
    "microns in the qform": (
        dict(per_mm=1000, sform=0, qform=1),
        r"voxels of 1.6e\+04 .* pixdim or xyzt_units \(mm\)",
    ),
    "no code": (dict(sform=0), "sform_code and qform_code are 0, so left and right"),
    "codes taken away": (dict(qform=1, **CODES), "sform_code and qform_code are 0"),
    "an unknown sform": (dict(sform_code=7), "sform_code is 7, expected 0 to 5"),
    "an unknown qform": (dict(qform_code=-1), "qform_code is -1, expected 0 to 5"),
    "mirrored": (dict(qform=1, pixdim={0: -1.0}), r"sform \(srow\) and qform .* mirror each"),
    "no side": (dict(sform=0, qform=1, pixdim={0: 7.0}), r"pixdim\[0\] is 7, expected 1 or -1"),
    "moved": (
        dict(qform=1, qoffset=(-60.0, -104.0, -64.0)),
        r"sform_code and qform_code are both 1 \(scanner\), but they lie 12 mm apart",
    ),
    "no rotation": (dict(sform=0, qform=1, quatern=(0.9, 0.9, 0.0)), "quatern_b, c, d are 0.9 x"),
    "a negative voxel": (dict(pixdim={2: -16.0}), "pixdim: voxel sizes 16 x -16 x 16, expected"),
    "no voxel size": (dict(pixdim={3: math.nan}), "pixdim: voxel sizes 16 x 16 x nan"),
    "two voxel sizes": (dict(pixdim={1: 8.0}), "pixdim says voxels of 8 x 16 x 16 mm, srow of 16"),
    "a flat affine": (dict(srow=(16.0, 0, 0, 0) * 3), "srow: the affine is singular"),
    "out of the room": (dict(srow={3: 3e7}), "srow puts the first voxel at 3e"),
    "slope infinite": (dict(scl_slope=math.inf), "scl_slope inf with scl_inter 0"),
    "inter missing": (dict(scl_inter=math.nan), "scl_slope 1 with scl_inter nan"),
    "slope missing": (
        dict(scl_slope=math.nan, scl_inter=-1000.0),
        "scl_slope nan with scl_inter -1000",
    ),
    "overflow": (dict(scl_slope=3e38), "NaN or infinite, stored or after scl_slope"),
    "no contrast left": (dict(scl_inter=1e9), "too far from 0 .*correct scl_inter"),
    "datatype of nobody": (dict(datatype=26996), r"datatype is 26996 \(not of NIfTI\)"),
    "complex": (dict(datatype=32), r"datatype is 32 \(complex64\)"),
    "colour": (dict(datatype=2304), r"datatype is 2304 \(RGBA\)"),
    "a wider datatype": (dict(datatype=4), "dim, datatype or vox_offset is wrong: they ask for"),
    "a narrower array": (dict(dim={1: 9}), "goes on after the 1,432 bytes that dim, datatype"),
    "a negative side": (dict(dim={1: -49}), r"dim: shape \(-49, 12, 10\), expected positive"),
    "huge": (dict(dim={1: 32767, 2: 32767, 3: 32767}), "dim: shape .* more than 1,073,741,824 v"),
    "larger than the file": (
        dict(dim={1: 60}),
        r"dim, datatype or vox_offset .* ask for 7,552 bytes of a file of 1,552",
    ),
    "no axes": (dict(dim={0: 0}), r"dim\[0\] is 0, expected 3 axes"),
    "eight axes": (dict(dim={0: 8}), r"dim\[0\] is 8, expected 3 axes"),
    "a plane": (dict(dim={0: 2}), r"dim: shape \(10, 12\), expected one 3-D volume"),
    "Analyze": (dict(magic=b"\0\0\0\0"), "Analyze 7.5 .*left and right are unknown"),
    "half a pair": (dict(magic=b"ni1\0"), "magic 'ni1' says the voxels lie in a pair"),
    "another magic": (dict(magic=b"n+7\0"), r"magic is b'n\+7\\x00': not NIfTI"),
    "another size": (dict(sizeof_hdr=349), "sizeof_hdr is 349, expected 348 or 540"),
    "voxels in the header": (dict(vox_offset=348.0), "vox_offset is 348, expected a whole"),
    "half a byte": (dict(vox_offset=352.5), "vox_offset is 352.5, expected a whole"),
    "no offset": (dict(vox_offset=math.nan), "vox_offset is nan, expected a whole"),
}


@pytest.mark.parametrize("align", nifti.ALIGNMENTS)
@pytest.mark.parametrize("case", REFUSED)
def test_what_a_header_leaves_open_is_refused_by_field(tmp_path, case, align):
    changes, words = REFUSED[case]
    if case == "moved" and align == "centre":
        return
    path = written(tmp_path, **changes)
    with pytest.raises(ValueError, match=words):
        loaded(path, align)


READ = {  # what a header says that looks odd and is not
    "a slope of 0 is none": dict(scl_slope=0.0, scl_inter=5.0),
    "NaN is none": dict(scl_slope=math.nan, scl_inter=math.nan),
    "bits for time beside the unit": dict(xyzt_units=2 | 8),
    "axes of one": dict(dim={0: 7}),
    "what lies beyond dim[0]": dict(dim={4: -3, 5: 99}),
    "bitpix repeats datatype": dict(bitpix=0),
    "a sheared quaternion is not used": dict(sform=2, qform=0, quatern=(9.0, 9.0, 9.0)),
    "a moved qform of another space": dict(sform=4, qform=1, qoffset=(9.0, 9.0, 9.0)),
}


@pytest.mark.parametrize("case", READ)
def test_what_the_standard_allows_is_read(tmp_path, case):
    found = loaded(written(tmp_path, **READ[case]))
    np.testing.assert_array_equal(found.volume, VOXELS)
    assert found.notices == ()


@pytest.mark.parametrize(
    "changes,words",
    [
        (dict(pixdim={1: 15.0}), "pixdim says voxels of 15 x 16 x 16 mm, srow of 16 x 16 x 16 mm"),
        (
            dict(sform=1, qform=4, qoffset=(-60.0, -104.0, -64.0)),
            r"the sform \(scanner\) is used, 12 mm from the qform \(MNI\)",
        ),
        (dict(qform=1, affine=TILTED), "srow has a shear of 39 mm, which the qform cannot hold"),
        (dict(sform=0, qform=1, pixdim={0: 0.0}), r"pixdim\[0\] is 0, which the standard reads as"),
    ],
)
def test_what_differs_without_harm_is_told(tmp_path, changes, words):
    found = loaded(written(tmp_path, **changes))
    if "affine" not in changes:
        np.testing.assert_array_equal(found.volume, VOXELS)
    notice, *others = found.notices
    assert re.match(words, notice)
    assert all("of the model's box" in other for other in others)


def test_where_the_qform_lies_is_no_matter_to_the_centre(tmp_path):
    path = written(tmp_path, **REFUSED["moved"][0])
    np.testing.assert_array_equal(loaded(path, "centre").volume, VOXELS)


@pytest.mark.parametrize("name", ["a.hdr", "a.img", "a.hdr.gz", "a.img.gz"])
def test_either_file_of_a_pair_may_be_listed(tmp_path, name):
    written(tmp_path, name=name.replace("hdr", "img"))
    path = tmp_path / name
    np.testing.assert_array_equal(loaded(path).volume, VOXELS)
    assert {f.name.split(".")[1] for f in nifti.files(path)} == {"hdr", "img"}


def test_the_other_half_of_a_pair_is_named(tmp_path):
    path = written(tmp_path, name="a.img.gz")
    other = tmp_path / "a.hdr.gz"
    other.write_bytes(other.read_bytes()[:-12])
    with pytest.raises(ValueError, match="a.hdr.gz: the gzip stream is truncated"):
        loaded(path)
    other.rename(tmp_path / "b.hdr.gz")
    with pytest.raises(ValueError, match="one half of a pair: its header, a.hdr, is missing"):
        loaded(path)
    for twin in ("a.hdr", "a.hdr.gz"):
        (tmp_path / twin).write_bytes(b"x")
    with pytest.raises(ValueError, match="a.hdr and a.hdr.gz lie side by side"):
        loaded(path)


def test_a_digest_names_the_image_and_its_place(tmp_path):
    def digest(name="a.nii", **changes):
        return nifti.digest(written(tmp_path, name=name, **changes))

    one = digest()
    assert one == digest("b.nii.gz") == digest("c.img.gz") == digest(descrip=b"another")
    assert one == digest(version=2, order=">", unit=3, per_mm=1000)
    turned = VOXELS[::-1]
    place = GRID @ MIRROR
    place[0, 3] += 16 * (len(VOXELS) - 1)
    assert one == digest(voxels=turned, affine=place)
    image = nifti.image_digest(one)
    moved = digest(srow={3: -71.0})
    assert moved != one and nifti.image_digest(moved) == image
    assert nifti.image_digest(digest(voxels=turned)) != image
    assert nifti.image_digest(digest(scl_slope=2.0)) != image
    other = VOXELS.copy()
    other[5, 5, 5] += 1
    assert nifti.image_digest(digest(voxels=other)) != image
    assert nifti.load(tmp_path / "b.nii.gz", *nifti.grid(8)).digest == one


def part_of_box(sides, voxel=8.0):
    """Returns (voxels, affine): a ball in air around the box's middle, of so many voxels."""
    affine = np.diag([voxel, voxel, voxel, 1])
    middle = np.add(nifti.CORNER_MM, np.divide(nifti.BOX_MM, 2))
    affine[:3, 3] = middle - voxel * (np.array(sides) - 1) / 2
    voxels = scans.head(np.maximum(sides, 3))
    return voxels[:, :, (voxels.shape[2] - sides[2]) // 2 :][:, :, : sides[2]], affine


@pytest.mark.parametrize(
    "sides,share",
    [((20, 24, 20), 1), ((20, 24, 18), 0.9), ((18, 24, 17), 0.765), ((20, 16, 16), 256 / 480)],
)
def test_a_part_of_the_box_is_told_with_its_share(tmp_path, sides, share):
    voxels, affine = part_of_box(sides)
    found = nifti.load(nifti.write(tmp_path / "a.nii", voxels, affine), *nifti.grid(8))
    assert found.inside == pytest.approx(share)
    told = (f"the field of view covers {share:.0%} of the model's box",) if share < 0.9 else ()
    assert found.notices == told


@pytest.mark.parametrize(
    "sides,share", [((20, 16, 14), "47%"), ((20, 24, 1), "5%"), ((13, 12, 12), "20%")]
)
@pytest.mark.parametrize("align", nifti.ALIGNMENTS)
def test_less_than_half_of_the_box_is_left_out(tmp_path, sides, share, align):
    voxels, affine = part_of_box(sides)
    path = nifti.write(tmp_path / "a.nii", voxels, affine)
    with pytest.raises(ValueError, match=f"covers {share} of the model's box, less than 50%"):
        nifti.load(path, *nifti.grid(8), align=align)


def test_a_scan_without_contrast_in_the_box_is_left_out(tmp_path):
    shape, grid = nifti.grid(8)
    voxels = np.full(shape, 7, np.float32)
    voxels[3:5, 3:5, 3:5] = 200
    path = nifti.write(tmp_path / "a.nii", voxels, grid)
    with pytest.raises(ValueError, match="only 0.08% of the voxels inside .* differ from 7"):
        nifti.load(path, shape, grid)
    big, affine = np.random.default_rng(0).normal(500, 1, (40, 48, 40)), grid.copy()
    big[:8], affine[:3, 3] = 4000, grid[:3, 3] - 80
    path = nifti.write(tmp_path / "b.nii", big, affine)
    with pytest.raises(ValueError, match=r"shows 0.1% of the scan's contrast \(49\d"):
        nifti.load(path, shape, grid, align="centre")
