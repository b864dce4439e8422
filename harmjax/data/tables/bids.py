"""T1-weighted scans of a BIDS folder: `sub-*/[ses-*/]anat/*_T1w.nii[.gz]`."""

import collections
import glob
import re

from harmjax.data import records
from harmjax.data.tables import cells, sheet

ENTITIES = ("space", "res", "acq", "ce", "rec", "run", "desc")
ABSENT = "none"  # asks for files without an entity
NAMED, INSIDE = re.compile(r"_ses-([^_/]+)_[^/]*$"), re.compile(r"/ses-([^/]+)/anat/[^/]*$")
# Of a sessions.tsv, beside the column that participants.tsv has it in.
LABELS = ("group_bin", "label", "group", "diagnosis")


def scans(folder, rows, entities=None, *, label=None):
    """Returns (records, problems): one record per session of a participant that has a T1w file.

    A row of participants.tsv with a session is about that session alone; one without is about all
    sessions of a participant that has no other row. Where several files of a session are left, or
    several rows disagree, none is taken.

    Args:
        folder: The `pathlib.Path` of the dataset, where participants.tsv lies.
        rows: Records of participants.tsv, without paths; a session is written with or without
            'ses-'.
        entities: Which files are meant, such as {'space': 'MNI152NLin2009cAsym', 'run': '1'};
            'none' asks for files without the entity, '' for any.
        label: (column, function from a cell's text to its class) of the diagnosis, which a
            participant's own sessions.tsv may contradict; None where none is needed.
    """
    found, problems = [], []
    people = collections.defaultdict(list)
    for r in rows:
        people[prefixed(r.subject)].append(r._replace(session=_bare(r.session)))
    for name, own in people.items():
        files, unclear = _files(folder, name, own[0], entities or {})
        problems += unclear
        for session, file in files.items():
            row, contradicted = _row(own, session, file)
            if row is not None and label is not None:
                contradicted = _contradiction(folder, name, row, session, *label)
                row = None if contradicted else row
            problems += contradicted
            if row is not None:
                found.append(row._replace(session=session, path=str(file)))
        sessions = {*files, *(_bare(_session(p.place)) for p in unclear)}
        problems += [
            _without_file(folder, name, r, sessions)
            for r in own
            if (r.session not in sessions if r.session else not sessions)
        ]
    return found, problems


def unlisted(folder, listed):
    """Returns a problem for each `sub-*` folder that participants.tsv does not list."""
    known = {prefixed(subject.strip()) for subject in listed}
    return [
        records.Problem(
            *(0, records.shown(sub.name), records.shown(sub)),
            "not in participants.tsv: add a row for it",
        )
        for sub in sorted(folder.glob("sub-*"))
        if sub.is_dir() and sub.name not in known
    ]


def entities(name):
    """Returns what a file name says of its scan.

    Example:
        >>> entities("sub-01_space-MNI_desc-preproc_T1w.nii.gz")
        {'sub': '01', 'space': 'MNI', 'desc': 'preproc'}
    """
    return dict(part.split("-", 1) for part in name.split("_")[:-1] if "-" in part)


def prefixed(subject):
    """Returns a participant's id as its folder is called: with 'sub-' in front."""
    return subject if subject.startswith("sub-") else f"sub-{subject}"


def _bare(session):
    return session.removeprefix("ses-")


def _session(path):
    """The session that a file's name says, or else its folder."""
    match = NAMED.search(str(path)) or INSIDE.search(str(path))
    return match[1] if match else ""


def _misplaced(file):
    """What is wrong with a file's name or place, or ''."""
    if records.shown(file) != str(file):
        return "a name that is not UTF-8: rename the file"
    named, inside = NAMED.search(str(file)), INSIDE.search(str(file))
    if not (named and inside) or named[1] == inside[1]:
        return ""
    return f"session {named[1]!r} in the folder of session {inside[1]!r}: rename or move the file"


def _files(folder, name, row, wanted):
    """Returns ({session: file}, problems): the one T1w file of each session."""
    sub = glob.escape(name)
    several, chosen, problems = collections.defaultdict(list), {}, []
    for pattern in (f"{sub}/anat/{sub}_*T1w.nii*", f"{sub}/ses-*/anat/{sub}_*T1w.nii*"):
        for file in sorted(folder.glob(pattern)):
            if not re.search(r"_T1w\.nii(\.gz)?$", file.name):
                continue
            several[_session(file)].append(file)
    for session, files in several.items():
        left = [file for file in files if _is_wanted(file, wanted)]
        wrong = next(((file, what) for file in left if (what := _misplaced(file))), None)
        if wrong:
            place = records.shown(wrong[0])
            problems.append(records.Problem(row.row, row.subject, place, wrong[1]))
        elif len(left) == 1:
            chosen[session] = left[0]
        else:
            what = _choice([records.shown(file.name) for file in left or files], bool(left))
            place = records.shown(files[0])
            problems.append(records.Problem(row.row, row.subject, place, what))
    return chosen, problems


def _is_wanted(file, wanted):
    has = entities(file.name)
    return all(
        has.get(name) is None if value == ABSENT else has.get(name) == str(value)
        for name, value in wanted.items()
        if value
    )


def _choice(names, is_several):
    candidates = records.listed(names)
    if not is_several:
        return f"no T1w file has the entities of data.entities; there is {candidates}"
    differ = [e for e in ENTITIES if len({entities(name).get(e) for name in names}) > 1]
    remedy = f"set data.entities.{' or .'.join(differ)}" if differ else "remove all but one"
    return f"{len(names)} T1w files of one session, {candidates}: {remedy}"


def _row(own, session, file):
    """Returns (record or None, problems): the row about one session of a participant."""
    named = [r for r in own if r.session]
    rows = [r for r in named if r.session == session] if named else own
    if not rows:
        what = f"session {session!r} has no row in participants.tsv: add one"
        if not session:
            what = "a scan without a session, but the rows name sessions: add its row"
        hint = records.suggestion(session, [r.session for r in named]) if session else ""
        return None, [records.Problem(0, own[0].subject, str(file), what + hint)]
    first = rows[0]
    others = [r for r in own if not r.session] if named else []
    same = [r._replace(row=first.row, session=first.session) == first for r in (*rows, *others)]
    if all(same):
        return first, []
    lines = ", ".join(str(r.row) for r in (*rows, *others))
    what = f"rows {lines} of participants.tsv disagree about it: name their sessions in a column"
    return None, [records.Problem(first.row, first.subject, str(file), what)]


def _without_file(folder, name, row, sessions):
    others = [sub.name for sub in folder.glob("sub-*") if records.lost_zeros(sub.name, name)]
    where = f"{name}/anat/{name}_T1w.nii.gz"
    if row.session:
        where = f"{name}/ses-{row.session}/anat/{name}_ses-{row.session}_T1w.nii.gz"
    hint = f"add {where}"
    if others:
        hint = f"{others[0]} differs by leading zeros: write participant_id as that folder is named"
    elif any(records.lost_zeros(row.session, session) for session in sessions):
        hint = f"there is {records.listed(sorted(sessions))}: write the session as its folder is"
    what = f"no T1w file under {folder / name}: {hint}"
    if row.session:
        what = f"no T1w file of session {row.session!r} under {folder / name}: {hint}"
    return records.Problem(row.row, row.subject, "participant_id", what)


def _contradiction(folder, name, row, session, column, meaning):
    """A problem where the participant's sessions.tsv gives a session another diagnosis."""
    path = folder / name / f"{name}_sessions.tsv"
    if not session or not path.is_file():
        return []
    try:
        header, lines = sheet.read(path, "the sessions", fewest=0)
    except records.ManifestError as error:
        return [records.Problem(row.row, row.subject, "label", str(error))]
    lowered = [word.casefold() for word in header]
    if "session_id" not in lowered:
        return []
    of, own = lowered.index("session_id"), column.casefold()
    said = [at for at, word in enumerate(lowered) if word == own or word in LABELS]
    for line, row_cells in lines:
        if len(row_cells) <= of or _bare(row_cells[of].strip()) != session:
            continue
        for at in said if len(row_cells) == len(header) else ():
            cell = row_cells[at].strip()
            if _contradicts(cell, row.label, meaning, lowered[at] == own):
                what = (
                    f"row {line} of {path} says {header[at]}={cell!r} of session {session!r}, "
                    f"participants.tsv says {row.label_from!r}: give each session a row there"
                )
                return [records.Problem(row.row, row.subject, "label", what)]
        if len(row_cells) != len(header):
            what = f"row {line} of {path}: {len(row_cells)} cells under {len(header)} column names"
            what += ": add or remove separators"
            return [records.Problem(row.row, row.subject, "label", what)]
    return []


def _contradicts(cell, label, meaning, is_own):
    """Whether a cell says another diagnosis; words of another column may mean something else."""
    try:
        return meaning(cell) != label
    except cells.Defect:
        return is_own and cell.casefold() not in cells.UNKNOWN
