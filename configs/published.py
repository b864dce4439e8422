"""The published setting: 83 centres, 1 mm, the full SFCN, 10 warm-up cycles and 20 under control.

harmjax train --config=published --workdir=runs/published \\
    --config.data.manifest=path/to/manifest.csv

`:authors` turns on every quirk of the authors' code (docs/authors.md), `:runlocal` runs the same
code on a small semi-synthetic cohort in under two minutes on two CPU cores:

harmjax make_cohort --config=published:runlocal --workdir=runs/local/cohort
harmjax train --config=published:runlocal --workdir=runs/local
"""

from harmjax import defaults


def get_config(arg=""):
    """The config for `arg` '', 'authors', 'runlocal' or both, comma-separated."""
    words = set(filter(None, arg.split(",")))
    if words - {"authors", "runlocal"}:
        raise ValueError(f"published.py:{arg}: known are authors and runlocal")
    config = defaults.get_config()
    config.data.spacing = config.cohort.spacing = 1.0
    config.data.store = True
    if "authors" in words:
        config.data.verify_on = "test"
        config.train.drop_remainders = True
        config.train.restart_schedule = 1
        config.train.deliver = "last"
        config.policy.verify_revisit.swap_denominators = True
        config.policy.verify_revisit.float_bound = True
    if "runlocal" in words:
        config.data.manifest = "runs/local/cohort/manifest.csv"
        config.data.spacing = config.cohort.spacing = 4.0
        config.data.store = False
        config.cohort.centres = "package:demo_centres.csv"
        config.cohort.effect = 8.0
        config.model.width = 0.125
        config.train.warmup_cycles = 2
        config.train.cycles = 6
        config.scenario.name = "centres"
    return config
