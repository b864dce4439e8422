"""Intensities: from a scanner's arbitrary units to what is stored and shown to the model."""

import ml_dtypes
import numpy as np

from harmjax import plugins

DTYPES = {
    "uint8": np.dtype(np.uint8),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float32": np.dtype(np.float32),
}
SCALES = ("raw", "percentile", "zscore")
# Raw scans that span fewer grey levels than this lose their contrast when rounded to integers.
FEWEST_LEVELS = 16


def validate(how, percentiles, dtype):
    """Raises ValueError where the three settings do not fit together; returns nothing."""
    plugins.one_of("intensity", how, SCALES)
    plugins.one_of("dtype", dtype, DTYPES)
    low, high = percentiles
    if not 0 <= low < high <= 100:
        raise ValueError(f"percentiles={tuple(percentiles)}: expected 0 <= low < high <= 100")
    if how == "zscore" and dtype == "uint8":
        raise ValueError(
            "intensity='zscore' gives negative numbers, which dtype='uint8' cannot hold: set "
            "dtype='bfloat16' or 'float32', or intensity='percentile'"
        )


def surrounding(volume):
    """Returns the grey level that surrounds the head in a scan, read from its outer faces.

    The value of more than half of the faces' voxels, where there is one: 0 for skull-stripped
    scans, -1000 or the padding of the round field of view for CT. Otherwise, for air with a
    scanner's noise, the faces' lower quartile: the neck and a nose fill less than three quarters.

    Args:
        volume: [X, Y, Z], finite.

    Example:
        >>> surrounding(np.array([[[-1000, -1000, 40, -1000]]], np.float32))
        -1000.0
    """
    faces = np.concatenate(
        [np.moveaxis(volume, axis, 0)[at].ravel() for axis in range(3) for at in (0, -1)]
    )
    # A value that more than half have is the median.
    middle, low = np.percentile(faces, (50, 25), method="lower")
    return float(middle if np.mean(faces == middle) > 0.5 else low)


def scale(volume, how="raw", percentiles=(0.5, 99.5), background=None):
    """Returns a scan in the model's units: float32 [X, Y, Z].

    Args:
        volume: Float32 [X, Y, Z] in the scanner's units.
        how: 'raw' changes nothing; 'percentile' maps two percentiles of the voxels that are not
            background to 0 and 255 and clips; 'zscore' gives these voxels mean 0 and SD 1. There a
            background of 0, as skull-stripping leaves it, stays 0; any other is a grey level and
            becomes the nearest z-score that a voxel of the inside has: the lowest, for air.
        percentiles: The low and the high percentile, in percent.
        background: The scan's own, see `nifti.Scan`; None reads it from the volume.

    Raises:
        ValueError: Where the voxels inside do not vary, so there is no scale.

    Example:
        >>> scale(np.array([[[0, 10, 20, 30]]], np.float32), "percentile", (0, 100)).tolist()
        [[[0.0, 0.0, 127.5, 255.0]]]
    """
    if how == "raw":
        return volume
    if background is None:
        background = surrounding(volume)
    shown = volume != np.float32(background)
    inside = volume[shown]
    if not inside.size:
        raise ValueError(f"every voxel is background ({background:g}): there is no scale")
    if how == "percentile":
        low, high = np.percentile(inside, percentiles)
        if not high > low:
            raise ValueError(
                f"percentiles {percentiles[0]:g} and {percentiles[1]:g} of the voxels that are not "
                f"background ({background:g}) are both {low:g}: widen them or leave the scan out"
            )
        return np.clip((volume - low) * (255 / (high - low)), 0, 255).astype(np.float32)
    mean, sd = inside.mean(dtype=np.float64), inside.std(dtype=np.float64)
    if not sd > 0:
        raise ValueError(
            f"every voxel that is not background ({background:g}) is {mean:g}: z-scores need "
            "variation"
        )
    outside = np.clip(background, inside.min(), inside.max()) if background else mean
    return np.where(shown, (volume - mean) / sd, (outside - mean) / sd).astype(np.float32)


def store(volume, dtype="uint8"):
    """Returns a scan in its storage dtype: [X, Y, Z], rounded for uint8.

    Args:
        volume: Float32 [X, Y, Z] in the model's units.
        dtype: 'uint8', 'bfloat16' or 'float32'.

    Raises:
        ValueError: For uint8, where voxels lie outside 0..255 or span too few grey levels.

    Example:
        >>> store(np.array([[[0, 1.6, 255]]], np.float32)).tolist()
        [[[0, 2, 255]]]
    """
    if dtype != "uint8":
        return volume.astype(DTYPES[dtype])
    low, high = float(volume.min()), float(volume.max())
    if low < -0.5 or high > 255.5:
        raise ValueError(
            f"voxels range from {low:g} to {high:g}, outside the 0 to 255 of dtype='uint8': use "
            "intensity='percentile', or another dtype"
        )
    if high - low < FEWEST_LEVELS:
        raise ValueError(
            f"voxels range from {low:g} to {high:g}, too few grey levels for dtype='uint8': use "
            "intensity='percentile', or another dtype"
        )
    return np.rint(np.clip(volume, 0, 255)).astype(np.uint8)
