"""Which learning rate? Heart disease at four hospitals, four rates, three seeds each.

harmjax sweep --config=sweep --workdir=runs/sweep

Prints the twelve runs, their means and

    best by verification loss: train.learning_rate=0.0003
    verification loss 0.479 ± 0.017, test auroc 0.911 ± 0.0064, test fpr 0.24 ± 0.038, ...

and writes sweep.csv, sweep.png and sweep.html, in 10 s on two shared CPU cores;
`--config.sweep.replicas=loop`, which trains one run after another with all its tables, takes 50 s.
"""

from harmjax import shipped


def get_config(arg=""):
    """The config that every run starts from; no argument."""
    config = shipped.get_config(f"heart:{arg}")
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
