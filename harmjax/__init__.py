"""harmjax: finding and eliminating harmful training data while hospitals train a model together.

`audit` is quality control of arrays in one call; `train` is a whole run from a config, which
`get_config` gives with every setting; a `Classifier` is a model of your own. Whatever is named here
is imported when it is asked for, so that importing harmjax touches no device.
"""

import importlib

__version__ = "0.1.0"

_PUBLIC = {
    "audit": "harmjax.runs.audit",
    "train": "harmjax.runs.training",
    "Outcome": "harmjax.runs.training",
    "get_config": "harmjax.defaults",
    "Classifier": "harmjax.types",
    "HarmScorer": "harmjax.types",
    "QualityControl": "harmjax.types",
}
__all__ = ("__version__", *_PUBLIC)


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'harmjax' has no {name!r}; public are {', '.join(__all__)}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__():
    return sorted(__all__)
