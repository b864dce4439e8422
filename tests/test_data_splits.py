"""Splits: a partition by person, stratified, and blind to the order of rows."""

import collections
import math

import hypothesis
import pytest
from hypothesis import strategies

from harmjax.data import records, splits

PEOPLE = strategies.lists(
    strategies.tuples(strategies.sampled_from("ABC"), strategies.integers(0, 2)), max_size=60
)
FRACTIONS = strategies.sampled_from(
    [(0.7, 0.15, 0.15), (0.5, 0.2, 0.3), (0.8, 0.2, 0), (0.1, 0.45, 0.45)]
)


def cohort(people):
    return tuple(
        records.Record(2 + i, f"s{i}", "", centre, label)
        for i, (centre, label) in enumerate(people)
    )


@hypothesis.settings(deadline=None)
@hypothesis.given(PEOPLE, FRACTIONS, strategies.integers(0, 5))
def test_every_centre_and_class_gets_its_share_within_one(people, fractions, seed):
    scans = splits.assign(cohort(people), fractions, seed)
    assert [r._replace(split="") for r in scans] == list(cohort(people))
    tiny = math.ceil(1 / min(f for f in fractions[1:] if f) - 1e-9)
    sizes = collections.Counter(r.centre for r in scans)
    trained = collections.Counter(r.centre for r in scans if r.split == "train")
    for centre, size in sizes.items():
        assert trained[centre] >= (size if size < tiny else 1)
        for label in (0, 1, 2):
            group = [r.split for r in scans if (r.centre, r.label) == (centre, label)]
            if size >= tiny and trained[centre] > 1:
                for split, share in zip(records.SPLITS, fractions, strict=True):
                    assert abs(group.count(split) - share * len(group)) < 1 + 1e-6


@hypothesis.settings(deadline=None)
@hypothesis.given(PEOPLE, strategies.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(people, shuffler):
    scans = list(cohort(people))
    wanted = {r.subject: r.split for r in splits.assign(scans, seed=3)}
    shuffler.shuffle(scans)
    assert {r.subject: r.split for r in splits.assign(scans, seed=3)} == wanted


def test_a_centre_is_not_moved_by_another():
    scans = cohort([("A", i % 2) for i in range(30)])
    more = scans + tuple(records.Record(99 + i, f"new{i}", "", "B", 1) for i in range(9))
    assert splits.assign(more)[:30] == splits.assign(scans)


def test_all_sessions_of_a_person_fall_together():
    scans = [records.Record(i, f"s{i // 3}", str(i % 3), "A", 0) for i in range(90)]
    found = collections.defaultdict(set)
    for r in splits.assign(scans):
        found[r.subject].add(r.split)
    assert all(len(several) == 1 for several in found.values())
    assert collections.Counter(s for (s,) in found.values())["train"] in (20, 21, 22)


def test_the_manifests_split_wins_and_spreads_to_other_sessions():
    scans = list(cohort([("A", 0)] * 20))
    scans[0] = scans[0]._replace(split="test")
    scans.append(scans[0]._replace(session="2", split=""))
    found = splits.assign(scans)
    assert (found[0].split, found[-1].split) == ("test", "test")


@pytest.mark.parametrize("seed", range(5))
def test_a_person_whose_sessions_disagree_is_placed_by_the_first(seed):
    scans = [records.Record(i, f"s{i // 2}", str(i % 2), "AB"[i % 2], i % 2) for i in range(66)]
    found = splits.assign(scans[::-1], seed=seed)[::-1]
    alone = splits.assign([r for r in scans if r.session == "0"], seed=seed)
    assert [r.split for r in found[::2]] == [r.split for r in alone]


@pytest.mark.parametrize("seed", range(5))
def test_a_centre_keeps_someone_to_train(seed):
    found = splits.assign(cohort([("A", 0), ("A", 1), ("B", 1), ("B", 1)]), (0, 0.5, 0.5), seed)
    assert sorted(r.centre for r in found if r.split == "train") == ["A", "B"]


def test_many_small_centres_add_up_to_the_share():
    people = [(f"c{i}", label) for i in range(200) for label in (0, 1) for _ in range(4)]
    counts = collections.Counter(r.split for r in splits.assign(cohort(people)))
    assert abs(counts["test"] / 1600 - 0.15) < 0.02
    assert abs(counts["verification"] / 1600 - 0.15) < 0.02


def test_seeds_differ():
    scans = cohort([("A", 0)] * 40)
    assert splits.assign(scans, seed=0) == splits.assign(scans, seed=0)
    assert splits.assign(scans, seed=0) != splits.assign(scans, seed=1)


def test_a_tiny_centre_trains_only():
    assert {r.split for r in splits.assign(cohort([("A", i % 2) for i in range(6)]))} == {"train"}


@pytest.mark.parametrize("fractions", [(1, 1, 1), (0.7, 0.3), (1.2, -0.1, -0.1), (math.nan,) * 3])
def test_fractions_that_are_no_shares(fractions):
    with pytest.raises(ValueError, match="three shares"):
        splits.assign(cohort([("A", 0)]), fractions)


def test_whole_shares_of_every_class_are_met_whatever_is_drawn():
    """Ten of each of three classes at .6, .2, .2: six, two and two of each."""
    scans = splits.assign(cohort([("A", i % 3) for i in range(30)]), (0.6, 0.2, 0.2), seed=4)
    counts = collections.Counter((r.split, r.label) for r in scans)
    wanted = {"train": 6, "verification": 2, "test": 2}
    assert counts == {(split, k): n for split, n in wanted.items() for k in range(3)}


def test_pinned():
    """The same people fall into the same splits in every version: results stay comparable."""
    scans = cohort([("A", i % 2) for i in range(20)])
    held_out = {r.subject: r.split for r in splits.assign(scans, seed=0) if r.split != "train"}
    assert held_out == {
        **dict.fromkeys(("s12", "s15"), "verification"),
        **dict.fromkeys(("s5", "s14", "s16", "s19"), "test"),
    }
