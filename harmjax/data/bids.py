"""T1-weighted scans of a BIDS folder: `sub-*/[ses-*/]anat/*_T1w.nii[.gz]`."""

import glob
import re

from harmjax.data import records


def scans(folder, participant):
    """Returns (records, problems): one record per session of a participant that has a T1w file.

    Args:
        folder: the `pathlib.Path` of the dataset, where participants.tsv lies.
        participant: the record of a row of participants.tsv, without session and path.
    """
    name = _prefixed(participant.subject)
    found, problems = {}, []
    sub = glob.escape(name)
    for pattern in (f"{sub}/anat/{sub}_*T1w.nii*", f"{sub}/ses-*/anat/{sub}_*T1w.nii*"):
        for file in sorted(folder.glob(pattern)):
            if not re.search(r"_T1w\.nii(\.gz)?$", file.name):
                continue
            session = re.search(r"_ses-([^_]+)_", file.name)
            session = session[1] if session else ""
            if session in found:
                what = f"a further T1w of one session, {found[session].path} is used: remove one"
                problems.append(records.Problem(0, participant.subject, str(file), what))
            else:
                found[session] = participant._replace(session=session, path=str(file))
    if not found:
        what = f"no T1w file under {folder / name}: add {name}/anat/{name}_T1w.nii.gz"
        problems.append(
            records.Problem(participant.row, participant.subject, "participant_id", what)
        )
    return list(found.values()), problems


def unlisted(folder, listed):
    """Returns a problem for each `sub-*` folder that participants.tsv does not list."""
    known = {_prefixed(subject.strip()) for subject in listed}
    return [
        records.Problem(0, sub.name, str(sub), "not in participants.tsv: add a row for it")
        for sub in sorted(folder.glob("sub-*"))
        if sub.is_dir() and sub.name not in known
    ]


def _prefixed(subject):
    return subject if subject.startswith("sub-") else f"sub-{subject}"
