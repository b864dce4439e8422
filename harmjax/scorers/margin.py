"""How clearly the model contradicts a sample's label; averaged over training, AUM."""

from harmjax import types


def margin() -> types.HarmScorer:
    """A scorer by the margin, `z` for a patient and `-z` for a control, z being the logit.

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

    def reference(fed, model, cycle):
        del fed, model, cycle
        return {}

    def measure(learner, model, batch, reference):
        del reference
        return {"margin": (2 * batch.label - 1) * learner.logits(model, batch.image)}

    def judge(evidence, reference):
        del reference
        return -evidence["margin"]

    return types.HarmScorer(reference, measure, judge)
