"""Files that are no scan, or not a whole one: each is named, with a remedy."""

import gzip
import os
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from harmjax.data.scans import nifti
from tests.test_data_nifti import AFFINE, SHAPE, head

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


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_named_with_a_remedy(tmp_path, kind):
    path = broken(kind, tmp_path)
    with pytest.raises(ValueError, match=BROKEN[kind]):
        nifti.load(path, SHAPE, AFFINE)


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
