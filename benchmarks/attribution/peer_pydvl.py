"""pyDVL: data values by out-of-bag predictions and by nearest neighbours."""

import exchange
import numpy as np
from pydvl import valuation
from sklearn import ensemble, neighbors


def datasets(cell):
    return (
        valuation.Dataset(cell["x"], cell["y"]),
        valuation.Dataset(cell["vx"], cell["vy"]),
    )


def suspicion(result, number):
    values = np.full(number, np.nan)
    values[result.indices] = result.values
    return -np.where(np.isnan(values), np.nanmedian(values), values)


def data_oob(cell):
    train, _ = datasets(cell)
    model = ensemble.RandomForestClassifier(500, random_state=int(cell["seed"]))
    model.fit(cell["x"], cell["y"])
    found = valuation.DataOOBValuation(model)
    return suspicion(found.fit(train).result, len(cell["y"]))


def knn_shapley(cell):
    train, test = datasets(cell)
    model = neighbors.KNeighborsClassifier(n_neighbors=10)
    found = valuation.KNNShapleyValuation(model, test, progress=False)
    return suspicion(found.fit(train).result, len(cell["y"]))


exchange.score_all({"Data-OOB, forest": data_oob, "KNN-Shapley": knn_shapley})
