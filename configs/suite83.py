"""Which policy finds what? 83 centres of the published sizes, every harm there is, all policies.

    harmjax make_cohort --config=suite83 --workdir=runs/cohort83
    harmjax detect --config=suite83 --workdir=runs/suite83

Three axial slices as channels of a 2-D CNN; twelve harms planted together in one cohort, one to a
centre or three single scans of each; with and without a clean warm-up. About an hour on two cores.
Settings of `screen` were chosen on seeds 100 to 102; the seeds here are for reporting. `:singles`
has six other ones, and nine single scans of each of the four harms that the goal for single scans
names.

`:heart` is the four-hospital heart data with flipped labels or wrong units at one hospital, and in
single patients, in a few minutes. `:volumes` trains the 3-D SFCN at 20 centres; `:gpu` at all 83
and at full width, where the runs of `verify_revisit` take hours. `:runlocal` is the suite at 12
centres in a few minutes:

    harmjax make_cohort --config=suite83:runlocal --workdir=runs/cohort12
    harmjax detect --config=suite83:runlocal --workdir=runs/suite12
"""

from harmjax import defaults, shipped

HARMS = (
    *("inversion", "noise", "label_flip", "motion", "pure_noise", "wrong_patient"),
    *("ghosting", "spike", "bias_field", "thick_slices", "axis_swap", "left_right"),
)
ARGUMENTS = ("", "singles", "heart", "volumes", "gpu", "runlocal")


def get_config(arg=""):
    """The config for `arg` '', 'singles', 'heart', 'volumes', 'gpu' or 'runlocal'."""
    if arg not in ARGUMENTS:
        raise ValueError(f"suite83.py:{arg}: known are {', '.join(filter(None, ARGUMENTS))}")
    config = _heart() if arg == "heart" else _scans()
    config.detect.policies = ("oracle", "none", "verify_revisit", "screen")
    if arg == "singles":
        config.detect.seeds, config.detect.scenarios = tuple(range(3, 9)), ("singles",)
        config.detect.harms = (HARMS[:4],)
    if arg == "volumes":
        _at_centres(config, "20", "runs/cohort20")
        _volumes(config, width=0.25)
        config.detect.seeds, config.detect.warmups = (0,), ("clean",)
        config.detect.scenarios = ("centres", "singles")
        config.detect.harms = (HARMS[:4],)
        config.detect.count = {"none": 0, "centres": 2, "singles": 8}
    if arg == "gpu":
        _volumes(config, width=1.0)
    if arg == "runlocal":
        _at_centres(config, "12", "runs/cohort12")
        config.detect.seeds, config.detect.warmups = (0,), ("clean",)
        config.detect.harms = (HARMS[:4],)
        config.detect.count = {"none": 0, "centres": 2, "singles": 8}
        config.train.warmup_cycles, config.train.cycles = 20, 24
    return config


def _scans():
    config = defaults.get_config()
    config.data.manifest = "runs/cohort83/manifest.csv"
    config.data.slices = (-12.0, 0.0, 12.0)
    config.cohort.effect = 10.0
    config.model.name = "cnn2d"
    config.model.momentum = 0.9
    config.train.learning_rate = 1e-3
    config.train.warmup_cycles = 10
    config.train.cycles = 20  # five examinations, which spend 97% of alpha
    config.train.verification_batch = 64
    config.policy.screen.shares = (3.0, 1.0)  # damage is gross, wrong labels are not
    config.scenario.max_fraction = 0.1
    config.detect.scenarios = ("none", "centres", "singles")
    config.detect.harms = (HARMS,)
    config.detect.count = {"none": 0, "centres": len(HARMS), "singles": 3 * len(HARMS)}
    config.detect.warmups = ("clean", "as_is")
    config.detect.seeds = (0, 1, 2)
    return config


def _volumes(config, width):
    config.data.slices = ()
    config.model.name = "sfcn"
    config.model.width = width
    config.train.verification_batch = 8


def _at_centres(config, number, cohort):
    config.data.manifest = f"{cohort}/manifest.csv"
    config.cohort.centres = number
    config.cohort.min_verification = config.cohort.min_test = 60
    config.scenario.max_fraction = 0.2


def _heart():
    config = shipped.get_config("heart")
    config.train.warmup_cycles = 6
    config.train.cycles = 16
    config.scenario.max_fraction = 0.5
    config.detect.scenarios = ("none", "centres", "singles")
    config.detect.harms = (("label_flip",), ("unit_error",))
    config.detect.count = {"none": 0, "centres": 1, "singles": 30}
    config.detect.warmups = ("clean", "as_is")
    config.detect.seeds = (0, 1, 2, 3, 4)
    return config
