"""What does each family of evidence add to `screen`? The cohort of `suite83`, single harmful scans.

    harmjax sweep --config=ablation --workdir=runs/ablation

Damaged images and wrong labels are planted apart, thirty of them; `hits` and `wrongly_eliminated`
are the columns to read; families share the level equally. About ten minutes on two cores, after
the cohort of `suite83`.
"""

from harmjax import shipped

FAMILIES = (
    *(("margin",), ("alignment",), ("mahalanobis",), ("appearance",)),
    *(("margin", "appearance"), ("margin", "alignment", "appearance")),
)
IMAGES = ("inversion", "noise", "motion", "thick_slices", "bias_field")
LABELS = ("label_flip", "wrong_patient")


def get_config(arg=""):
    """The config that every run starts from; no argument."""
    config = shipped.get_config(f"suite83:{arg}")
    config.policy.name, config.policy.screen.shares = "screen", ()
    config.scenario.name, config.scenario.count = "singles", 30
    config.train.cycles = 14
    config.train.deliver = "last"
    config.report = False
    return config


def get_hyper(hyper):
    """Families, kinds of harm, seeds."""
    return hyper.product(
        [
            hyper.sweep("scenario.harm", (IMAGES, LABELS)),
            hyper.zipit([hyper.sweep("seed", (0, 1)), hyper.sweep("scenario.seed", (0, 1))]),
            hyper.sweep("policy.screen.families", FAMILIES),
        ]
    )
