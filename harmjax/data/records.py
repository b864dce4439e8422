"""What is known about one scan or one patient, and what is wrong with one."""

import collections
import os
import re
import unicodedata
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from harmjax import plugins, types

SPLITS = ("train", "verification", "test")
CLASSES = types.BINARY  # where a config names none


class Record(NamedTuple):
    """One row of a manifest that can be used."""

    row: int  # line in the manifest, the header is line 1
    subject: str
    session: str  # '' where the manifest has none
    centre: str
    label: int  # class, 0 to K - 1 (of two, 1 = disease); -1 where it is not known
    split: str = ""  # one of SPLITS, '' until assigned
    path: str = ""  # absolute, '' for tabular data
    sex: str = ""  # M, F, another word of the manifest, or '' if unknown
    age: float = float("nan")  # years, NaN if unknown
    features: tuple[float, ...] = ()  # tabular data, NaN where missing; () for images
    scope: str = ""  # the centre where it numbers its own people, '' where ids are global
    centre_from: str = ""  # 'column=cell' that the centre was read from
    label_from: str = ""  # 'column=cell' that the label was read from


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

    Example:
        >>> identity(Record(row=2, subject="a", session="1", centre="A", label=0))
        718304929
    """
    return zlib.crc32(f"{record.subject}\x1f{record.session}".encode())


def person(record):
    """Returns whose scan it is: (scope, subject), the same for all sessions of one person."""
    return record.scope, record.subject


def key(record):
    """Returns which scan it is: (scope, subject, session), another one for every scan."""
    return record.scope, record.subject, record.session


def names(scans):
    """Returns what tables call the scans: the subject, as 'centre/subject' where ids repeat.

    A session follows as '_ses-SESSION'.

    Example:
        >>> one, other = Record(2, "001", "", "A", 0), Record(3, "001", "1", "B", 0)
        >>> two = [one._replace(scope="A"), other._replace(scope="B")]
        >>> names(two), names(two[:1])
        (('A/001', 'B/001_ses-1'), ('001',))
    """
    scopes = collections.defaultdict(set)
    for r in scans:
        scopes[r.subject].add(r.scope)

    def name(r):
        subject = f"{r.scope}/{r.subject}" if len(scopes[r.subject]) > 1 else r.subject
        return f"{subject}_ses-{r.session}" if r.session else subject

    return tuple(map(name, scans))


def tidy(text):
    """Returns a name in one spelling: composed Unicode (NFC), single spaces, none at the ends.

    Example:
        >>> tidy("Zu\\u0308rich  Nord ") == "Z\\u00fcrich Nord"
        True
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def suggestion(name, known):
    """Returns what `plugins.near` does, and prefers names that differ by leading zeros alone.

    Tables lose those when a program takes identifiers for numbers.

    Example:
        >>> suggestion("50772", ["sub-0050772"])
        " (did you mean 'sub-0050772', with its leading zeros?)"
    """
    zeros = sorted({str(k) for k in known if lost_zeros(str(name), str(k))})
    if zeros:
        return f" (did you mean {' or '.join(map(repr, zeros[:2]))}, with its leading zeros?)"
    return plugins.near(name, known)


def lost_zeros(name, other):
    """Returns whether two identifiers are the same but for zeros in front of their numbers."""

    def bare(text):
        return re.sub(r"^(sub|ses)-", "", text.casefold())

    def short(text):
        return re.sub(r"(?<!\d)0+(?=\d)", "", bare(text))

    return bare(name) != bare(other) and short(name) == short(other)


def shown(path):
    """Returns a path as text that can be printed and written, whatever bytes it is made of.

    Example:
        >>> shown("caf\\udce9")
        'caf\\\\xe9'
    """
    return os.fsencode(path).decode(errors="backslashreplace")


def listed(words: Iterable[str], most=5):
    """Returns names as text, the first few and how many more there are.

    Example:
        >>> listed("abc", 2)
        'a, b and 1 more'
    """
    words = list(words)
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
