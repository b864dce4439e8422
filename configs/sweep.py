"""Which learning rate? Heart disease at four hospitals, four rates, three seeds each.

python -m experiments.sweep --config=configs/sweep.py --workdir=runs/sweep
"""

from configs import heart


def get_config(arg=""):
    """The config that every run starts from; no argument."""
    config = heart.get_config(arg)
    config.policy.name = "none"
    config.train.warmup_cycles = 2
    config.train.cycles = 12
    return config


def get_hyper(hyper):
    """Four learning rates times three seeds.

    `product` combines, `zipit` pairs, `fixed` sets one value; lists of settings may be added.
    """
    return hyper.product(
        [
            hyper.sweep("train.learning_rate", (1e-4, 3e-4, 1e-3, 3e-3)),
            hyper.sweep("seed", range(3)),
        ]
    )
