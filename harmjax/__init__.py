"""harmjax: finding and eliminating harmful training data while hospitals train a model together.

`audit` is quality control of arrays in one call. `get_config` gives the settings of a run, which
`train` trains and `prepare` only reads and checks; `evaluate` and `predict` take what was trained.
Of `models`, `scorers`, `policies` and `harms`, `names()` says which there are and `get(name)` gives
one. The records are what a model, scorer or policy of your own has to be.

What is named here is imported when it is asked for: importing harmjax itself touches no device.
"""

import importlib
from typing import TYPE_CHECKING

from harmjax.version import __version__ as __version__

if TYPE_CHECKING:
    from harmjax import harms as harms
    from harmjax import models as models
    from harmjax import policies as policies
    from harmjax import scorers as scorers
    from harmjax.runs.audit import audit as audit
    from harmjax.runs.evaluation import evaluate as evaluate
    from harmjax.runs.prediction import predict as predict
    from harmjax.runs.preparation import Study as Study
    from harmjax.runs.preparation import prepare as prepare
    from harmjax.runs.training import Outcome as Outcome
    from harmjax.runs.training import train as train
    from harmjax.shipped import get_config as get_config
    from harmjax.types import Classifier as Classifier
    from harmjax.types import HarmScorer as HarmScorer
    from harmjax.types import QualityControl as QualityControl

_PUBLIC = {
    "audit": "harmjax.runs.audit",
    "get_config": "harmjax.shipped",
    "prepare": "harmjax.runs.preparation",
    "Study": "harmjax.runs.preparation",
    "train": "harmjax.runs.training",
    "Outcome": "harmjax.runs.training",
    "evaluate": "harmjax.runs.evaluation",
    "predict": "harmjax.runs.prediction",
    "models": "harmjax",
    "scorers": "harmjax",
    "policies": "harmjax",
    "harms": "harmjax",
    "Classifier": "harmjax.types",
    "HarmScorer": "harmjax.types",
    "QualityControl": "harmjax.types",
}
__all__ = ("__version__", *_PUBLIC)


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'harmjax' has no {name!r}; public are {', '.join(__all__)}")
    if _PUBLIC[name] == __name__:
        return importlib.import_module(f"{__name__}.{name}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__():
    return sorted(__all__)
