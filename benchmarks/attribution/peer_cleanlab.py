"""cleanlab: confident learning and its label-quality and out-of-distribution scores."""

import exchange
import numpy as np
from cleanlab import outlier, rank
from sklearn import ensemble, linear_model, model_selection, neighbors


def logistic(cell):
    return linear_model.LogisticRegression(max_iter=1000)


def forest(cell):
    return ensemble.RandomForestClassifier(300, random_state=int(cell["seed"]))


def nearest(cell):
    return neighbors.KNeighborsClassifier(10)


def quality(score, model):
    """Suspicion by a label-quality score of out-of-fold probabilities."""

    def method(cell):
        folds = model_selection.StratifiedKFold(5, shuffle=True, random_state=int(cell["seed"]))
        probabilities = model_selection.cross_val_predict(
            model(cell), cell["x"], cell["y"], cv=folds, method="predict_proba"
        )
        return -score(cell["y"], probabilities)

    return method


def out_of_distribution(cell):
    return -outlier.OutOfDistribution().fit_score(features=cell["x"].astype(np.float64))


exchange.score_all(
    {
        "self-confidence, logistic": quality(rank.get_self_confidence_for_each_label, logistic),
        "self-confidence, forest": quality(rank.get_self_confidence_for_each_label, forest),
        "self-confidence, 10-NN": quality(rank.get_self_confidence_for_each_label, nearest),
        "out of distribution": out_of_distribution,
    }
)
