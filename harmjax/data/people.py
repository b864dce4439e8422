"""A person's word: subjects to keep or to drop, whatever quality control says."""

import pathlib

import numpy as np

from harmjax.data import manifest, records

KEEP, OPEN, DROP = 1, 0, -1


def read(path, scans):
    """Returns the (subject, session) pairs that a CSV names, a frozenset; empty for path ''.

    Args:
        path: a CSV with a column `Subject` (or `participant_id`) and, optionally, `Session`; a row
            without a session means all of the subject's scans. '' means that nobody decided.
        scans: records that the rows may name.

    Raises:
        records.ManifestError: naming file, row and nearest names, for a subject or session that
            the records do not have, or a file that cannot be read.
    """
    if not path:
        return frozenset()
    path = pathlib.Path(path).expanduser().absolute()
    header, rows = manifest.table(path)
    lowered = [name.casefold() for name in header]
    subject_at = next(
        (lowered.index(word) for word in ("subject", "participant_id") if word in lowered), None
    )
    if subject_at is None:
        raise records.ManifestError(
            f"{path}: no column 'Subject'{records.suggestion('Subject', header)}; name the column "
            f"of the subjects so; found: {', '.join(header)}"
        )
    session_at = lowered.index("session") if "session" in lowered else None
    sessions = {}
    for r in scans:
        sessions.setdefault(r.subject, []).append(r.session)
    named = set()
    for line, row in rows:
        cell = dict(enumerate(text.strip() for text in row))
        subject, session = cell.get(subject_at, ""), cell.get(session_at, "")
        if subject not in sessions:
            hint = records.suggestion(subject, sessions)
            raise records.ManifestError(
                f"{path}: row {line}: no subject {subject!r} in the manifest{hint}; correct the row"
            )
        if session and session not in sessions[subject]:
            raise records.ManifestError(
                f"{path}: row {line}: subject {subject!r} has no session {session!r}; known are "
                f"{', '.join(map(repr, sessions[subject]))}"
            )
        named |= {(subject, session)} if session else {(subject, s) for s in sessions[subject]}
    return frozenset(named)


def verdicts(scans, keep=frozenset(), drop=frozenset()):
    """Returns what a person decided about each scan: int8 [N], 1 keep, -1 drop, 0 left open.

    Args:
        scans: records, in the order of the result.
        keep: (subject, session) pairs from `read`.
        drop: (subject, session) pairs from `read`.

    Raises:
        records.ManifestError: naming the scans that both lists hold.

    >>> verdicts([records.Record(2, "a", "", "A", 0)], drop={("a", "")}).tolist()
    [-1]
    """
    both = sorted(subject for subject, _ in set(keep) & set(drop))
    if both:
        raise records.ManifestError(
            f"both kept and dropped: {', '.join(both)}; take them out of one of the two lists"
        )
    word = {**dict.fromkeys(keep, KEEP), **dict.fromkeys(drop, DROP)}
    return np.array([word.get((r.subject, r.session), OPEN) for r in scans], np.int8)
