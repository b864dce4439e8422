"""A cohort with the centre sizes of the published 83-centre study: 1,817 scans and 407 more.

    harmjax make_cohort --config=cohort83 --workdir=cohort83

Train 1,410 scans, test 407, verification 407 of other people, at 4 mm.
"""

import ml_collections


def get_config(arg=""):
    """Returns the config; every knob is listed."""
    if arg:
        raise ValueError(f"cohort83 takes no argument, got {arg!r}")
    config = ml_collections.ConfigDict()
    config.cohort = cohort = ml_collections.ConfigDict()
    cohort.centres = "83"  # or fewer, such as "20", or the path of a CSV of centre sizes
    cohort.spacing = 4.0  # mm, 1 to 4
    cohort.effect = 3.0  # of disease: 0 none, 1 realistic, 3 learnable from 600 scans
    cohort.seed = 0
    cohort.min_verification = 0  # fewest scans per class, over all centres
    cohort.min_test = 0
    cohort.age_gap = 0.0  # years by which patients are older
    cohort.diseases = 1  # 1 | 2; two make three classes
    return config
