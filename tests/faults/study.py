"""A run that takes seconds, on tabular patients: `study.py:verify_revisit` or `study.py:screen`."""

from tests import conftest


def get_config(arg="verify_revisit"):
    """The config of the run under one policy; give it `data.manifest`."""
    config = conftest.patients_config("")
    config.policy.name = arg
    config.model.hidden = (1024,)  # so that a checkpoint is larger than any table
    config.train.minimum_group = 2
    config.train.cycles = 12
    config.train.stops_per_call = 1
    config.train.keep_checkpoints = "all"
    return config
