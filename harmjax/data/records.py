"""What is known about one scan or one patient, and what is wrong with one."""

import difflib
import zlib
from typing import NamedTuple

SPLITS = ("train", "verification", "test")


class Record(NamedTuple):
    """One row of a manifest that can be used."""

    row: int  # line in the manifest, the header is line 1
    subject: str
    session: str  # '' where the manifest has none
    centre: str
    label: int  # 1 = disease, 0 = control
    split: str = ""  # one of SPLITS, '' until assigned
    path: str = ""  # absolute, '' for tabular data
    sex: str = ""  # M, F, another word of the manifest, or '' if unknown
    age: float = float("nan")  # years, NaN if unknown
    features: tuple[float, ...] = ()  # tabular data, NaN where missing; () for images


class Problem(NamedTuple):
    """One defect of the data, in words a person can act on."""

    row: int  # line in the manifest, 0 where it concerns no single row
    subject: str
    place: str  # the column, the file, or the centre
    what: str  # the value and the remedy


class ManifestError(ValueError):
    """Data that cannot be used at all, or was refused as a whole."""


def identity(record):
    """Returns a stable hash of subject and session, 0 to 2^32 - 1, the same on every machine.

    >>> identity(Record(row=2, subject="a", session="1", centre="A", label=0))
    718304929
    """
    return zlib.crc32(f"{record.subject}\x1f{record.session}".encode())


def suggestion(name, known):
    """Returns ' (did you mean ...?)' with the closest known names, or ''.

    >>> suggestion("Studdy", ["Study", "Path"])
    " (did you mean 'Study'?)"
    """
    lowered = {str(k).casefold(): str(k) for k in known}
    close = difflib.get_close_matches(str(name).casefold(), list(lowered), n=2, cutoff=0.6)
    return f" (did you mean {' or '.join(repr(lowered[c]) for c in close)}?)" if close else ""
