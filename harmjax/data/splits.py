"""Training, verification and test: which subject is used for what."""

import collections
import hashlib
import math

from harmjax.data import records


def assign(scans, fractions=(0.7, 0.15, 0.15), seed=0):
    """Returns the records with every split filled in; a split that the manifest gave stays.

    The rest is drawn per centre and diagnosis, by person: all sessions of one subject fall into
    the same split. Of n people a share f is expected; each split holds f n rounded up or down, at
    random, so that many small centres add up to the share. A person's place depends on the seed,
    the subject's name and who else is in that centre and class, not on the order of rows. A *tiny*
    centre trains only: it has so few people (fewer than 1 / the smallest held-out share, 7
    for 15%) that less than one is expected in a split. A centre keeps at least one person to train.

    Args:
        scans: Records.
        fractions: Shares of training, verification and test; they add up to 1.
        seed: Integer.

    Raises:
        ValueError: For fractions that are no shares.

    Example:
        >>> from harmjax.data import records
        >>> scans = [records.Record(i, f"s{i}", "", "A", i % 2) for i in range(40)]
        >>> sorted(collections.Counter(r.split for r in assign(scans)).items())
        [('test', 6), ('train', 28), ('verification', 6)]
    """
    fractions = tuple(float(f) for f in fractions)
    shares = len(fractions) == 3 and all(f >= 0 for f in fractions)
    if not (shares and abs(sum(fractions) - 1) <= 1e-6):
        raise ValueError(
            f"fractions={fractions}: expected three shares (train, verification, test) that add "
            "up to 1"
        )
    place = {records.person(r): r.split for r in scans if r.split}
    people: dict = {}
    for r in sorted(scans, key=lambda r: (r.subject, r.session)):
        if records.person(r) not in place:
            people.setdefault(records.person(r), r)
    centres = collections.defaultdict(list)
    for person in people.values():
        centres[person.centre].append(person)
    tiny = _tiny(fractions)
    for centre, group in centres.items():
        place |= _draw(centre, group, fractions, seed) if len(group) >= tiny else {}
    return tuple(r._replace(split=place.get(records.person(r), "train")) for r in scans)


def _tiny(fractions):
    held_out = [f for f in fractions[1:] if f > 0]
    return math.ceil(1 / min(held_out) - 1e-9) if held_out else math.inf


def _draw(centre, group, fractions, seed):
    place: dict = {}
    for label in sorted({person.label for person in group}):
        drawn = sorted(
            (person for person in group if person.label == label),
            key=lambda person: _uniform(seed, "person", person.subject),
        )
        names = [records.person(person) for person in drawn]
        # One shared offset rounds the first and the sum of both: each is within one of its share.
        offset = _uniform(seed, "centre", centre, label)
        first = math.floor(fractions[1] * len(names) + offset)
        both = math.floor((fractions[1] + fractions[2]) * len(names) + offset)
        place |= {name: "verification" for name in names[:first]}
        place |= {name: "test" for name in names[first:both]}
    if len(place) == len(group):
        place.popitem()
    return place


def _uniform(*parts):
    """Returns a number in [0, 1) that depends on nothing but the parts."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest()) / 2**48
