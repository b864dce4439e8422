"""An independent state machine of the published procedure, over the rows of decisions.csv.

It knows nothing of harmjax but the table: NumPy integers and Python sets.
"""

import csv
import math

COUNTS = ("tp", "fp", "tn", "fn")
EVENTS = ("batch", "single", "revisit", "rejected", "cleared", "copied", "rounded")


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def errors(row):
    """Errors of each class that a row of decisions.csv counts, of two classes or more."""
    if "tp" in row:
        return [int(row["fp"]), int(row["fn"])]
    return [int(value) for name, value in row.items() if name.startswith("errors_")]


def totals(row):
    """Scans of each class; of two classes the rates have to fit."""
    if "tp" not in row:
        return [int(value) for name, value in row.items() if name.startswith("n_")]
    tp, fp, tn, fn = (int(row[c]) for c in COUNTS)
    assert math.isclose(float(row["fpr"]), fp / (fp + tn), abs_tol=1e-8)
    assert math.isclose(float(row["fnr"]), fn / (fn + tp), abs_tol=1e-8)
    return [fp + tn, fn + tp]


def before(row, scans):
    """Errors of each class that a row compares with, or None where it compares with nothing."""
    found = [value for name, value in row.items() if name.startswith("reference_")]
    if set(found) == {""}:
        return None
    if "tp" not in row:
        return [int(value) for value in found]
    counts = [round(float(rate) * number) for rate, number in zip(found, scans, strict=True)]
    for rate, count, number in zip(found, counts, scans, strict=True):
        assert math.isclose(float(rate), count / number, abs_tol=1e-8)
    return counts


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
    assert base["kind"] == "baseline" and base["accepted"] == "1" and base["allowed"] == ""
    reference, held_out = errors(base), totals(base)
    assert before(base, held_out) is None
    counted_over = held_out[::-1] if swapped else held_out
    pending, eliminated, harm = {}, set(), {}
    events = dict.fromkeys(EVENTS, 0)
    for cycle in sorted({int(row["cycle"]) for row in rows}):
        todo = [row for row in rows if int(row["cycle"]) == cycle]
        offered = set(subjects) - eliminated - set(pending)
        visited, isolated, alone = [], [], None
        due = [s for s, since in pending.items() if since + revisit_after <= cycle]
        while todo:
            row = todo.pop(0)
            tried = row["subjects"].split(";")
            counts = errors(row)
            assert totals(row) == held_out
            assert before(row, held_out) == reference
            assert math.isclose(float(row["allowed"]), threshold * len(tried), abs_tol=1e-6)
            harmful = higher = False
            for now, then, scans in zip(counts, reference, counted_over, strict=True):
                harmful |= now - then > math.floor(threshold * len(tried) * scans + 1e-9)
                higher |= now / scans > then / scans + threshold * len(tried)
            events["rounded"] += higher != harmful
            harmful = higher if floats else harmful
            assert row["accepted"] == str(int(not harmful))
            assert {subjects[s] for s in tried} == {row["centre"]}
            rises = zip(counts, reference, counted_over, strict=True)
            rise = max((now - then) / scans for now, then, scans in rises)
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
            harm[subject] = rise
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
