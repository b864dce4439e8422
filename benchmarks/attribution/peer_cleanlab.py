"""cleanlab: confident learning and its label-quality and out-of-distribution scores."""

import exchange
import numpy as np
from cleanlab import outlier, rank
from sklearn import ensemble, linear_model, model_selection, neighbors, neural_network


def logistic(cell):
    return linear_model.LogisticRegression(max_iter=1000)


def forest(cell):
    return ensemble.RandomForestClassifier(300, random_state=int(cell["seed"]))


def nearest(number):
    return lambda cell: neighbors.KNeighborsClassifier(number)


def perceptron(cell):
    return neural_network.MLPClassifier((64,), max_iter=100, random_state=int(cell["seed"]))


def quality(model, **options):
    """Suspicion by the self-confidence of out-of-fold probabilities.

    With two classes, the normalised margin and the confidence-weighted entropy rank alike.
    """

    def method(cell):
        folds = model_selection.StratifiedKFold(5, shuffle=True, random_state=int(cell["seed"]))
        probabilities = model_selection.cross_val_predict(
            model(cell), cell["x"], cell["y"], cv=folds, method="predict_proba"
        )
        return -rank.get_label_quality_scores(cell["y"], probabilities, **options)

    return method


def out_of_distribution(cell):
    features = cell["x"].astype(np.float64)
    return -outlier.OutOfDistribution().fit_score(features=features, verbose=False)


METHODS = {
    "self-confidence, logistic": quality(logistic),
    "self-confidence, forest": quality(forest),
    "self-confidence, 10-NN": quality(nearest(10)),
    "self-confidence, perceptron": quality(perceptron),
    "confident learning, 10-NN": quality(nearest(10), adjust_pred_probs=True),
    "confident learning, 15-NN": quality(nearest(15), adjust_pred_probs=True),
    "out of distribution": out_of_distribution,
}
exchange.score_all(METHODS, blind=tuple(METHODS))
