"""An independent state machine of the published procedure, over the rows of decisions.csv.

It knows nothing of harmjax but the table: NumPy integers and Python sets.
"""

import csv
import math

COUNTS = ("tp", "fp", "tn", "fn")


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def replay(
    decisions, subjects, *, threshold, revisit_after=2, swapped=False, floats=False, drop=False
):
    """Walks through a run and asserts that every decision follows from the recorded counts.

    Args:
        decisions: Rows of decisions.csv.
        subjects: {subject: centre} of the training samples.
        threshold, revisit_after: Of the policy.
        swapped: Whether rates have the other class's denominator.
        floats: Whether rates are compared as floats, instead of counts as integers.
        drop: Whether remainders are not visited.

    Returns:
        (eliminated, pending, harm, events): sets of subjects, {subject: last lone rate change} and
        how often each kind of decision was taken; `copied` counts the single rows that repeat a
        batch of one, `rounded` the decisions that differ between floats and integers.
    """
    rows = list(decisions)
    base = rows.pop(0)
    assert base["kind"] == "baseline" and base["accepted"] == "1"
    assert base["reference_fpr"] == base["allowed"] == ""
    reference = {c: int(base[c]) for c in COUNTS}
    negatives = reference["fp"] + reference["tn"]
    positives = reference["tp"] + reference["fn"]
    for_fp, for_fn = (positives, negatives) if swapped else (negatives, positives)
    pending, eliminated, harm = {}, set(), {}
    events = dict.fromkeys(("batch", "single", "revisit", "rejected", "cleared"), 0)
    events |= {"copied": 0, "rounded": 0}
    for cycle in sorted({int(row["cycle"]) for row in rows}):
        todo = [row for row in rows if int(row["cycle"]) == cycle]
        offered = set(subjects) - eliminated - set(pending)
        visited, isolated, alone = [], [], None
        due = [s for s, since in pending.items() if since + revisit_after <= cycle]
        while todo:
            row = todo.pop(0)
            tried = row["subjects"].split(";")
            counts = {c: int(row[c]) for c in COUNTS}
            assert counts["fp"] + counts["tn"] == negatives
            assert counts["tp"] + counts["fn"] == positives
            assert math.isclose(float(row["fpr"]), counts["fp"] / negatives, abs_tol=1e-8)
            assert math.isclose(float(row["fnr"]), counts["fn"] / positives, abs_tol=1e-8)
            assert math.isclose(
                float(row["reference_fpr"]), reference["fp"] / negatives, abs_tol=1e-8
            )
            assert math.isclose(
                float(row["reference_fnr"]), reference["fn"] / positives, abs_tol=1e-8
            )
            assert math.isclose(float(row["allowed"]), threshold * len(tried), abs_tol=1e-6)
            extra_fp, extra_fn = (counts[c] - reference[c] for c in ("fp", "fn"))
            harmful = extra_fp > math.floor(threshold * len(tried) * for_fp + 1e-9)
            harmful |= extra_fn > math.floor(threshold * len(tried) * for_fn + 1e-9)
            higher = False
            for error, scans in (("fp", for_fp), ("fn", for_fn)):
                before = reference[error] / scans
                higher |= counts[error] / scans > before + threshold * len(tried)
            events["rounded"] += higher != harmful
            harmful = higher if floats else harmful
            assert row["accepted"] == str(int(not harmful))
            assert {subjects[s] for s in tried} == {row["centre"]}
            reference = reference if harmful else counts
            events[row["kind"]] += 1
            if row["kind"] == "batch":
                assert not isolated, "the samples of a harmful batch come right after it"
                assert len(tried) <= 5 and offered.issuperset(tried)
                visited += tried
                isolated = list(tried) if harmful else []
                alone = row if len(isolated) == 1 else None
                events["rejected"] += harmful
                continue
            (subject,) = tried
            harm[subject] = max(extra_fp / for_fp, extra_fn / for_fn)
            if row["kind"] == "single":
                assert subject == isolated.pop(0)
                if alone is not None:
                    assert {**row, "kind": "batch"} == alone
                    alone, events["copied"] = None, events["copied"] + 1
                if harmful:
                    pending[subject] = cycle
            else:
                assert not isolated and subject == due.pop(0)
                del pending[subject]
                if harmful:
                    eliminated.add(subject)
                else:
                    events["cleared"] += 1
        assert not isolated and not due
        assert len(visited) == len(set(visited))
        if drop:
            for centre in set(subjects.values()):
                held = [s for s in offered if subjects[s] == centre]
                seen = [s for s in visited if subjects[s] == centre]
                assert len(seen) == (len(held) // 5 * 5 if len(held) >= 5 else len(held))
        else:
            assert set(visited) == offered
    return eliminated, set(pending), harm, events
