"""OpenDataVal: LAVA, the gradient of an optimal-transport distance to the verification samples."""

import sys
import types

import exchange
import numpy as np
import torch


class Absent(types.ModuleType):
    """A module that is imported but not used: OpenDataVal loads every image data set's needs."""

    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


for path in (
    *("torchvision", "torchvision.transforms", "torchvision.transforms.functional"),
    *("torchvision.datasets", "torchvision.models", "torchvision.models.feature_extraction"),
    *("torchvision.models.resnet", "transformers"),
):
    sys.modules[path] = Absent(path)
    parent, _, name = path.rpartition(".")
    if parent:
        setattr(sys.modules[parent], name, sys.modules[path])

from opendataval.dataval.lava import lava  # noqa: E402


def transport(cell):
    def labels(name):
        return torch.nn.functional.one_hot(torch.tensor(cell[name], dtype=torch.long), 2).float()

    evaluator = lava.LavaEvaluator(device=torch.device("cpu"), random_state=int(cell["seed"]))
    evaluator.input_data(
        torch.tensor(cell["x"], dtype=torch.float32),
        labels("y"),
        torch.tensor(cell["vx"], dtype=torch.float32),
        labels("vy"),
    )
    evaluator.train_data_values()
    return -np.asarray(evaluator.evaluate_data_values())


exchange.score_all({"LAVA": transport})
