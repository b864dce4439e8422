"""The demo: 23 hospitals, planted harmful scans, all policies; `make demo` in a checkout.

harmjax make_cohort --config=demo --workdir=runs/demo/cohort
harmjax detect --config=demo --workdir=runs/demo
"""

from harmjax import defaults


def get_config(arg=""):
    """The config; no argument."""
    del arg
    config = defaults.get_config()
    config.data.manifest = "runs/demo/cohort/manifest.csv"
    config.cohort.centres = "package:demo_centres.csv"
    config.cohort.effect = 20.0
    config.cohort.min_verification = 50
    config.cohort.min_test = 50
    config.model.width = 0.125
    config.model.momentum = 0.9  # a cycle has 40 stops here, not 284
    config.train.learning_rate = 1e-3
    config.train.decay = 0.2
    config.train.warmup_cycles = 16
    config.train.cycles = 19
    config.train.stops_per_call = 8
    config.train.minimum_group = 3  # few of these hospitals hold ten verification scans
    config.detect.policies = ("oracle", "none", "verify_revisit", "screen")
    config.detect.scenarios = ("centres", "singles")
    config.detect.count.centres = 2
    config.detect.count.singles = 4
    return config
