"""Four hospitals, 920 patients, a small MLP: the whole procedure on real tabular data.

python -m experiments.train --config=configs/heart.py --workdir=runs/heart
"""

from harmjax import defaults


def get_config(arg=""):
    """The config; no argument."""
    del arg
    config = defaults.get_config()
    config.data.manifest = "package:heart_disease_4_hospitals.csv"
    config.data.columns.label, config.data.columns.positive = "num", ">0"
    config.data.features = (
        *("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak"),
        *("slope", "ca", "thal"),
    )
    config.data.categorical = ("cp", "restecg", "slope", "thal")
    config.data.missing = {"chol": 0}
    config.model.name = "mlp"
    config.model.norm = "none"
    config.model.dropout = 0.0
    config.train.learning_rate = 3e-3
    config.train.verification_batch = 256
    return config
