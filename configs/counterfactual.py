"""What would the model be without this patient, this hospital? Heart disease, an MLP.

harmjax counterfactual --config=counterfactual --workdir=runs/without

`:runlocal` asks for less. Any setting of `heart` may be changed, such as
`--config.scenario.count=20 --config.scenario.harm="('swapped_columns',)"`. Where training is
federated, rounds without a centre need no retraining:
`--config.train.topology=federated --config.counterfactual.ask="('centres','rounds')"`.
"""

import ml_collections

from harmjax import shipped


def get_config(arg=""):
    """The config.

    Args:
        arg: '' or 'runlocal'.
    """
    if arg not in ("", "runlocal"):
        raise ValueError(f"counterfactual.py:{arg}: known is runlocal")
    config = shipped.get_config("heart")
    config.train.warmup_cycles = 2
    config.train.cycles = 7
    config.scenario.name = "singles"
    config.scenario.harm = ("label_flip",)
    config.scenario.count = 25

    config.counterfactual = asked = ml_collections.ConfigDict()
    asked.ask = ("samples", "centres", "subsets")  # and permutations; rounds, where federated
    asked.subsets = 1000  # random subsets, for Banzhaf values and datamodels
    asked.unseen = 200  # random subsets that no method sees, for the linear datamodelling score
    asked.fraction = 0.5  # of the samples in a random subset
    asked.permutations = 20  # orders, for Shapley values
    asked.tolerance = 0.005  # nats from the final loss at which an order is cut short
    asked.block = 16  # samples between two looks at the tolerance
    asked.rescale = True  # a round without a centre is that of the others; False: with weight 0
    asked.scorers = ("all",)  # files of harmjax/scorers; 'all', or names
    asked.replicas = "vmap"  # side by side; map: one after another
    asked.chunk = 0  # replicas of one call and device; 0 chooses
    asked.devices = 0  # how many; 0 takes all, on a CPU one per core
    asked.memory = 2.0  # GiB that a call may take on a device
    if arg == "runlocal":
        config.train.cycles = 4
        asked.subsets, asked.unseen = 200, 100
        asked.scorers = ("alignment", "loss", "margin")
    return config
