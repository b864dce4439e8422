"""Reading scans onto the grid: hand-placed voxels, orientations, spacings, and broken files."""

import gzip
import os
import tracemalloc

import ml_dtypes
import nibabel as nib
import numpy as np
import pytest

from harmjax.data.scans import intensity, nifti, resampling

SHAPE, AFFINE = nifti.grid(8)


def head(spacing=8.0):
    """Returns a smooth, asymmetric volume on the grid of one spacing, and its affine."""
    shape, affine = nifti.grid(spacing)
    place = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ affine[:3, :3]
    place = place + affine[:3, 3]
    blob = np.zeros(shape)
    for middle, width, height in (((0, -16, 8), 40, 150), ((30, 20, -10), 20, 60)):
        blob += height * np.exp(-((place - middle) ** 2).sum(-1) / (2 * width**2))
    return blob.astype(np.float32), affine


def index_of(mm, affine):
    return tuple(np.rint(np.linalg.solve(affine, (*mm, 1))[:3]).astype(int))


@pytest.mark.parametrize(
    "spacing,shape", [(1, (160, 192, 160)), (4, (40, 48, 40)), (8, (20, 24, 20))]
)
def test_the_box_keeps_its_edges(spacing, shape):
    found, affine = nifti.grid(spacing)
    assert found == shape
    low = affine @ (-0.5, -0.5, -0.5, 1)
    high = affine @ (*(np.array(shape) - 0.5), 1)
    np.testing.assert_allclose(low[:3], nifti.CORNER_MM)
    np.testing.assert_allclose(high[:3], np.add(nifti.CORNER_MM, nifti.BOX_MM))


@pytest.mark.parametrize("spacing", [0, -1, 100, float("nan")])
def test_an_impossible_spacing_is_named(spacing):
    with pytest.raises(ValueError, match="0.5 to 16 mm"):
        nifti.grid(spacing)


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.int16, np.float32, np.float64, ml_dtypes.bfloat16, bool]
)
def test_write_and_read_agree(tmp_path, dtype):
    volume = np.zeros(SHAPE, dtype)
    volume[3:9, 4:14, 5:9] = 1
    path = nifti.write(tmp_path / "deep" / "a.nii.gz", volume, AFFINE)
    np.testing.assert_array_equal(nifti.load(path, SHAPE, AFFINE).volume, volume.astype(np.float32))
    assert [f.name for f in path.parent.iterdir()] == ["a.nii.gz"]


def test_the_same_scan_gives_the_same_bytes(tmp_path):
    volume = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    first = nifti.write(tmp_path / "a.nii.gz", volume, AFFINE).read_bytes()
    assert first == nifti.write(tmp_path / "b.nii.gz", volume, AFFINE).read_bytes()
    assert first[4:8] == b"\0\0\0\0"


def test_write_refuses_other_names_and_shapes(tmp_path):
    with pytest.raises(ValueError, match="must end in .nii"):
        nifti.write(tmp_path / "a.mgz", np.zeros((2, 2, 2)), AFFINE)
    with pytest.raises(ValueError, match="three axes"):
        nifti.write(tmp_path / "a.nii", np.zeros((2, 2)), AFFINE)


def flip(axes):
    """Returns the orientation transform for axis codes such as 'LAS', applied to a RAS scan."""
    return nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes)
    )


@pytest.mark.parametrize("axes", ["RAS", "LAS", "LPI", "PIR", "SRP", "ASL"])
def test_every_orientation_gives_the_same_volume(tmp_path, axes):
    volume, affine = head()
    turned = nib.Nifti1Image(volume, affine).as_reoriented(flip(axes))
    assert "".join(nib.aff2axcodes(turned.affine)) == axes
    nib.save(turned, tmp_path / "a.nii")
    np.testing.assert_array_equal(nifti.load(tmp_path / "a.nii", SHAPE, AFFINE).volume, volume)


@pytest.mark.parametrize("mm", [(-36, 20, 12), (44, -60, -44)])
def test_a_bright_voxel_lands_at_its_millimetres(tmp_path, mm):
    affine = np.diag([-1.0, 1.0, 2.0, 1.0])
    affine[:3, 3] = 90, -126, -72
    volume = np.zeros((181, 217, 91), np.float32)
    volume[60:120, 60:140, 30:60] = 1
    volume[index_of(mm, affine)] = 1000
    path = nifti.write(tmp_path / "a.nii.gz", volume, affine)
    shape, grid = nifti.grid(4)
    found = nifti.load(path, shape, grid).volume
    place = np.array(np.unravel_index(found.argmax(), shape))
    assert np.abs(grid[:3, :3] @ place + grid[:3, 3] - mm).max() <= 2.01


def test_an_oblique_scan_is_turned_back(tmp_path):
    volume, affine = head(4)
    angle = np.deg2rad(20)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    oblique = turn @ affine
    found = resampling.resample(volume, affine, volume.shape, oblique)
    path = nifti.write(tmp_path / "a.nii.gz", found, oblique)
    back = nifti.load(path, volume.shape, affine).volume
    inner = (slice(10, -10),) * 3
    assert np.abs(back - volume)[inner].max() < 3
    assert np.abs(found - volume)[inner].max() > 20


@pytest.mark.parametrize("voxel", [(1, 1, 5), (4, 2, 2), (2, 2, 2), (3, 3, 3)])
def test_anisotropic_scans_show_the_same_head(tmp_path, voxel):
    shape = tuple(int(side / v) for side, v in zip(nifti.BOX_MM, voxel, strict=True))
    affine = np.diag([*map(float, voxel), 1.0])
    affine[:3, 3] = np.array(nifti.CORNER_MM) + np.array(voxel) / 2
    fine, grid = head(2)
    path = nifti.write(
        tmp_path / "a.nii.gz", resampling.resample(fine, grid, shape, affine), affine
    )
    wanted, grid = head(4)
    found = nifti.load(path, wanted.shape, grid).volume
    inner = (slice(4, -4),) * 3
    assert np.abs(found - wanted)[inner].max() < 4


def test_down_sampling_passes_what_a_coarser_scanner_would():
    """A wave of f cycles a voxel keeps exp(-2 (pi s f)^2) of its height, s^2 = 3 / (8 ln 2)."""
    frequency = 1 / 8
    wave = np.cos(2 * np.pi * frequency * (np.arange(80) - 0.5))
    volume = np.broadcast_to(wave[:, None, None], (80, 96, 80))
    found = resampling.resample(volume, nifti.grid(2)[1], *nifti.grid(4))[:, 20, 20]
    smooth = np.exp(-2 * (np.pi * frequency) ** 2 * 3 / (8 * np.log(2)))
    between = np.cos(np.pi * frequency)  # linear interpolation, half-way between two voxels
    np.testing.assert_allclose(found[4:-4:4], smooth * between, rtol=0.01)


def test_down_sampling_averages_instead_of_picking():
    fine_shape, fine = nifti.grid(1)
    noise = np.random.default_rng(0).normal(100, 20, [side // 2 for side in fine_shape])
    found = resampling.resample(noise.astype(np.float32), fine, (10, 12, 10), AFFINE)
    assert found[1:-1, 1:-1, 1:-1].std() < 2
    assert abs(found[1:-1, 1:-1, 1:-1].mean() - 100) < 0.5


@pytest.mark.parametrize("axes", ["RAS", "LAS", "PIR"])
def test_same_voxel_size_is_cropped_or_padded_without_touching_values(tmp_path, axes):
    volume = np.full((22, 20, 24), 9, np.uint8)
    volume[1:-1, 1:-1, 1:-1] = np.random.default_rng(0).integers(1, 255, (20, 18, 22))
    affine = AFFINE.copy()
    affine[:3, 3] -= np.array([2, -3, 1]) * 8 + 0.4  # 0.4 mm off the grid
    turned = nib.Nifti1Image(volume, affine).as_reoriented(flip(axes))
    nib.save(turned, tmp_path / "a.nii")
    found = nifti.load(tmp_path / "a.nii", SHAPE, AFFINE).volume
    wanted = np.full(SHAPE, 9)
    wanted[:, 3:23, :] = volume[2:22, :, 1:21]
    np.testing.assert_array_equal(found, wanted)


def test_half_a_millimetre_is_always_rounded_the_same_way():
    shape, affine = nifti.grid(1)
    volume = np.random.default_rng(0).random((12, 12, 12)).astype(np.float32)
    for fuzz in (-1e-5, 0, 1e-5):
        source = affine.copy()
        source[:3, 3] += 40.5 + fuzz
        found = resampling.resample(volume, source, (80, 80, 80), affine)
        np.testing.assert_array_equal(found[40:52, 40:52, 40:52], volume)


def test_a_larger_offset_is_interpolated():
    volume = np.zeros((20, 24, 20), np.float32)
    volume[10, 10, 10] = 8
    source = AFFINE.copy()
    source[0, 3] += 2  # a quarter of a voxel
    found = resampling.resample(volume, source, SHAPE, AFFINE)
    np.testing.assert_allclose(found[10:12, 10, 10], [6, 2], atol=1e-4)


def test_centre_alignment_ignores_where_the_scanner_put_the_head(tmp_path):
    volume, affine = head()
    lost = affine.copy()
    lost[:3, 3] += (300, -40, 77)
    path = nifti.write(tmp_path / "a.nii.gz", volume, lost)
    np.testing.assert_array_equal(nifti.load(path, SHAPE, AFFINE, align="centre").volume, volume)
    with pytest.raises(ValueError, match=r"\[300, -40, 77\] mm off.*align='centre'"):
        nifti.load(path, SHAPE, AFFINE)


def broken(kind, folder):
    """Returns the path of a scan broken in one way."""
    path = folder / "a.nii.gz"
    volume, affine = head()
    volume = volume.copy()
    if kind == "nan":
        volume[1, 2, 3] = np.nan
    elif kind == "inf":
        volume[1, 2, 3] = np.inf
    elif kind == "constant":
        volume[:] = 7
    elif kind == "constant in box":
        volume[:] = 7
        volume = np.pad(volume, 1)
        affine = affine.copy()
        affine[:3, 3] -= 8
    if kind == "4-D":
        nib.save(nib.Nifti1Image(np.stack([volume] * 2, -1), affine), path)
    elif kind == "singular":
        content = bytearray(nib.Nifti1Image(volume, affine).to_bytes())
        content[312:328] = bytes(16)  # srow_z
        path.write_bytes(gzip.compress(bytes(content)))
    elif kind == "colour":
        pixel = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
        nib.save(nib.Nifti1Image(np.zeros(SHAPE, pixel), affine), path)
    elif kind == "other format":
        path = folder / "a.mgz"
        nib.save(nib.MGHImage(volume, affine), path)
    else:
        nifti.write(path, volume, affine)
    content = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "truncated header":
        path.write_bytes(gzip.compress(gzip.decompress(content)[:200]))
    elif kind == "truncated plain":
        path = folder / "a.nii"
        path.write_bytes(gzip.decompress(content)[:-100])
    elif kind == "damaged":
        path.write_bytes(content[:300] + b"\0\1\2\3" * 20 + content[380:])
    elif kind == "checksum":
        path.write_bytes(content[:-8] + b"\0\0\0\0" + content[-4:])
    elif kind == "text":
        path.write_text("not a scan")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "pipe":
        path.unlink()
        os.mkfifo(path)
    return path


BROKEN = {
    "missing": "no such file",
    "folder": "a folder: list the scan's file",
    "pipe": "a device, pipe or socket",
    "truncated": "stream is truncated or damaged .*: copy it again",
    "truncated plain": r"truncated, or dim, .* ask for 38,752 bytes of a file of 38,652",
    "truncated header": "header is truncated: 200 of 348 bytes",
    "damaged": "stream is truncated or damaged",
    "checksum": "damaged .*incorrect data check",
    "text": "text, not a scan: correct the path",
    "empty": "the file is empty",
    "other format": "MGH/MGZ, not NIfTI: convert it to .nii.gz",
    "4-D": r"dim: shape \(20, 24, 20, 2\), expected one 3-D volume",
    "colour": r"datatype is 128 \(RGB\), expected one",
    "nan": "1 voxels are NaN",
    "inf": "1 voxels are NaN or infinite",
    "constant": "every voxel is 7",
    "constant in box": "only 0.00% of the voxels inside the model's box differ from 7",
    "singular": "srow: the affine is singular",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named_with_a_remedy(tmp_path, kind):
    path = broken(kind, tmp_path)
    with pytest.raises(ValueError, match=BROKEN[kind]):
        nifti.load(path, SHAPE, AFFINE)


STRANGERS = {  # a file's content, and what it is called
    "a.nii.zst": (b"\x28\xb5\x2f\xfd" + bytes(400), "compressed with zstd: run `zstd -d`"),
    "a.nii.gz": (gzip.compress(gzip.compress(bytes(400))), "compressed twice: run `gunzip`"),
    "a.nii": (bytes(1000), "filled with zeros, not a scan"),
    "a.mnc": (b"\x89HDF\r\n\x1a\n" + bytes(400), "HDF5, such as MINC 2: convert it .* mnc2nii"),
    "b.mnc": (b"CDF\1" + bytes(400), "NetCDF, such as MINC 1"),
    "a.mgh": (b"\0\0\0\1" + bytes(400), "MGH/MGZ, not NIfTI"),
    "a.dcm": (bytes(128) + b"DICM" + bytes(400), "DICOM: convert its series with dcm2niix"),
    "b.nii.gz": (b"<!DOCTYPE html>", "a web page or XML, not a scan"),
    "c.nii.gz": (b"/annex/objects/MD5E-s1--x.nii.gz\n", "a pointer of git-annex, .*annex get"),
    "d.nii.gz": (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
    "e.nii.gz": (bytes(range(256)) * 4, "not a readable NIfTI file: copy it again"),
    "a.img": (b"raw", "one half of a pair: its header, a.hdr, is missing"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_another_kind_of_file_is_named_as_what_it_is(tmp_path, name):
    content, words = STRANGERS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=words):
        nifti.load(tmp_path / name, SHAPE, AFFINE)


def test_a_path_of_windows_is_named(tmp_path):
    with pytest.raises(ValueError, match="a path of Windows, .* with '/'"):
        nifti.load(tmp_path / "C:\\scans\\a.nii", SHAPE, AFFINE)


@pytest.mark.parametrize(
    "target,words",
    [
        ("../.git/annex/objects/X/a.nii.gz", "git-annex that was not fetched: run `git annex get`"),
        ("elsewhere.nii.gz", "a broken link to elsewhere.nii.gz: restore its target"),
        ("a.nii.gz", "cannot be opened .*symbolic links"),
    ],
)
def test_a_link_that_leads_nowhere_is_named(tmp_path, target, words):
    (tmp_path / "a.nii.gz").symlink_to(target)
    with pytest.raises(ValueError, match=words):
        nifti.load(tmp_path / "a.nii.gz", SHAPE, AFFINE)


def test_a_folder_of_dicom_files_is_told_from_another(tmp_path):
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(ValueError, match="a folder of DICOM files: .* dcm2niix"):
        nifti.load(tmp_path, SHAPE, AFFINE)


def test_no_memory_is_taken_for_what_a_file_cannot_hold(tmp_path):
    head = bytearray(nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4) * 100).to_bytes())
    head[42:48] = np.array([1000, 1000, 1000], "<i2").tobytes()
    head[280:328] = np.diag([0.3, 0.3, 0.3, 0])[:3].astype("<f4").tobytes()
    head[80:92] = np.full(3, 0.3, "<f4").tobytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(head)))
    tracemalloc.start()
    with pytest.raises(ValueError, match="ask for 1,000,000,352 bytes of a compressed file"):
        nifti.load(tmp_path / "a.nii.gz", SHAPE, AFFINE)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def hounsfield(folder, *, shift=16.0, noise=0.0, turn=0.0):
    """Returns the path of a CT head in air of -1000, its field of view smaller than the box."""
    voxels, affine = head(4)
    voxels = np.where(voxels < 60, -1000, voxels - 60)
    voxels = voxels + np.random.default_rng(0).normal(0, noise, voxels.shape)
    affine = affine.copy()
    affine[:3, 3] += shift
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    voxels = np.rint(voxels[4:-4, 4:-4, 4:-4]).astype(np.int16)
    return nifti.write(folder / "ct.nii.gz", voxels, turned @ affine)


@pytest.mark.parametrize("how", ["percentile", "zscore"])
@pytest.mark.parametrize("turn", [0, 0.2])
def test_air_is_dark_inside_and_outside_the_field_of_view_of_a_ct(tmp_path, how, turn):
    shape, grid = nifti.grid(4)
    found = nifti.load(hounsfield(tmp_path, turn=turn), shape, grid)
    assert found.background == -1000 and 0.5 < found.inside < 0.9
    assert found.volume[0, 0, 0] == -1000 == found.volume.min()
    shown = intensity.scale(found.volume, how, background=found.background)
    np.testing.assert_array_equal(shown, intensity.scale(found.volume, how))
    air, brain = shown[found.volume == -1000], shown[18:22, 22:26, 18:22]
    assert np.ptp(air) == 0 and air.size > 0.3 * shown.size
    assert air[0] == shown.min()
    assert np.median(brain) > air[0] + (180 if how == "percentile" else 1)


def test_the_noise_of_air_is_filled_with_air(tmp_path):
    shape, grid = nifti.grid(4)
    found = nifti.load(hounsfield(tmp_path, noise=8), shape, grid)
    assert -1010 < found.background < -1000
    shown = intensity.scale(found.volume, "percentile", background=found.background)
    assert shown[0, 0, 0] < 10 < 200 < np.median(shown[18:22, 22:26, 18:22])


def test_the_edge_of_the_field_of_view_blends_into_its_background():
    voxels = np.full((20, 24, 20), -1000, np.float32)
    voxels[0] = 0
    source = AFFINE.copy()
    source[0, 3] += 10  # a voxel and a quarter
    found = resampling.resample(voxels, source, SHAPE, AFFINE, -1000.0)
    np.testing.assert_allclose(found[:4, 10, 10], [-1000, -250, -750, -1000][:4], atol=1e-3)


@pytest.mark.parametrize(
    "volume,wanted",
    [
        (np.pad(np.full((3, 3, 3), 5), 1), 0),
        (np.pad(np.full((3, 3, 3), 5), 1, constant_values=-3024), -3024),
        (np.pad(np.full((3, 3, 3), 5), 1, constant_values=255), 255),
        (np.arange(8).reshape(2, 2, 2), 1),  # every voxel on three faces: the lower quartile
    ],
)
def test_what_surrounds_a_head_by_hand(volume, wanted):
    assert intensity.surrounding(volume.astype(np.float32)) == wanted


def test_a_trailing_axis_of_one_is_dropped(tmp_path):
    volume, affine = head()
    nib.save(nib.Nifti1Image(volume[..., None], affine), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(nifti.load(tmp_path / "a.nii.gz", SHAPE, AFFINE).volume, volume)


def test_an_unknown_alignment_names_the_known(tmp_path):
    with pytest.raises(ValueError, match="world, centre"):
        nifti.load(tmp_path / "a.nii", SHAPE, AFFINE, align="center")


def test_percentiles_by_hand():
    volume = np.array([[[0, 0, 0, 1, 2, 3, 4, 5]]], np.float32)
    found = intensity.scale(volume, "percentile", (25, 75))
    np.testing.assert_allclose(found[0, 0], [0, 0, 0, 0, 0, 127.5, 255, 255])


def test_zscore_leaves_background_at_zero():
    volume = np.array([[[0, 0, 10, 20, 30]]], np.float32)
    found = intensity.scale(volume, "zscore")[0, 0]
    np.testing.assert_allclose(found, [0, 0, -np.sqrt(1.5), 0, np.sqrt(1.5)], rtol=1e-6)


@pytest.mark.parametrize("how", ["percentile", "zscore"])
def test_a_binary_mask_has_no_scale(how):
    with pytest.raises(ValueError, match=r"not background \(0\)"):
        intensity.scale(np.array([[[0, 1, 1]]], np.float32), how, background=0)
    with pytest.raises(ValueError, match=r"every voxel is background \(1\)"):
        intensity.scale(np.array([[[1, 1, 1]]], np.float32), how)


def test_storage_rounds_and_names_what_does_not_fit():
    volume = np.array([[[0, 99.4, 99.6, 255]]], np.float32)
    assert intensity.store(volume, "uint8").tolist() == [[[0, 99, 100, 255]]]
    assert intensity.store(volume, "bfloat16").dtype == ml_dtypes.bfloat16
    with pytest.raises(ValueError, match="from -900 to 99.6.*percentile"):
        intensity.store(volume[..., 1:3] - [[[999.4, 0]]], "uint8")
    with pytest.raises(ValueError, match="from 0 to 1, too few grey levels.*percentile"):
        intensity.store(volume / 255, "uint8")


@pytest.mark.parametrize(
    "settings,match",
    [
        (("zscore", (0, 100), "uint8"), "'zscore' gives negative.*'float32'"),
        (("minmax", (0, 100), "uint8"), "raw, percentile, zscore"),
        (("raw", (0, 100), "float64"), "uint8, bfloat16, float32"),
        (("percentile", (99, 1), "uint8"), "low < high"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, match):
    with pytest.raises(ValueError, match=match):
        intensity.validate(*settings)
