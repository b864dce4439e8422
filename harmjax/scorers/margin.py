"""How clearly the model contradicts a sample's label; averaged over training, AUM."""

from harmjax import task, types


def margin() -> types.HarmScorer:
    """A scorer by the margin `z_y - max_{j != y} z_j` of the logits (see `task.margin`).

    The mean over the visits of training is the area under the margin: mislabelled samples are
    pulled up by the others long before they are memorised. Harm is minus the margin: > 0 where
    the model contradicts the label. Needs no verification scans.

    References:
        Pleiss, Zhang, Elenberg & Weinberger, Identifying mislabeled data using the area under the
        margin ranking, NeurIPS 2020, arXiv 2001.10528, equation 2.

    Example:
        >>> margin().judge({'margin': 2.0}, {})
        -2.0
    """

    def reference(fed: types.Federation, model: types.Model, cycle, fold=None):
        del fed, model, cycle, fold
        return {}

    def measure(learner: types.Learner, model: types.Model, batch: types.Batch, reference):
        del reference
        return {"margin": task.margin(learner.logits(model, batch.image), batch.label)}

    def judge(evidence, reference):
        del reference
        return -evidence["margin"]

    return types.HarmScorer(reference, measure, judge, is_verdict=True)
