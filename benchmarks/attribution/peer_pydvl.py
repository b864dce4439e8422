"""pyDVL: data values by out-of-bag predictions, nearest neighbours and leaving one out."""

import exchange
import numpy as np
from pydvl import valuation
from sklearn import ensemble, linear_model, neighbors


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


def knn_shapley(neighbours):
    def method(cell):
        train, test = datasets(cell)
        model = neighbors.KNeighborsClassifier(n_neighbors=neighbours)
        found = valuation.KNNShapleyValuation(model, test, progress=False)
        return suspicion(found.fit(train).result, len(cell["y"]))

    return method


def leave_one_out(cell):
    train, test = datasets(cell)
    model = linear_model.LogisticRegression(solver="newton-cholesky")
    scorer = valuation.SupervisedScorer("neg_log_loss", test, default=-np.log(2))
    utility = valuation.ModelUtility(model, scorer)
    found = valuation.LOOValuation(utility, progress=False)
    return suspicion(found.fit(train).result, len(cell["y"]))


exchange.score_all(
    {
        "Data-OOB, forest": data_oob,
        "KNN-Shapley, k=3": knn_shapley(3),
        "KNN-Shapley, k=10": knn_shapley(10),
        "leave one out, logistic": leave_one_out,
    },
    blind=("Data-OOB, forest",),
)
