"""The bytes of a scan: found, named as what they are, decompressed and counted before use."""

import os
import pathlib
import stat
import zlib

import numpy as np

HEADER_BYTES = 540  # of NIfTI-2; NIfTI-1 has 348
PIECE = 1 << 20
# deflate encodes at most 258 bytes in two bits (RFC 1951); zlib documents 1032:1 as its limit.
DEFLATE_RATIO = 1032

CONVERT = "convert it to .nii.gz"
MAGICS = (  # (where, bytes, what it is, what to do)
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd", "run `zstd -d`, then gzip"),
    (0, b"\x1f\x8b", "compressed twice", "run `gunzip` once"),
    (0, b"BZh", "compressed with bzip2", "run `bunzip2`, then gzip"),
    (0, b"\xfd7zXZ\0", "compressed with xz", "run `xz -d`, then gzip"),
    (0, b"PK\3\4", "a zip archive", "unpack it"),
    (257, b"ustar", "a tar archive", "unpack it"),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5, such as MINC 2", f"{CONVERT}, for MINC with mnc2nii"),
    (0, b"CDF\1", "NetCDF, such as MINC 1", f"{CONVERT}, for MINC with mnc2nii"),
    (128, b"DICM", "DICOM", "convert its series with dcm2niix"),
    (0, b"\x08\0", "DICOM without a preamble", "convert its series with dcm2niix"),
    (0, b"\0\0\0\1", "MGH/MGZ, not NIfTI", f"{CONVERT} with mri_convert"),
    (0, b"NRRD", "NRRD, not NIfTI", CONVERT),
    (0, b"\x93NUMPY", "a NumPy array without orientation", "export the scan as .nii.gz"),
    (0, b"version https://git-lfs", "a pointer of Git LFS, not the scan", "run `git lfs pull`"),
    (0, b"/annex/objects/", "a pointer of git-annex, not the scan", "run `git annex get` on it"),
    (0, b"<", "a web page or XML, not a scan", "download the scan itself"),
)


def parts(path):
    """Returns (header's path, voxels' path) of a scan; they are equal but for .hdr/.img pairs.

    Args:
        path: As listed; either file of a pair, each compressed or not.

    Raises:
        ValueError: Saying what the path is instead of a scan's file, and what to do.
    """
    path = pathlib.Path(path)
    _exists(path)
    for ending, wanted, what in ((".img", ".hdr", "header"), (".hdr", ".img", "voxels")):
        stem = _stem(path, ending)
        if stem is None:
            continue
        other = _sibling(path, stem, wanted, what)
        _exists(other)
        return (other, path) if ending == ".img" else (path, other)
    return path, path


def files(path):
    """Returns the paths of all files that reading a scan opens; the listed one where that fails."""
    try:
        header, voxels = parts(path)
    except (ValueError, OSError):
        return (pathlib.Path(path),)
    return (header,) if header == voxels else (header, voxels)


def head(path):
    """Returns the first `HEADER_BYTES` of a file, decompressed; fewer where it is shorter.

    Raises:
        ValueError: For an empty or damaged file.
    """
    found = b""
    for piece in _pieces(path):
        found += piece
        if len(found) >= HEADER_BYTES:
            break
    if not found:
        raise ValueError("the file is empty: copy it again")
    return found[:HEADER_BYTES]


def body(path, start, count):
    """Returns uint8 [count], the decompressed bytes from `start` to the file's end.

    The stream is read to its end, which compares the checksum of a compressed file. No memory is
    taken for more bytes than the file can hold.

    Raises:
        ValueError: For a file that holds fewer bytes or more, or is damaged.
    """
    needed, size = start + count, os.stat(path).st_size
    compressed = _compressed(path)
    if needed > (size * DEFLATE_RATIO if compressed else size):
        raise ValueError(
            f"the file is truncated, or dim, datatype or vox_offset is wrong: they ask for "
            f"{needed:,} bytes of a {'compressed ' * compressed}file of {size:,}: copy or convert "
            "it again"
        )
    found, at = np.empty(count, np.uint8), -start
    for piece in _pieces(path):
        values = np.frombuffer(piece, np.uint8)
        kept = values[max(0, -at) : max(0, count - at)]
        found[max(0, at) : max(0, at) + kept.size] = kept
        at += values.size
        if at > count:
            raise ValueError(
                f"the file goes on after the {needed:,} bytes that dim, datatype and vox_offset "
                "ask for, so one of them is wrong: convert or copy it again"
            )
    if at < count:
        raise ValueError(
            f"the file is truncated, or dim, datatype or vox_offset is wrong: they ask for "
            f"{needed:,} bytes, the file holds {start + at:,}: copy or convert it again"
        )
    return found


def kind(content):
    """Returns (what, remedy) for the first bytes of a file that is not NIfTI.

    Example:
        >>> kind(b"BZh9")
        ('compressed with bzip2', 'run `bunzip2`, then gzip')
    """
    for where, magic, what, remedy in MAGICS:
        if content[where : where + len(magic)] == magic:
            return what, remedy
    if not any(content):
        return "filled with zeros, not a scan", "copy it again"
    if all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in content):
        return "text, not a scan", "correct the path, or fetch the scan itself"
    return "not a readable NIfTI file", f"copy it again, or {CONVERT}"


def _stem(path, ending):
    name = path.name
    for tail in (ending + ".gz", ending):
        if name.lower().endswith(tail):
            return name[: -len(tail)]
    return None


def _sibling(path, stem, wanted, what):
    suffix = path.name[len(stem) :]
    wanted = wanted.upper() if suffix.isupper() else wanted
    names = [stem + wanted, stem + wanted + (".GZ" if suffix.isupper() else ".gz")]
    found = [name for name in names if os.path.lexists(path.with_name(name))]
    if len(found) == 1:
        return path.with_name(found[0])
    if found:
        raise ValueError(
            f"{' and '.join(found)} lie side by side, so nobody can say which holds this pair's "
            f"{what}: delete one"
        )
    raise ValueError(f"one half of a pair: its {what}, {names[0]}, is missing: copy it there")


def _exists(path):
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        raise ValueError(_missing(path)) from None
    except OSError as error:
        raise ValueError(f"cannot be opened ({error.strerror}): make it readable") from None
    if stat.S_ISDIR(mode):
        raise ValueError(_folder(path))
    if not stat.S_ISREG(mode):
        raise ValueError("a device, pipe or socket, not a file: correct the path")


def _missing(path):
    if "\\" in path.name and os.sep == "/":
        return "no such file: a path of Windows, write it as this computer names the file, with '/'"
    if not os.path.islink(path):
        return "no such file: check the path, or copy the scan there"
    target = os.readlink(path)
    if ".git/annex/" in target.replace(os.sep, "/"):
        return "a file of git-annex that was not fetched: run `git annex get` on it"
    return f"a broken link to {target}: restore its target, or copy the scan there"


def _folder(path):
    for name in sorted(os.listdir(path))[:100]:
        file = path / name
        if file.is_file():
            with file.open("rb") as opened:
                if kind(opened.read(HEADER_BYTES))[0].startswith("DICOM"):
                    return "a folder of DICOM files: convert the series with dcm2niix"
    return "a folder: list the scan's file itself"


def _compressed(path):
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _pieces(path):
    """Yields the decompressed content; whether it is compressed is read from it, not its name."""
    with open(path, "rb") as file:
        raw = file.read(PIECE)
        if raw[:2] != b"\x1f\x8b":
            while raw:
                yield raw
                raw = file.read(PIECE)
            return
        try:
            yield from _members(file, raw)
        except zlib.error as error:
            reason = str(error).removeprefix("Error ")
            raise ValueError(
                f"the gzip stream is truncated or damaged ({reason}): copy it again"
            ) from None


def _members(file, raw):
    while raw:
        member = zlib.decompressobj(16 + zlib.MAX_WBITS)  # gzip, checksum compared at its end
        while not member.eof:
            piece = member.decompress(raw, 4 * PIECE)
            yield piece
            raw = member.unconsumed_tail or file.read(PIECE)
            if not (raw or piece or member.eof):
                raise zlib.error("its end is missing")
        raw = (member.unused_data or raw).lstrip(b"\0")
