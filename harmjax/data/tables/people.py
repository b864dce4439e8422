"""A person's word: subjects to keep or to drop, whatever quality control says."""

import collections
import pathlib

import numpy as np

from harmjax import offers
from harmjax.data import records
from harmjax.data.tables import cells, sheet


def read(path, scans, setting="data.drop", others=()):
    """Returns the keys (see `records.key`) of the scans that a CSV names, a frozenset.

    Args:
        path: A CSV with a column `Subject` (or `participant_id`) and, optionally, `Session`. A
            subject is named as in the manifest, as 'centre/subject' where ids repeat between
            centres, or as tables of a run name a scan; a row without a session means all of the
            subject's scans. '' means that nobody decided.
        scans: Records that the rows may name.
        setting: That names the file, for errors.
        others: Subjects that the manifest has too, whose scans are not used; rows may name them and
            mean nothing.

    Raises:
        records.ManifestError: Naming file, row and nearest names, for a subject or session that the
            records do not have or that several people have, or a file that cannot be read.
    """
    if not path:
        return frozenset()
    path = pathlib.Path(path).expanduser().absolute()
    header, rows = sheet.read(path, setting)
    subject_at = sheet.column(path, header, ("subject", "participant_id"), "the subject")
    if subject_at is None:
        raise records.ManifestError(
            f"{path}: no column 'Subject'{records.suggestion('Subject', header)}; name the column "
            f"of the subjects so; found: {', '.join(header)}"
        )
    session_at = sheet.column(path, header, ("session", "session_id"), "the session")
    known = _named(scans)
    named = set()
    for line, row in rows:
        cell = dict(enumerate(map(records.tidy, row)))
        subject = cell.get(subject_at, "")
        session = cell.get(session_at, "").removeprefix("ses-")
        session = "" if session.casefold() in cells.UNKNOWN else session
        meant = known.get(subject, ())
        if not meant and subject in others:
            continue
        if not meant:
            hint = records.suggestion(subject, known)
            raise records.ManifestError(
                f"{path}: row {line}: no subject {subject!r} in the manifest{hint}; correct the row"
            )
        if len({records.person(r) for r in meant}) > 1:
            several = sorted({f"{r.centre}/{r.subject}" for r in meant})
            raise records.ManifestError(
                f"{path}: row {line}: {subject!r} is {len(several)} people; write "
                f"{' or '.join(map(repr, several[:4]))}"
            )
        chosen = [r for r in meant if r.session.removeprefix("ses-") == session or not session]
        if not chosen:
            raise records.ManifestError(
                f"{path}: row {line}: subject {subject!r} has no session {session!r}; known are "
                f"{', '.join(repr(r.session) for r in meant)}"
            )
        named |= {records.key(r) for r in chosen}
    return frozenset(named)


def _named(scans):
    """Returns {what a row may say: the scans it means}."""
    known = collections.defaultdict(list)
    for r, name in zip(scans, records.names(scans), strict=True):
        for word in {r.subject, f"{r.centre}/{r.subject}", name}:
            known[word].append(r)
    return known


def verdicts(scans, keep=frozenset(), drop=frozenset()):
    """Returns what a person decided about each scan: int8 [N], 1 keep, -1 drop, 0 left open.

    Args:
        scans: Records, in the order of the result.
        keep: Keys from `read`.
        drop: Keys from `read`.

    Raises:
        records.ManifestError: Naming the scans that both lists hold.

    Example:
        >>> verdicts([records.Record(2, "a", "", "A", 0)], drop={("", "a", "")}).tolist()
        [-1]
    """
    both = sorted(subject for _, subject, _ in set(keep) & set(drop))
    if both:
        raise records.ManifestError(
            f"both kept and dropped: {', '.join(both)}; take them out of one of the two lists"
        )
    word = {**dict.fromkeys(keep, offers.KEEP), **dict.fromkeys(drop, offers.DROP)}
    return np.array([word.get(records.key(r), offers.OPEN) for r in scans], np.int8)
