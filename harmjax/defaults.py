"""Every setting there is, with its default: the published procedure with sound choices.

The other configs start from this one and change what they are about. Any setting can be overridden
on the command line, as in `--config.train.cycles=12`.
"""

import ml_collections
from ml_collections import config_dict


def get_config() -> ml_collections.ConfigDict:
    """The default config."""
    config = ml_collections.ConfigDict()
    config.seed = 0  # of model, itineraries and dropout

    config.data = data = ml_collections.ConfigDict()
    data.manifest = ""  # CSV of the scans, or participants.tsv of a BIDS folder
    # Header words that differ from the layout's, such as centre: Hospital; 'none' ignores a column.
    # And what the label's values mean where there are two classes: positive and negative, each a
    # word or several, or a threshold such as '>0'.
    words = ("subject", "session", "centre", "label", "path", "sex", "age", "split")
    data.columns = ml_collections.ConfigDict({w: "" for w in (*words, "positive", "negative")})
    data.classes = ()  # names of the classes in order; () for controls and patients
    # Of each class a word or several, a threshold such as '>2' or a range such as '1..2'; '' for
    # the class's name and its number, from 0; () for all of them.
    data.words = ()
    data.without = ()  # centres that are left out
    # Of BIDS file names, where a session has several T1w files; 'none' for files without it.
    entities = ("space", "res", "acq", "ce", "rec", "run", "desc")
    data.entities = ml_collections.ConfigDict({entity: "" for entity in entities})
    data.spacing = 4.0  # mm, of the model's grid in a 160 x 192 x 160 mm box
    data.intensity = "raw"  # raw | percentile | zscore
    data.percentiles = (0.5, 99.5)  # of the nonzero voxels, for 'percentile'
    data.dtype = "uint8"  # in memory: uint8 | bfloat16 | float32
    data.align = "world"  # world: by the affine; centre: by the middle of the field of view
    data.slices = ()  # axial positions in mm; the images are then 2-D with these as channels
    data.store = False  # keep the images in a file of the workdir instead of memory
    data.strict = False  # refuse the cohort if any scan has a problem
    data.fractions = (0.70, 0.15, 0.15)  # train, verification, test; a Split column wins
    data.split_seed = 0
    data.verify_on = "verification"  # the authors' quirk: test
    data.features = ()  # feature columns; the data are then tabular
    data.categorical = ()  # features to be one-hot encoded
    data.missing = ml_collections.ConfigDict()  # feature: number that stands for a gap
    data.keep = ""  # CSV of subjects to train on whatever the policy says
    data.drop = ""  # CSV of subjects never to train on

    config.cohort = cohort = ml_collections.ConfigDict()  # what make_cohort writes
    cohort.centres = "83"  # 83, fewer, or a CSV of sizes
    cohort.spacing = 4.0  # mm
    cohort.effect = 3.0  # of the disease; 1 is realistic and not learnable at this size
    cohort.diseases = 1  # 1 | 2; two make three classes
    cohort.seed = 0
    cohort.min_verification = 0  # scans per class over all centres
    cohort.min_test = 0
    cohort.age_gap = 0.0  # years by which patients are older

    config.scenario = scenario = ml_collections.ConfigDict()  # simulated harm
    scenario.name = "none"  # none | centres | singles
    scenario.harm = ("inversion",)  # names in harmjax/harms, dealt in turn
    scenario.count = 1  # centres or scans to damage
    scenario.centres = ()  # names, instead of a draw
    scenario.min_scans = 5  # smallest centre that is drawn
    scenario.max_fraction = 0.2  # largest centre that is drawn, as a share of all scans
    scenario.seed = 0
    # What a harm is made with, by its name, such as label_flip: the class that samples are given,
    # its number from 0; none draws one.
    scenario.label_flip = ml_collections.ConfigDict({"to": config_dict.placeholder(int)})

    config.model = model = ml_collections.ConfigDict()
    model.name = "sfcn"  # a file of harmjax/models
    model.width = 1.0
    model.norm = "batch"  # batch | group | none
    model.momentum = 0.99  # of the running statistics of batch norm
    model.dropout = 0.2
    model.dtype = "float32"  # of the convolutions; bfloat16 for mixed precision

    config.train = train = ml_collections.ConfigDict()
    train.topology = "travelling"  # travelling | federated | central
    train.federation = "memory"  # memory | stepwise | stream
    train.batch_size = 5
    train.learning_rate = 1e-4
    train.decay = 0.1  # the rate falls by exp(-decay) per cycle
    train.restart_schedule = -1  # 1: the authors' quirk, decay anew from that cycle after warm-up
    train.drop_remainders = False  # the authors' quirk: only full batches
    train.warmup_cycles = 10
    train.warmup_on = "clean"  # clean: without planted harm; as_is: on everything
    train.cycles = 30  # in all, the warm-up included
    train.deliver = "retrain"  # retrain from the warm-up on the final mask | last, as the authors
    train.stops_per_call = 32  # between two updates of the progress bar
    train.verification_batch = 8  # fastest on CPU; take more on a GPU
    train.minimum_group = (
        5  # held-out scans below which a centre gives no other sum than its confusion
    )
    train.keep_checkpoints = "last"  # last | all

    config.policy = policy = ml_collections.ConfigDict()
    policy.name = "verify_revisit"  # a file of harmjax/policies
    policy.verify_revisit = published = ml_collections.ConfigDict()
    published.threshold = 0.02  # tolerated rise of an error rate per sample tried
    published.revisit_after = 2  # cycles
    published.swap_denominators = False  # the authors' quirk: FP / positives, FN / negatives
    published.float_bound = False  # the authors' quirk: a rise on the bound is decided by rounding
    policy.screen = screen = ml_collections.ConfigDict()
    screen.alpha = 0.01  # expected fraction of good samples lost; also the level for whole centres
    screen.families = ("margin", "appearance")  # of evidence: files of harmjax/scorers
    screen.shares = ()  # of the level, one per family; () for equal ones
    screen.settings = ml_collections.ConfigDict()  # scorer: its settings, such as {'shrinkage': .2}
    screen.false_share = 0.5  # of what is eliminated, that may be expected to be good
    screen.examine_every = 2  # cycles
    screen.centres = True  # test centres as groups
    screen.shadow = False  # judge by a model that trains on the verification scans too
    screen.folds = 0  # groups of centres, each judged by a model without it

    config.detect = detect = ml_collections.ConfigDict()  # what `harmjax detect` compares
    detect.scenarios = ("none", "centres", "singles")
    detect.harms = (("inversion",),)  # each entry is planted together in one cohort
    detect.count = ml_collections.ConfigDict({"none": 0, "centres": 2, "singles": 5})
    detect.policies = ("oracle", "none", "verify_revisit")
    detect.seeds = (0,)  # of model, itineraries and of what is planted where
    detect.warmups = ("clean",)  # values of train.warmup_on to compare

    config.sweep = sweep = ml_collections.ConfigDict()  # of `harmjax sweep`, see configs/sweep.py
    sweep.choose_by = "loss"  # of verification, its mean names the best setting: loss | auroc
    sweep.replicates = ("seed",)  # settings whose values only repeat a run
    sweep.replicas = "auto"  # tabular runs without verification train side by side | loop
    sweep.pages = False  # write report.html of every run too, which needs 'loop'

    config.report = True  # write report.html
    return config
