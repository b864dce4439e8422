"""Intensities: background, scale, and what storage keeps of them."""

import ml_dtypes
import numpy as np
import pytest

from harmjax.data.scans import intensity, nifti, resampling
from tests.test_data_nifti import AFFINE, SHAPE, head


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
