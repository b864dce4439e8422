"""Mutates inputs by the hundred and prints what became of them: `python -m tests.fuzz`.

Exits with 1 where any was accepted wrongly, refused without a reason, or ended the reader.
"""

import argparse
import collections
import pathlib
import sys
import tempfile

from tests.fuzz import outcome, scans, tables

# (part, share of the inputs): functions of (num, seed, folder) that yield outcomes.
PARTS = ((scans.outcomes, 0.5), (tables.outcomes, 0.5))


def main():
    """Runs every part and prints a table of kinds, then each input that went wrong."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--num", type=int, default=3000, help="inputs")
    arguments.add_argument("--seed", type=int, default=0)
    chosen = arguments.parse_args()
    counts, bad = collections.defaultdict(collections.Counter), []
    for part, (outcomes, share) in enumerate(PARTS):
        with tempfile.TemporaryDirectory() as folder:
            num = round(chosen.num * share)
            for found in outcomes(num, chosen.seed, pathlib.Path(folder) / str(part)):
                counts[found.kind][found.verdict] += 1
                if found.verdict in ("wrong", "crashed"):
                    bad.append(found)
    print(f"{'kind':24}{'inputs':>10}" + "".join(f"{v:>10}" for v in outcome.VERDICTS))
    counts["all"] = sum(counts.values(), collections.Counter())
    for kind, verdicts in counts.items():
        cells = "".join(f"{verdicts[v]:10}" for v in outcome.VERDICTS)
        print(f"{kind:24}{sum(verdicts.values()):10}{cells}")
    for found in bad:
        print(f"{found.verdict}: {found.kind}: {found.detail}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
