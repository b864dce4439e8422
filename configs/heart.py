"""Four hospitals, 920 patients, a small MLP: the whole procedure on real tabular data.

harmjax train --config=heart --workdir=runs/heart

`:severity` tells three classes apart, by column `num`: 0 is no disease, 1 and 2 are mild, 3 and 4
severe. Hungary's table knows only 0 and 1, so that what it calls 1 may be any of 1 to 4, and is
left out; `:severity_all` takes it in, a real discrepancy between hospitals. For their figures see
docs/results.md.

harmjax train --config=heart:severity --workdir=runs/severity
"""

from harmjax import defaults


def get_config(arg=""):
    """The config for `arg` '', 'severity' or 'severity_all'."""
    if arg not in ("", "severity", "severity_all"):
        raise ValueError(f"heart.py:{arg}: known are severity and severity_all")
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
    if arg:
        config.data.columns.positive = ""
        config.data.classes = ("absent", "mild", "severe")
        config.data.words = ("0", "1..2", "3..4")
        config.data.without = ("Hungary",) if arg == "severity" else ()
    return config
