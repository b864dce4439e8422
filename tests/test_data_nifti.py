"""Reading scans onto the grid: hand-placed voxels, orientations, spacings, and broken files."""

import ml_dtypes
import nibabel as nib
import numpy as np
import pytest

from harmjax.data.scans import nifti, resampling

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


def test_a_trailing_axis_of_one_is_dropped(tmp_path):
    volume, affine = head()
    nib.save(nib.Nifti1Image(volume[..., None], affine), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(nifti.load(tmp_path / "a.nii.gz", SHAPE, AFFINE).volume, volume)


def test_an_unknown_alignment_names_the_known(tmp_path):
    with pytest.raises(ValueError, match="world, centre"):
        nifti.load(tmp_path / "a.nii", SHAPE, AFFINE, align="center")
